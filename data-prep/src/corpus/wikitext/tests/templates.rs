//! Templates, parser functions and what is unknown. The right values are what MediaWiki's documentation of the functions, and
//! the documentation pages of the templates on each Wikipedia, show.

use super::*;

fn clean_in(language: &str, wikitext: &str) -> Cleaned {
    let wiki = Wiki { language: language.to_owned(), ..Wiki::default() };
    clean_page("Foo/bar baz", wikitext, &wiki, &CleanOptions::default())
}

fn check_in(language: &str, cases: &[(&str, &str)]) {
    for (wikitext, expected) in cases {
        let cleaned = clean_in(language, wikitext);
        assert_eq!(cleaned.text, *expected, "{language}: {wikitext:?}");
        assert_eq!(cleaned.gaps, Names::new(), "{language}: {wikitext:?}");
    }
}

/// The right-hand sides are what the templates' documentation pages on the English Wikipedia show.
#[test]
fn templates_of_the_table_leave_text() {
    check(&[
        ("le {{lang|fr|mot}}, {{Lang|de|''[[a|Wort]]''|italic=no}}", "le mot, Wort"),
        ("{{transl|ar|ALA|ā}} {{transl|ru|da}}", "ā da"),
        ("{{IPA|ä}}, {{IPAslink|k}} {{IPAc-en|a|b}}{{IPA-fr|a}}", "ä, /k/"),
        ("{{nowrap|1=''E'' = x}} {{nowrap|a {{nowrap|[[b|c]] {{cite}}}} d}}", "E = x a c d"),
        ("{{abbr|MSF|Mouvement}} {{ABBR | x | y }}", "MSF x"),
        ("born {{circa|1500}}, {{c.|1510}}, {{circa}}", "born c. 1500, c. 1510, c."),
        ("{{frac|1|2}} {{frac|2}} {{frac|3|1|2}}", "1/2 1/2 3 1/2"),
        ("a {{sic}} b, {{sic|wha|t}}, {{sic|teh|hide=y}}", "a [sic] b, what [sic], teh"),
        ("1{{ndash}}2{{snd}}3{{Mdash}}4", "1–2 – 3—4"),
        ("''A''{{'}}s and ''A''{{'s}} 1 {{=}} 2", "A's and A's 1 = 2"),
        ("[[a{{!}}b]]", "b"),
        ("{{{!}}\n{{!}} cell\n{{!}}}\nx", "x"),
        ("He:{{quote|Text|author}}and {{blockquote|text=More|sign=x}}", "He:\nText\nand\nMore"),
        ("{{nihongo|'''Kick'''|蹴り|keri|extra}} {{nihongo|A}} {{nihongo||蹴}}", "Kick (蹴り, keri) A 蹴"),
        ("{{chem|Sn|9|4-}} {{val|30000|u=C}} {{val|5|1}} {{val|2|e=-3|u=m}}", "Sn94- 30000 C 5 ± 1 2×10⁻³ m"),
        ("{{hlist|a|[[b|c]]}}", "a, c"),
        ("{{unknown|text}} {{cite web|title=x}}{{lang|fr}}{{quote}}x", "x"),
        // one template too deep goes
        ("{{nowrap|{{nowrap|{{nowrap|{{nowrap|{{nowrap|{{nowrap|{{nowrap|{{nowrap|a}}}}}}}}}}}}}}}} b", "a b"),
        ("{{em|{{em|{{em|{{em|{{em|{{em|{{em|{{em|{{em|a}}}}}}}}}}}}}}}}}} b", "b"),
    ]);
}

#[test]
fn measures_and_dates_are_text() {
    check(&[
        ("{{convert|10|km|mi}} {{cvt|10|km}}", "10 km 10 km"),
        ("{{convert|20|-|25|cm|in}} {{convert|3|by|6|m}} {{convert|2|to|3|km2}}", "20–25 cm 3 by 6 m 2 to 3 km²"),
        ("{{convert|6|ft|2|in|m}} {{convert|100|C|F|0}} {{convert|10|km|0|abbr=on}}", "6 ft 2 in 100 °C 10 km"),
        ("a {{convert|5|mi|km|adj=on}} run, {{convert|1,234.5|sqmi}}", "a 5-mi run, 1,234.5 sq mi"),
        ("{{as of|2010|5}} {{as of|2010|5|3|lc=y}}", "As of May 2010 as of 3 May 2010"),
        ("{{as of|2010|05|3|df=US}}", "As of May 3, 2010"),
        ("{{as of|2010|since=y}} {{as of|2010|alt=today}} {{as of}}", "Since 2010 today"),
        ("{{start date|2010|5|3}} {{birth date|df=yes|1932|4|4}}", "May 3, 2010 4 April 1932"),
        ("{{date|3 May 2010}}", "3 May 2010"),
        ("{{start date|2010|13|3}} {{start date|2010|0}} {{dts|2010|12|99}}", "2010 2010 December 2010"),
        ("{{convert}} {{convert|x}} {{frac}} {{val}} {{birth date}}", "x"),
    ]);
}

