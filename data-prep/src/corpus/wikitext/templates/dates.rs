//! Dates as the languages of Wikipedias write them.

use super::arguments::Arguments;

/// In which order the arguments of a template of a date come.
#[derive(Clone, Copy)]
pub(super) enum Order {
    DayMonthYear,
    YearMonthDay,
}

/// Languages: a whole date, a month of a year (nothing where that needs another form of the month), and the months.
const LANGUAGES: &[(&str, &str, &str, &str)] = &[
    ("en", "D M Y", "M Y", "January February March April May June July August September October November December"),
    ("fr", "D M Y", "M Y", "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
    ("de", "D. M Y", "M Y", "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
    ("es", "D de M de Y", "M de Y", "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
    ("pt", "D de M de Y", "M de Y", "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"),
    ("ca", "D de M de Y", "M de Y", "gener febrer març abril maig juny juliol agost setembre octubre novembre desembre"),
    ("it", "D M Y", "M Y", "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"),
    ("nl", "D M Y", "M Y", "januari februari maart april mei juni juli augustus september oktober november december"),
    ("sv", "D M Y", "M Y", "januari februari mars april maj juni juli augusti september oktober november december"),
    ("no nb", "D. M Y", "M Y", "januar februar mars april mai juni juli august september oktober november desember"),
    ("da", "D. M Y", "M Y", "januar februar marts april maj juni juli august september oktober november december"),
    ("fi", "D. M Y", "", "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta lokakuuta marraskuuta joulukuuta"),
    ("ru", "D M Y", "", "января февраля марта апреля мая июня июля августа сентября октября ноября декабря"),
    ("uk", "D M Y", "", "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня"),
    ("pl", "D M Y", "", "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia"),
    ("cs", "D. M Y", "", "ledna února března dubna května června července srpna září října listopadu prosince"),
    ("hu", "Y. M D.", "Y. M", "január február március április május június július augusztus szeptember október november december"),
    ("tr", "D M Y", "M Y", "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık"),
    ("ro", "D M Y", "M Y", "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie"),
    ("id", "D M Y", "M Y", "Januari Februari Maret April Mei Juni Juli Agustus September Oktober November Desember"),
    ("ja zh", "Y年MD日", "Y年M", "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月"),
    ("ko", "Y년 M D일", "Y년 M", "1월 2월 3월 4월 5월 6월 7월 8월 9월 10월 11월 12월"),
];

/// Nothing but a date in `arguments`, from their place `from`; a month may be a number or a word.
pub(super) fn of_arguments(arguments: &Arguments, from: usize, order: Order, language: &str) -> Option<String> {
    let get = |offset: usize| arguments.get(from + offset);
    let [day, month, year] = match order {
        Order::DayMonthYear => [get(0), get(1), get(2)],
        Order::YearMonthDay => [get(2), get(1), get(0)],
    };
    // one argument alone is the whole date, written out
    if let (Some(text), None, None) = (get(0), get(1), get(2)) {
        return Some(iso(text).and_then(|date| written(date, language)).unwrap_or_else(|| text.to_owned()));
    }
    written([day.unwrap_or_default(), month.unwrap_or_default(), year.unwrap_or_default()], language)
}

/// Whether the words of the language are known.
pub(super) fn knows(language: &str) -> bool {
    LANGUAGES.iter().any(|row| row.0.split(' ').any(|known| known == language))
}

/// `1977-03-21`, as day, month and year.
fn iso(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = parts.next().is_none() && year.len() == 4 && is_number(year) && is_number(month) && is_number(day);
    is_date.then_some([day, month, year])
}

/// Day, month and year as the language writes them; any but the year may be missing, and without a month the year stands
/// alone.
pub(super) fn written([day, month, year]: [&str; 3], language: &str) -> Option<String> {
    let row = LANGUAGES.iter().find(|row| row.0.split(' ').any(|known| known == language));
    let &(_, whole, of_year, months) = row.unwrap_or(&LANGUAGES[0]);
    let known = |number: usize| months.split(' ').nth(number.checked_sub(1)?);
    let (month, is_known) = match month.parse::<usize>() {
        Ok(number) => (known(number).unwrap_or_default(), true),
        Err(_) => (month, months.split(' ').any(|name| name == month)),
    };
    // a day may be in words, as in "mardi 21"
    let is_day = |day: &&str| day.parse().map_or(true, |day: u32| (1..=31).contains(&day));
    let day = Some(day).filter(is_day).map(|day| day.trim_start_matches('0'));
    let day = match day {
        Some("1") if language == "fr" => "1er",
        day => day.unwrap_or_default(),
    };
    let pattern = match (day, month, year) {
        (_, "", "") => return None,
        (_, "", year) => return Some(year.to_owned()),
        ("", _, "") => return Some(month.to_owned()),
        // a word that is no month of the language's table is in the form that it needs
        ("", _, _) if of_year.is_empty() => {
            if is_known {
                return None;
            } else {
                "M Y"
            }
        }
        ("", _, _) => of_year,
        // up to the month, with what ends a day in Japanese
        (_, _, "") => whole
            .trim_start_matches("Y년 ")
            .trim_start_matches(['Y', '年', '.', ' '])
            .trim_end_matches([' ', 'Y', 'd', 'e']),
        _ => whole,
    };
    let mut out = String::new();
    for character in pattern.chars() {
        match character {
            'D' => out.push_str(day),
            'M' => out.push_str(month),
            'Y' => out.push_str(year),
            _ => out.push(character),
        }
    }
    Some(out.trim_end().to_owned())
}

/// `{{#time: format | date}}` of a date that is written out; nothing for other dates (`now`) and formats.
pub(super) fn time(format: &str, date: &str, language: &str) -> Option<String> {
    let [day, month, year] = iso(date.trim())?;
    let (day, year) = (day.trim_start_matches('0'), year.trim_start_matches('0'));
    let number: usize = month.parse().ok()?;
    let name = written(["", month, ""], language).filter(|name| !name.is_empty())?;
    let mut out = String::new();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            'Y' => out.push_str(year),
            'F' => out.push_str(&name),
            'j' => out.push_str(day),
            'd' => out.push_str(&format!("{day:0>2}")),
            'm' => out.push_str(&format!("{number:02}")),
            'n' => out.push_str(&number.to_string()),
            // `xg` is the month as it stands in a date
            'x' if characters.next_if_eq(&'g').is_some() => out.push_str(&name),
            '"' => out.extend(characters.by_ref().take_while(|&quoted| quoted != '"')),
            _ if character.is_ascii_alphabetic() => return None,
            _ => out.push(character),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_out() {
        for (date, language, expected) in [
            (["21", "3", "1977"], "fr", Some("21 mars 1977")),
            (["1", "mars", "1977"], "fr", Some("1er mars 1977")),
            (["21", "03", "1977"], "es", Some("21 de marzo de 1977")),
            (["", "3", "1977"], "es", Some("marzo de 1977")),
            (["21", "3", ""], "pt", Some("21 de março")),
            (["21", "3", "1977"], "de", Some("21. März 1977")),
            (["21", "3", "1977"], "ja", Some("1977年3月21日")),
            (["21", "3", ""], "zh", Some("3月21日")),
            (["21", "3", "1977"], "ko", Some("1977년 3월 21일")),
            (["21", "3", ""], "ko", Some("3월 21일")),
            (["21", "3", "1977"], "ru", Some("21 марта 1977")),
            (["", "3", "1977"], "ru", None),
            (["", "март", "1977"], "ru", Some("март 1977")),
            (["", "", "1977"], "ru", Some("1977")),
            (["21", "3", "1977"], "hu", Some("1977. március 21.")),
            (["", "", ""], "en", None),
        ] {
            assert_eq!(written(date, language).as_deref(), expected, "{date:?} {language}");
        }
        assert_eq!(time("j F Y", "1977-03-01", "en").as_deref(), Some("1 March 1977"));
        assert_eq!(time("Y年n月j日", "1977-03-01", "zh").as_deref(), Some("1977年3月1日"));
        assert_eq!(time("Y", "now", "en"), None);
    }
}
