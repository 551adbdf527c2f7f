//! Templates that compute: measures, fractions and dates.

use super::Arguments;

/// `1/2`, `3 1/2`; one number is the denominator.
pub(super) fn fraction(arguments: &Arguments) -> Option<String> {
    match arguments.all().as_slice() {
        [] => None,
        [denominator] => Some(format!("1/{denominator}")),
        [numerator, denominator] => Some(format!("{numerator}/{denominator}")),
        [whole, numerator, denominator, ..] => Some(format!("{whole} {numerator}/{denominator}")),
    }
}

/// Numbers, the words between them, and the unit they are given in: the units after it are conversions.
pub(super) fn measure(arguments: &Arguments) -> Option<String> {
    let positional = arguments.all();
    let mut text = String::new();
    let mut parts = positional.iter().peekable();
    while let Some(part) = parts.next() {
        if is_number(part) {
            text.push_str(part);
        } else if parts.peek().is_some_and(|next| is_number(next)) && range(part).is_some() {
            text.push_str(range(part)?);
        } else {
            let is_adjective = arguments.named("adj").is_some_and(|adjective| adjective == "on" || adjective == "mid");
            text.push_str(if is_adjective { "-" } else { " " });
            text.push_str(&unit(part));
            // `6|ft|2|in`: a number, a unit, and no third argument that is one figure of rounding
            match (parts.next(), parts.next()) {
                (Some(number), Some(smaller)) if is_number(number) && is_smaller(part, smaller) => {
                    text.push_str(&format!(" {number} {}", unit(smaller)));
                }
                _ => {}
            }
            return Some(text);
        }
    }
    Some(text).filter(|text| !text.is_empty())
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+', '−', '.']);
    digits.starts_with(|first: char| first.is_ascii_digit())
}

/// What stands between two numbers of a range.
fn range(word: &str) -> Option<&'static str> {
    Some(match word {
        "-" | "–" | "to(-)" | "&ndash;" => "–",
        "to" | "to about" => " to ",
        "and" | "&" | "and(-)" => " and ",
        "or" => " or ",
        "by" => " by ",
        "x" | "×" | "xx" | "*" => " × ",
        "+/-" | "±" | "+-" | "&plusmn;" => " ± ",
        "," => ", ",
        _ => return None,
    })
}

/// Whether a measure in `unit` goes on in `smaller`: 6 ft 2 in.
fn is_smaller(unit: &str, smaller: &str) -> bool {
    matches!((unit, smaller), ("ft", "in") | ("yd", "ft") | ("mi", "yd" | "ft" | "chain") | ("lb", "oz") | ("st", "lb"))
}

/// A unit's code as readers know it.
fn unit(code: &str) -> String {
    let known = match code {
        "C" => "°C",
        "F" => "°F",
        "sqmi" => "sq mi",
        "sqft" => "sq ft",
        "sqyd" => "sq yd",
        "cuft" => "cu ft",
        "cuyd" => "cu yd",
        "acre" | "acres" => "acres",
        _ => return square(code),
    };
    known.to_owned()
}

/// `km2` is km², `m3` is m³.
fn square(code: &str) -> String {
    let is_power = |stem: &str| stem.ends_with('m');
    match (code.strip_suffix('2'), code.strip_suffix('3')) {
        (Some(stem), _) if is_power(stem) => format!("{stem}²"),
        (_, Some(stem)) if is_power(stem) => format!("{stem}³"),
        _ => code.to_owned(),
    }
}

/// A number, its uncertainty, its power of ten `e`, and the unit `u` or `ul`.
pub(super) fn value(arguments: &Arguments) -> Option<String> {
    let mut text = arguments.get(1)?.to_owned();
    if let Some(uncertainty) = arguments.get(2) {
        text.push_str(" ± ");
        text.push_str(uncertainty);
    }
    if let Some(power) = arguments.named("e") {
        text.push_str("×10");
        text.push_str(&super::quantities::raised(power));
    }
    if let Some(unit) = arguments.named("u").or(arguments.named("ul")) {
        text.push(' ');
        text.push_str(unit);
    }
    Some(text)
}

/// Year, month and day in the American order, unless `df` says otherwise; what is no number stays as it is.
pub(super) fn date(arguments: &Arguments) -> Option<String> {
    let day_first = arguments.named("df").is_some_and(|order| !order.starts_with(['n', 'N']));
    ordered(arguments, day_first)
}

/// "As of" and a date in the British order, unless `df=US`; `alt` replaces all of it.
pub(super) fn as_of(arguments: &Arguments) -> Option<String> {
    if let Some(text) = arguments.named("alt") {
        return Some(text.to_owned());
    }
    let day_first = arguments.named("df").is_none_or(|order| !order.eq_ignore_ascii_case("us"));
    let words = match (arguments.named("since").is_some(), arguments.named("lc").is_some()) {
        (false, false) => "As of",
        (false, true) => "as of",
        (true, false) => "Since",
        (true, true) => "since",
    };
    Some(format!("{words} {}", ordered(arguments, day_first)?))
}

fn ordered(arguments: &Arguments, day_first: bool) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let year = arguments.get(1)?;
    let number = |index: usize| arguments.get(index)?.parse::<usize>().ok().filter(|&number| number > 0);
    let month = number(2).and_then(|month| MONTHS.get(month - 1));
    Some(match (month, number(3).filter(|&day| day <= 31)) {
        (Some(month), Some(day)) if day_first => format!("{day} {month} {year}"),
        (Some(month), Some(day)) => format!("{month} {day}, {year}"),
        (Some(month), None) => format!("{month} {year}"),
        (None, _) => year.to_owned(),
    })
}