#[test]
fn parser_functions_show_what_mediawiki_makes_of_them() {
    check_in(
        "en",
        &[
            ("x {{formatnum:1234567.5}} {{formatnum:1,234|R}} {{formatnum:5000|NOSEP}}", "x 1,234,567.5 1234 5000"),
            ("x {{lc:ABC Ä}} {{uc:straße}} {{lcfirst:ABC}} {{ucfirst:élan}}", "x abc ä STRASSE aBC Élan"),
            ("x {{padleft:7|3|0}} {{padleft:7|3}} {{padright:7|5|ab}} {{padleft:xyz|2}}", "x 007 007 7abab xyz"),
            ("x {{plural:1|dog|dogs}} {{PLURAL:2|dog|dogs}} {{plural:0|dog|dogs|0=none}}", "x dog dogs none"),
            ("x {{grammar:genitive|word}} {{gender:A|he|she}}", "x word he"),
            ("x {{#if:a|yes|no}} {{#if: |yes|no}} {{#if:{{cn}}|yes|no}} {{#if:|yes}}y", "x yes no no y"),
            ("x {{#ifeq:1|01|same|other}} {{#ifeq:a|b|same|other}}", "x same other"),
            ("x {{#switch:b|a=1|b|c=2|#default=3}} {{#switch:z|a=1|#default=3}} {{#switch:z|a=1|9}}", "x 2 3 9"),
            ("x {{#switch:a|a=[[b=c|d]]}}", "x d"),
            ("x {{#expr:2014-1956}} {{#expr:10/4}} {{#ifexpr:1>2|yes|no}} {{#expr:22/7 round 2}}", "x 58 2.5 no 3.14"),
            ("x {{#if:a|{{#ifeq:b|b|deep}}}}", "x deep"),
            ("x {{urlencode:a b&c}} {{anchorencode:a b}} {{#titleparts:a/b/c|2}}", "x a+b%26c a_b a/b"),
            ("{{PAGENAME}}: {{SUBPAGENAME}}, {{BASEPAGENAME}}, {{SITENAME}}", "Foo/bar baz: bar baz, Foo, Wikipedia"),
            ("x {{#language:de}} {{#tag:nowiki|y}}{{#tag:ref|note}}{{DEFAULTSORT:Baz}}", "x Deutsch y"),
            ("x {{#time:j F Y|2010-05-03}} {{#dateformat:2009-12-25|dmy}}", "x 3 May 2010 25 December 2009"),
            ("x {{subst:lc:A}} {{nowrap|{{uc:a}}b}} {{ lc : A }}", "x a Ab a"),
        ],
    );
    check_in(
        "fr",
        &[("x {{FORMATNOMBRE:45000}} {{plural:1|chien|chiens}} {{plural:0|chien|chiens}}", "x 45 000 chien chien")],
    );
    check_in(
        "ru",
        &[("x {{plural:21|год|года|лет}} {{plural:3|год|года|лет}} {{plural:11|год|года|лет}}", "x год года лет")],
    );
    check_in("de", &[("x {{formatnum:45000.5}} {{formatnum:45.000,5|R}}", "x 45.000,5 45000.5")]);
    let swedish = "är {{formatnum:3}}&nbsp;°C, {{formatnum:-10}}, {{formatnum:6412|R}}, {{formatnum:6412}}";
    check_in("sv", &[(swedish, "är 3 °C, -10, 6412, 6 412")]);
}

