//! The templates that leave text. All others go with their content.
//!
//! In: what stands between the braces of one template, inner templates already resolved. Out: wikitext in its place. Cost:
//! linear in that text.
//!
//! A new template is a name in [`TABLE`]; one that shows something new is a [`Shows`] and its line in [`render`].

mod measures;

use super::{BREAK, HOLE};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a template leaves.
#[derive(Clone, Copy)]
enum Shows {
    /// Always the same text.
    Text(&'static str),
    /// The positional argument of this number, from 1.
    Argument(usize),
    /// The last positional argument: `{{transl|ar|ALA|ā}}`.
    Last,
    /// The same after a text: `{{circa|1500}}` is "c. 1500".
    After(&'static str),
    /// The positional arguments, with this between them.
    Joined(&'static str),
    /// The argument `1`, `text` or `quote`, as a paragraph of its own.
    Block,
    /// `{{nihongo|English|kanji|romaji}}` is "English (kanji, romaji)".
    Glossed,
    /// The positional arguments, and "[sic]" unless `hide` is given.
    Sic,
    /// `{{frac|3|1|2}}` is "3 1/2".
    Fraction,
    /// `{{convert|20|-|25|cm|in}}` is "20–25 cm": the value as the author gave it.
    Measure,
    /// `{{val|30000|u=C}}` is "30000 C".
    Value,
    /// `{{start date|2010|5|3}}` is "May 3, 2010", with `df=y` "3 May 2010".
    Date,
    /// `{{as of|2010|5}}` is "As of May 2010".
    AsOf,
}

/// Names, in lower case, separated by `|`, and what they show. From the templates' documentation on the English Wikipedia.
const TABLE: &[(&str, Shows)] = &[
    // punctuation; an entity where a later pass would take it for markup
    ("ndash|en dash", Shows::Text("–")),
    ("mdash|em dash", Shows::Text("—")),
    ("snd|spnd|sndash|spaced ndash|spaced en dash", Shows::Text(" – ")),
    ("nbsp|space|spaces|thinsp|thin space|hair space|hsp", Shows::Text(" ")),
    ("'|apos", Shows::Text("&#39;")),
    ("'s", Shows::Text("&#39;s")),
    ("=", Shows::Text("&#61;")),
    ("!", Shows::Text("|")),
    ("·|•|dot|middot|bullet", Shows::Text(" · ")),
    // the shape of text
    (
        "nowrap|nobr|small|smaller|big|larger|large|em|strong|sub|sup|smallcaps|sc|italic|bold|underline",
        Shows::Argument(1),
    ),
    ("abbr|abbreviation|tooltip|key|keypress|kbd|mono|code|tt|samp|var|vr|mvar|math|nts|sort", Shows::Argument(1)),
    (
        "vanchor|visible anchor|angbr|angle bracket|char|not a typo|proper name|ill|interlanguage link",
        Shows::Argument(1),
    ),
    ("color|font color|resize", Shows::Last),
    // other languages
    ("lang", Shows::Argument(2)),
    ("transl|transliteration|script|unicode|polytonic|hebrew", Shows::Last),
    ("iast|gloss|nihongo2", Shows::Argument(1)),
    ("nihongo", Shows::Glossed),
    // numbers and dates
    ("circa|c.|ca.", Shows::After("c. ")),
    ("fl.|floruit", Shows::After("fl. ")),
    ("frac|fraction|sfrac", Shows::Fraction),
    ("convert|cvt", Shows::Measure),
    ("val", Shows::Value),
    ("formatnum|number", Shows::Argument(1)),
    ("start date|end date|date|dts|birth date|death date|film date|release date", Shows::Date),
    ("birth date and age|death date and age|start date and age", Shows::Date),
    ("as of|asof", Shows::AsOf),
    ("chem|chem2", Shows::Joined("")),
    ("hlist", Shows::Joined(", ")),
    // quotations
    ("quote|blockquote|quotation|cquote|bquote|poemquote|poem quote|centered quote", Shows::Block),
    ("sic", Shows::Sic),
    ("tq|talk quote", Shows::Argument(1)),
];

static NAMED: LazyLock<HashMap<&str, Shows>> = LazyLock::new(|| {
    TABLE.iter().flat_map(|&(names, shows)| names.split('|').map(move |name| (name, shows))).collect()
});

/// The longest name of the table, with room for blanks around it.
const MAX_NAME_BYTES: usize = 48;

/// What the template with this `content` leaves; nothing if it goes.
pub(super) fn render(content: &str) -> Option<String> {
    let bytes = content.as_bytes();
    let end = bytes.iter().take(MAX_NAME_BYTES + 1).position(|&byte| byte == b'|');
    let name_end = end.unwrap_or(content.len());
    if name_end > MAX_NAME_BYTES {
        return None;
    }
    let name = content[..name_end].trim_matches([' ', '\n', '\t', HOLE]).replace('_', " ").to_lowercase();
    let shows = *NAMED.get(name.as_str())?;
    let arguments = Arguments::new(content.get(name_end + 1..));
    Some(match shows {
        Shows::Text(text) => text.to_owned(),
        Shows::Argument(number) => arguments.get(number)?.to_owned(),
        Shows::Last => arguments.last()?.to_owned(),
        Shows::After(prefix) => format!("{prefix}{}", arguments.get(1).unwrap_or_default()).trim_end().to_owned(),
        Shows::Joined(separator) => arguments.all().join(separator),
        Shows::Block => {
            let text = arguments.named("text").or(arguments.named("quote")).or(arguments.get(1))?;
            format!("{BREAK}{text}{BREAK}")
        }
        Shows::Glossed => glossed(&arguments)?,
        Shows::Sic => {
            let text = arguments.all().concat();
            let space = if text.is_empty() { "" } else { " " };
            match arguments.named("hide") {
                Some(_) => text,
                None => format!("{text}{space}&#91;sic&#93;"),
            }
        }
        Shows::Fraction => measures::fraction(&arguments)?,
        Shows::Measure => measures::measure(&arguments)?,
        Shows::Value => measures::value(&arguments)?,
        Shows::Date => measures::date(&arguments)?,
        Shows::AsOf => measures::as_of(&arguments)?,
    })
}

fn glossed(arguments: &Arguments) -> Option<String> {
    let [first, glosses @ ..] = arguments.positional.as_slice() else {
        return None;
    };
    let glosses: Vec<&str> = glosses.iter().copied().filter(|gloss| !gloss.is_empty()).take(2).collect();
    Some(match (first.is_empty(), glosses.is_empty()) {
        (false, false) => format!("{first} ({})", glosses.join(", ")),
        (true, _) => glosses.join(", "),
        (_, true) => (*first).to_owned(),
    })
}

/// The arguments of a template, blanks around them aside.
struct Arguments<'a> {
    positional: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    /// Splits at the bars outside of links. `1=…` counts as positional.
    fn new(text: Option<&'a str>) -> Arguments<'a> {
        let mut arguments = Arguments { positional: Vec::new(), named: Vec::new() };
        let Some(text) = text else { return arguments };
        let bytes = text.as_bytes();
        let (mut start, mut num_open) = (0, 0_usize);
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'[' => num_open += 1,
                b']' => num_open = num_open.saturating_sub(1),
                b'|' if num_open == 0 => {
                    arguments.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        arguments.push(&text[start..]);
        arguments
    }

    fn push(&mut self, argument: &'a str) {
        let is_before_link = |&equals: &usize| !argument[..equals].contains('[');
        let Some(equals) = argument.find('=').filter(is_before_link) else {
            self.positional.push(argument.trim());
            return;
        };
        let (name, value) = (argument[..equals].trim(), argument[equals + 1..].trim());
        match name.parse::<usize>() {
            Ok(number) if number == self.positional.len() + 1 => self.positional.push(value),
            _ => self.named.push((name, value)),
        }
    }

    /// Positional argument `number`, from 1, unless it is missing or empty.
    fn get(&self, number: usize) -> Option<&'a str> {
        self.positional.get(number - 1).copied().filter(|argument| !argument.is_empty())
    }

    fn last(&self) -> Option<&'a str> {
        self.positional.iter().rev().copied().find(|argument| !argument.is_empty())
    }

    fn all(&self) -> Vec<&'a str> {
        self.positional.iter().copied().filter(|argument| !argument.is_empty()).collect()
    }

    /// The argument of this name, unless it is missing or empty.
    fn named(&self, name: &str) -> Option<&'a str> {
        let argument = self.named.iter().rev().find(|(given, _)| given.eq_ignore_ascii_case(name));
        argument.map(|&(_, value)| value).filter(|value| !value.is_empty())
    }
}
