//! What each tag does to its content. A name that is not listed is no tag in MediaWiki either: `<` stays text.

/// What becomes of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The element goes with its content, which is not wikitext or not prose.
    Dropped,
    /// The content is text, not wikitext.
    Literal,
    /// The same, set apart from the paragraph around it.
    LiteralBlock,
    /// An HTML table: goes with its content, and can be nested.
    Table,
    /// The tag goes, its content stays, in a paragraph of its own.
    Block,
    /// The tag goes, a space stays.
    Space,
    /// The tag goes, its content stays where it is.
    Inline,
}

/// The longest name below.
const MAX_NAME_BYTES: usize = 16;

/// The listed name equal to `name` but for case, and its kind.
pub(super) fn find(name: &str) -> Option<(&'static str, Kind)> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let groups: [(Kind, &'static [&'static str]); 7] = [
        (Kind::Inline, INLINE),
        (Kind::Dropped, DROPPED),
        (Kind::Block, BLOCK),
        (Kind::Space, &["br", "wbr"]),
        (Kind::Literal, &["nowiki"]),
        (Kind::LiteralBlock, &["pre"]),
        (Kind::Table, &["table"]),
    ];
    groups.into_iter().find_map(|(kind, names)| {
        let name = names.iter().find(|known| known.eq_ignore_ascii_case(name))?;
        Some((*name, kind))
    })
}

/// Whether readers take a dropped element for part of the sentence around it, as they do a formula.
pub(super) fn is_read(name: &str) -> bool {
    matches!(name, "math" | "chem" | "ce" | "hiero")
}

const DROPPED: &[&str] = &[
    "ref",
    "references",
    "math",
    "chem",
    "ce",
    "source",
    "syntaxhighlight",
    "gallery",
    "timeline",
    "score",
    "imagemap",
    "hiero",
    "graph",
    "mapframe",
    "maplink",
    "inputbox",
    "templatedata",
    "templatestyles",
    "indicator",
    "categorytree",
    "charinsert",
    "includeonly",
    "phonos",
    "style",
    "script",
];

const BLOCK: &[&str] = &[
    "p",
    "div",
    "blockquote",
    "center",
    "poem",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "tr",
    "td",
    "th",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tabber",
];

const INLINE: &[&str] = &[
    "b",
    "i",
    "u",
    "s",
    "small",
    "big",
    "sub",
    "sup",
    "span",
    "code",
    "tt",
    "em",
    "strong",
    "cite",
    "q",
    "font",
    "del",
    "ins",
    "strike",
    "var",
    "kbd",
    "samp",
    "abbr",
    "dfn",
    "bdi",
    "bdo",
    "ruby",
    "rb",
    "rt",
    "rp",
    "rtc",
    "mark",
    "data",
    "time",
    "a",
    "img",
    "link",
    "meta",
    "noinclude",
    "onlyinclude",
    "section",
    "translate",
    "tvar",
    "languages",
];
