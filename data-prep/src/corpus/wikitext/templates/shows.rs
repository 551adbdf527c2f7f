//! What a template leaves, as the tables say it.

use super::dates::Order;

/// What a template leaves.
#[derive(Clone, Copy)]
pub(super) enum Shows {
    /// Text with places for arguments: see [`pattern`](super::pattern).
    Pattern(&'static str),
    /// The last positional argument: `{{transl|ar|ALA|ā}}`.
    Last,
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
    /// A date in the words of the wiki's language.
    DateIn(Order),
    /// `{{as of|2010|5}}` is "As of May 2010".
    AsOf,
    /// `{{langx|de|Köln}}` is "German: Köln".
    Language,
    /// `{{USS|Enterprise|CV-6}}` is "USS Enterprise (CV-6)": the prefix, if it is not the first argument.
    Ship(&'static str),
    /// `{{coord|51|N|0|W}}` is "51°N 0°W".
    Coordinates,
    /// `{{height|ft=6|in=2}}` is "6 ft 2 in".
    Height,
    /// `{{unité|2000|m}}` is "2 000 m": numbers with what stands between them, and units with their powers.
    Quantity(&'static str),
    /// `{{music|flat}}` is "♭": the first argument among these pairs.
    Choice(&'static str),
    /// `{{ordinal|3}}` is "3rd".
    Ordinal,
    /// `{{age|1950|5|3|2000|5|2}}` is "49".
    Age,
    /// `{{INRConvert|5|c}}` is "₹5 crore".
    Rupees,
    /// `{{currency|100|GBP}}` is "£100".
    Currency,
    /// `{{s|XX|e|XXI|e}}`: pairs of a number and its ending, and what stands before and behind them.
    Centuries(&'static str, &'static str),
}

/// Names in lower case, separated by `|`, and what their templates leave.
pub(super) type Table = &'static [(&'static str, Shows)];
