//! Wikitext in, prose out: what a reader of the rendered page would read as running text.
//!
//! Out: paragraphs, one a line, no blank lines, no markup. Cost: time linear in the input whatever it holds (no
//! recursion, no search that is repeated), memory a few times the input. Any input is fine; broken markup loses its
//! delimiters and keeps its text.
//!
//! Six passes, each a file, each over the output of the one before:
//!
//! 1. `strip`: comments, tags and templates, which MediaWiki's preprocessor also takes first (`templates` holds the tables of
//!    those that leave text, and the parser functions);
//! 2. `variants`: `-{…}-`, where the language has two scripts;
//! 3. `tables`: `{| … |}`, line by line;
//! 4. `links`: `[[…]]` and `[http://…]`;
//! 5. `lines`: headings, lists, rules, bold and italics; lines become paragraphs;
//! 6. `tidy`: entities and white space, and the holes that removed markup leaves, such as `( , born 1970)`; what is
//!    then prose is for `prose` to say.
//!
//! What goes and what stays:
//!
//! - Gone with their content: templates that are not known (what they leave in a sentence is counted: `gaps`), tables, references, comments, files, categories, language links, formulas, code blocks (`source`), galleries, timelines, scores, image maps.
//! - Kept: the shown text of links, of HTML elements, of parser functions and of the templates in the tables of the wiki's
//!   language; the defaults of parameters; `nowiki` and `pre` literally.
//! - As [`CleanOptions`] say: headings and list items.
//! - Unclosed markup: `{{` loses its braces, and lines that start with `|` are dropped anyway; `{|` drops up to the next
//!   blank line or heading; `[[` loses its brackets at the next blank line or heading (a file link drops what lies between); a
//!   tag loses itself; `<!--` drops the rest of its line. So nothing swallows the rest of an article.

mod endings;
mod entities;
mod gaps;
mod languages;
mod lines;
mod links;
mod prose;
mod quotes;
mod strip;
mod tables;
mod tags;
mod templates;
#[cfg(test)]
mod tests;
mod tidy;
mod variants;

pub use gaps::Names;

/// Stands where markup was removed, until [`tidy`]. No input holds it: [`strip`] drops control characters.
const HOLE: char = '\u{1}';

/// Stands where a block element starts or ends: a paragraph ends here, until [`lines`].
const BREAK: char = '\u{2}';

/// Around the text of a link in a list item, for [`prose`] to tell lists of links. An unclosed link has only its start.
const LINK_START: char = '\u{3}';
const LINK_END: char = '\u{4}';

/// The link prefixes whose links show nothing in running text: files, media and categories.
///
/// MediaWiki understands the English names in every language, beside those of the wiki's own language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenPrefixes(Vec<String>);

impl Default for HiddenPrefixes {
    fn default() -> Self {
        HiddenPrefixes(["file", "image", "media", "category"].map(String::from).into())
    }
}

impl HiddenPrefixes {
    /// Adds the wiki's own name of such a namespace (`Datei`, `Catégorie`).
    pub fn add(&mut self, name: &str) {
        let name = normal_prefix(name);
        if !name.is_empty() && !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    fn contains(&self, prefix: &str) -> bool {
        let prefix = normal_prefix(prefix);
        self.0.contains(&prefix)
    }
}

/// MediaWiki takes case, underscores and outer spaces of a prefix as equal.
fn normal_prefix(prefix: &str) -> String {
    prefix.replace('_', " ").trim().to_lowercase()
}

/// What of a wiki its pages depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiki {
    /// Its language, as `fr`, `pt-br`: whose templates it has, and how it writes numbers and dates.
    pub language: String,
    /// Link prefixes that show nothing.
    pub hidden: HiddenPrefixes,
    /// Its namespaces, by their number as `"14"`, for `{{ns:14}}`.
    pub namespaces: Vec<(String, String)>,
}

impl Default for Wiki {
    fn default() -> Self {
        Wiki { language: "en".to_owned(), hidden: HiddenPrefixes::default(), namespaces: Vec::new() }
    }
}

impl Wiki {
    /// The name of the namespace with this number.
    fn namespace(&self, number: &str) -> Option<&str> {
        self.namespaces.iter().find(|(known, _)| known == number).map(|(_, name)| name.as_str())
    }
}

/// What of a page counts as prose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanOptions {
    /// Whether headings are kept, as paragraphs of their own, where text follows in their section; default no.
    pub headings: bool,
    /// Which items of lists (`*`, `#`, `:`, `;`) are kept, as paragraphs of their own.
    pub list_items: ListItems,
    /// Whether sentences go in which something is missing that the reader of the page sees; default no.
    pub drop_incomplete_sentences: bool,
}

/// Which items of lists are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListItems {
    /// Those that read as prose: at least 4 words and the end of a sentence (`.`, `!`, `?`, `:`, `…` or such a mark of another
    /// script, brackets and quotation marks aside), or at least 12 words; and at least a quarter of the letters outside of
    /// links. In scripts without spaces the number of words is an estimate.
    #[default]
    Prose,
    /// All that show anything.
    All,
}

/// A page without its markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Paragraphs, one a line.
    pub text: String,
    /// What is missing in its sentences, whether these were dropped or not: names of templates and elements that are not known.
    pub gaps: Names,
    /// Sentences that were dropped for it.
    pub num_dropped: u64,
}

/// Cleans one page of an English wiki, with the default options.
pub fn clean(wikitext: &str) -> String {
    clean_page("", wikitext, &Wiki::default(), &CleanOptions::default()).text
}

/// Cleans the page `title` of a wiki.
pub fn clean_page(title: &str, wikitext: &str, wiki: &Wiki, options: &CleanOptions) -> Cleaned {
    let (text, gaps) = strip::strip(wikitext, &templates::Context { wiki, title });
    let text = variants::resolve(text, &wiki.language);
    let text = tables::remove(&text);
    let text = links::resolve(&text, &wiki.hidden);
    let mut prose = prose::Prose::new(options, &wiki.language, &gaps, text.len());
    lines::paragraphs(&text, &mut prose);
    prose.into_cleaned()
}

/// The end of the run of equal bytes that starts at `at`.
fn run_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|&&byte| byte == bytes[at]).count()
}