#[test]
fn english_inline_templates_leave_text() {
    check_in(
        "en",
        &[
            (
                "how {{HMS|Victory}} met {{USS|Enterprise|CV-6}} and {{ship|RMS|Titanic}}",
                "how HMS Victory met USS Enterprise (CV-6) and RMS Titanic",
            ),
            (
                "x {{HMS|Victory|1765|6}}, {{USS|Enterprise|CV-6|2}}, {{sclass|Nimitz|aircraft carrier}}s",
                "x HMS Victory, Enterprise, Nimitz-class aircraft carriers",
            ),
            (
                "cost {{US$|45,000}} ({{GBP|30,000}}), {{INR|500}}, {{€|3}}, {{INRConvert|5|c}}",
                "cost US$45,000 (£30,000), ₹500, €3, ₹5 crore",
            ),
            (
                "in {{lang-de|Köln}} to {{langx|fr|une famille}} and {{lang-grc-gre|x}}",
                "in German: Köln to French: une famille and Ancient Greek: x",
            ),
            (
                "she reigned {{reign|1558|1603}} and is {{height|ft=6|in=2}} tall",
                "she reigned 1558–1603 and is 6 ft 2 in tall",
            ),
            (
                "The {{w|nuclear power|plant}} at {{coord|51|N|0|W}}, {{coord|51|30|N|0|7|W|region:GB}}, {{coord|51.5|-0.1}}",
                "The nuclear power plant at 51°N 0°W, 51°30′N 0°7′W, 51.5°N 0.1°W",
            ),
            ("a{{mdashb}}b ({{IPA-fr|a}}) {{script/Arabic|ا}}", "a—b ا"),
            ("for {{flag|Germany}}, {{flagcountry|France}} and {{flagicon|X}} Y", "for Germany, France and Y"),
            (
                "in {{circa|1500|1510}}, {{floruit|1200}}, {{e|5}}, {{sqrt|2}}",
                "in c. 1500 – c. 1510, fl. 1200, ×10⁵, √2",
            ),
            (
                "{{ISBN|978-0}} and {{harvtxt|Smith|2005}} said {{citation needed span|so|date=x}}{{cn}}.",
                "ISBN 978-0 and Smith (2005) said so.",
            ),
            ("a {{ordinal|23}}, {{age|1950|5|3|2000|5|2}} years, {{music|flat}}", "a 23rd, 49 years, ♭"),
            (
                "in {{bibleverse|John|3:16}}, {{birth-date|3 May 1990}}, {{ill|Foo|de|Foo (x)}}",
                "in John 3:16, 3 May 1990, Foo",
            ),
        ],
    );
}

#[test]
fn templates_of_other_wikipedias_leave_text() {
    check_in(
        "fr",
        &[
            (
                "le {{date|21|mars|1977}}, {{date-|1|janvier|2000}}, {{date de décès|3|4|2004}}, {{date-|mars 1983}}",
                "le 21 mars 1977, 1er janvier 2000, 3 avril 2004, mars 1983",
            ),
            (
                "à {{unité|2000|m}}, {{nb|350|km}}, {{unité|12,5|km/h}}, {{unité|10|m|2}}, {{unité|15|km|/|h}}, {{unité|2000 m}}",
                "à 2 000 m, 350 km, 12,5 km/h, 10 m², 15 km/h, 2 000 m",
            ),
            (
                "au {{s|XX|e}}, {{s-|XIX}}, {{s2|XIX|e|XX|e}}, {{sp|XIX|e|au|XX|e}}, {{-s|V|e}}, {{XVIIIe siècle}}",
                "au XXe siècle, XIXe siècle, XIXe et XXe siècles, XIXe au XXe siècle, Ve siècle av. J.-C., XVIIIe siècle",
            ),
            (
                "le {{1er}} et la {{2e}}, {{Mlle|Dupont}}, {{citation|mot}}, {{langue|en|word}}, {{référence nécessaire|dit-on}}",
                "le 1er et la 2e, Mlle Dupont, « mot », word, dit-on",
            ),
            (
                "50{{e}}, {{n°|5}}, {{lien|langue=en|trad=A|fr=B}}, {{dunité|2|3|m}}",
                "50e, no 5, B, 2 × 3 m",
            ),
        ],
    );
    check_in(
        "es",
        &[(
            "el {{fecha|21|3|1977}}, {{siglo|XX}}, {{cita requerida|dicen}}, {{lang-en|x}}, {{unidad|25000|km}}",
            "el 21 de marzo de 1977, siglo XX, dicen, en inglés: x, 25 000 km",
        )],
    );
    check_in(
        "pt",
        &[(
            "a {{dtlink|21|3|1977}}, {{séc|XX}}, {{carece de fontes|dizem|data=x}}, {{lang-en|x}}",
            "a 21 de março de 1977, século XX, dizem, em inglês: x",
        )],
    );
    check_in(
        "it",
        &[(
            "a {{data|21|3|1977}}, {{M|2000|u=m}}, {{senza fonte|si dice}}, {{lang-en|x}}",
            "a 21 marzo 1977, 2 000 m, si dice, in inglese x",
        )],
    );
    check_in(
        "de",
        &[(
            "am {{Datum|21|3|1977}}, {{enS|word}}, {{lang|fr|mot}}, {{Bruch|1|2}}, {{\"|Wort}}",
            "am 21. März 1977, englisch word, mot, 1/2, „Wort“",
        )],
    );
    check_in(
        "ru",
        &[(
            "он {{ДатаРождения|21|3|1977}}, {{lang-en|x}}, {{s|слово}}, {{нет АИ 2|говорят|1|2}}, {{num|45000}}",
            "он 21 марта 1977, англ. x, слово, говорят, 45 000",
        )],
    );
    check_in(
        "pl",
        &[(
            "o {{data|1977-03-21}}, {{formatnum:6412}}, {{ang.|x}}, {{fakt|mówią}}",
            "o 21 marca 1977, 6412, ang. x, mówią",
        )],
    );
    check_in(
        "nl",
        &[("op {{Datum|21|3|1977}}, {{lang-de|x}}, {{formatnum:45000}}", "op 21 maart 1977, Duits: x, 45.000")],
    );
    check_in(
        "ja",
        &[
            (
                "彼は{{生年月日と年齢|1977|3|21}}に{{ルビ|漢字|かんじ}}と{{Lang|en|word}}{{要出典}}。",
                "彼は1977年3月21日に漢字（かんじ）とword。",
            ),
            ("彼は{{仮リンク|甲|en|A|label=乙}}。", "彼は乙。"),
        ],
    );
    check_in(
        "zh",
        &[
            (
                "他{{birth date|1977|3|21}}在{{link-en|甲|A}}，{{lang-en|word}}。{{fact}}",
                "他1977年3月21日在甲，英語：word。",
            ),
            ("-{zh-hans:计算机;zh-hant:電腦}-的{{lang|en|x}}", "计算机的x"),
        ],
    );
}

#[test]
fn what_is_unknown_in_a_sentence_is_counted() {
    let gaps = |wikitext: &str| -> Vec<(String, u64)> { clean_in("en", wikitext).gaps.into_iter().collect() };
    let named = |names: &[&str]| -> Vec<(String, u64)> { names.iter().map(|&name| (name.to_owned(), 1)).collect() };
    for (wikitext, names) in [
        ("It cost {{Price Of|3}} then.", &["price of"][..]),
        ("{{Foo}} is the first word.", &["foo"]),
        ("It is {{#invoke:Math|add}} in all.", &["#invoke:Math"]),
        ("It is {{convert}} long.", &["convert"]),
        ("Where <math>x</math> is small, {{nowrap|so is {{foo}} too}}.", &["<math>", "foo"]),
    ] {
        assert_eq!(gaps(wikitext), named(names), "{wikitext:?}");
    }
    // beside the text, behind a sentence, in what goes
    for silent in [
        "{{Foo}}\nThe text.",
        "{{Foo\n| a = b\n}} The text.",
        "The text. {{foo}}",
        "The text.{{foo}} More.",
        "The text ({{foo}}) is.",
        "The text<ref>{{foo}} x</ref> is.",
        "{|\n| a {{foo}} b\n|}",
        "* [[a]] {{foo}}",
        "The text{{cn}} is{{sfn|A|2000}}.",
        "[[File:a.jpg|thumb|a {{foo}} b]]The text.",
    ] {
        assert_eq!(gaps(silent), [], "{silent:?}");
    }
}

#[test]
fn incomplete_sentences_are_dropped_where_asked() {
    let options = CleanOptions { drop_incomplete_sentences: true, ..CleanOptions::default() };
    let clean = |wikitext| {
        let cleaned = clean_page("", wikitext, &Wiki::default(), &options);
        (cleaned.text, cleaned.num_dropped)
    };
    let whole = "It was built. It cost {{foo}} then. It stands.\n\nOnly {{bar}} here.\n\nThe end.";
    assert_eq!(clean(whole), ("It was built. It stands.\nThe end.".to_owned(), 2));
    assert_eq!(clean("All is {{nowrap|well}}. {{cn}}"), ("All is well.".to_owned(), 0));
    assert_eq!(clean("One {{foo}}.\n\nTwo {{bar}}."), (String::new(), 2));
}

#[test]
fn list_items_in_scripts_without_spaces_are_prose() {
    let item = "他于一九九八年出版了第一部小说，在国内外获得了广泛的好评。";
    assert_eq!(clean_in("zh", &format!("甲。\n* {item}\n* [[乙]]\n* 丙丁")).text, format!("甲。\n{item}"));
    let item = "二〇〇三年に東京へ移り、大学で現代文学を教えた。";
    assert_eq!(clean_in("ja", &format!("* {item}\n* 東京")).text, item);
    // Thai ends its sentences with nothing
    let item = "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิต่างมีเหตุผล";
    assert_eq!(clean_in("th", &format!("* {item}\n* มนุษย์")).text, item);
    let item = "មនុស្សទាំងអស់កើតមកមានសេរីភាព។";
    assert_eq!(clean_in("km", &format!("* {item}")).text, item);
}
