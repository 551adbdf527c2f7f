//! The XML of one page, or of what stands before the first, in; its fields out.

use crate::corpus::wikitext::Wiki;
use crate::corpus::CorpusError;
use memchr::memmem;
use quick_xml::events::{BytesRef, Event};
use quick_xml::Reader;

/// MediaWiki's export needs 4 levels below `<page>`.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Title,
    Namespace,
    Revision,
    Model,
    Text,
    Other,
}

/// The fields of a page that count.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) title: String,
    /// The text of the last revision.
    pub(super) text: String,
    namespace: String,
    model: String,
    is_redirect: bool,
}

impl Page {
    /// Parses the inside of a `<page>` that starts at byte `offset` of the dump.
    pub(super) fn parse(xml: &str, offset: u64) -> Result<Page, CorpusError> {
        let mut page = Page::default();
        let mut reader = Reader::from_str(xml);
        reader.config_mut().expand_empty_elements = true;
        page.read(&mut reader).map_err(|(position, message)| CorpusError::Xml {
            offset: offset + position,
            message: format!("in page `{}`: {message}", page.title),
        })?;
        Ok(page)
    }

    fn read(&mut self, reader: &mut Reader<&[u8]>) -> Result<(), (u64, String)> {
        // the elements that are open, outermost first
        let mut open: Vec<Element> = Vec::new();
        loop {
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err((reader.error_position(), error.to_string())),
            };
            let failed = |message: String| Err((reader.buffer_position(), message));
            match event {
                Event::Start(_) if open.len() == MAX_DEPTH => {
                    return failed(format!("more than {MAX_DEPTH} elements are open"));
                }
                Event::Start(tag) => {
                    let element = self.start(tag.name().0);
                    open.push(element);
                }
                Event::End(_) => {
                    open.pop();
                }
                Event::Text(text) => self.push(&open, &text.xml10_content()),
                Event::CData(text) => self.push(&open, &text.xml10_content()),
                Event::GeneralRef(reference) => match resolve(&reference) {
                    Some(text) => self.push(&open, &text),
                    None => return failed(format!("unknown entity `&{};`", &*reference)),
                },
                Event::Eof if !open.is_empty() => {
                    return failed("the page ends before its last element is closed".to_owned());
                }
                Event::Eof if self.namespace.is_empty() => {
                    return failed("no <ns>: an export of version 0.6 or newer is needed".to_owned());
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    fn start(&mut self, name: &str) -> Element {
        match name {
            "title" => Element::Title,
            "ns" => Element::Namespace,
            "revision" => {
                // a later revision replaces an earlier one
                self.text.clear();
                self.model.clear();
                Element::Revision
            }
            "model" => Element::Model,
            "text" => Element::Text,
            "redirect" => {
                self.is_redirect = true;
                Element::Other
            }
            _ => Element::Other,
        }
    }

    /// Character data of the innermost open element.
    fn push(&mut self, open: &[Element], text: &str) {
        match open {
            [Element::Title] => self.title.push_str(text),
            [Element::Namespace] => self.namespace.push_str(text),
            [Element::Revision, Element::Model] => self.model.push_str(text),
            [Element::Revision, Element::Text] => self.text.push_str(text),
            _ => {}
        }
    }

    /// Why the page is no article; nothing if it is one.
    pub(super) fn skip_reason(&self) -> Option<&'static str> {
        if self.is_redirect || is_redirect(&self.text) {
            return Some("redirect");
        }
        if self.namespace.trim() != "0" {
            return Some("not an article");
        }
        (!matches!(self.model.trim(), "" | "wikitext")).then_some("not wikitext")
    }
}

fn resolve(reference: &BytesRef) -> Option<String> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Some(character.to_string()),
        Ok(None) => quick_xml::escape::resolve_xml_entity(reference).map(String::from),
        Err(_) => None,
    }
}

/// Whether the page redirects in English words; `<redirect>`, which is there in any language, is missing from some exports.
fn is_redirect(text: &str) -> bool {
    const MARK: &[u8] = b"#redirect";
    let start = text.trim_start().as_bytes().get(..MARK.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(MARK))
}

/// The title of a raw page, to name it in an error; empty if there is none.
pub(super) fn title(bytes: &[u8]) -> String {
    const OPEN: &[u8] = b"<title>";
    // the title comes first: no need to search a long page that has none
    let start = &bytes[..bytes.len().min(4096)];
    let title = memmem::find(start, OPEN).map(|at| &start[at + OPEN.len()..]);
    let title = title.and_then(|rest| memmem::find(rest, b"</title>").map(|end| &rest[..end]));
    String::from_utf8_lossy(title.unwrap_or_default()).into_owned()
}

/// The first element of a dump.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Root {
    None,
    Mediawiki,
    /// Another one, and where.
    Other {
        name: String,
        offset: u64,
    },
}

/// What stands between two pages, or before the first.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) root: Root,
    /// Whether `<mediawiki>` is open at its end; nothing if it was neither opened nor closed.
    pub(super) ends_open: Option<bool>,
    /// What the wiki's pages depend on, if there is a `<mediawiki>`.
    pub(super) wiki: Option<Wiki>,
    /// Whether there is nothing but XML outside of pages.
    pub(super) is_clean: bool,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Header {
        let mut header = Header { root: Root::None, ends_open: None, wiki: None, is_clean: true };
        if bytes.trim_ascii().is_empty() {
            return header;
        }
        let text = String::from_utf8_lossy(bytes);
        let mut reader = Reader::from_str(&text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_end_names = false;
        reader.config_mut().allow_unmatched_ends = true;
        // Behind the root stand <siteinfo> and <logitem>; the depth below the root tells their text from stray text.
        let mut depth = 0_usize;
        // The number and the name of the namespace that is open.
        let mut namespace: Option<(String, String)> = None;
        loop {
            let position = reader.buffer_position();
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(_) => {
                    header.is_clean = false;
                    return header;
                }
            };
            match event {
                Event::Start(tag) => {
                    let name = tag.name().0;
                    if header.root == Root::None {
                        header.root = match name {
                            "mediawiki" => Root::Mediawiki,
                            name => Root::Other { name: name.to_owned(), offset: position },
                        };
                    }
                    match name {
                        "mediawiki" => {
                            header.ends_open = Some(true);
                            let mut wiki = Wiki::default();
                            if let Some(language) = tag.try_get_attribute("xml:lang").ok().flatten() {
                                wiki.language = language.value.to_lowercase();
                            }
                            header.wiki = Some(wiki);
                        }
                        "siteinfo" | "logitem" if depth == 0 => depth = 1,
                        _ if depth == 0 => header.is_clean = false,
                        "namespace" => {
                            let key = tag.try_get_attribute("key").ok().flatten();
                            namespace = key.map(|key| (key.value.to_string(), String::new()));
                            depth += 1;
                        }
                        _ => depth += 1,
                    }
                }
                Event::End(tag) => match tag.name().0 {
                    "mediawiki" => header.ends_open = Some(false),
                    _ if depth == 0 => header.is_clean = false,
                    _ => {
                        depth -= 1;
                        if let (Some((key, name)), Some(wiki)) = (namespace.take(), &mut header.wiki) {
                            if matches!(key.as_str(), "-2" | "6" | "14") {
                                wiki.hidden.add(&name);
                            }
                            wiki.namespaces.push((key, name));
                        }
                    }
                },
                Event::Text(text) => match &mut namespace {
                    Some((_, name)) => name.push_str(&text.xml10_content()),
                    None => header.is_clean &= depth > 0 || text.trim().is_empty(),
                },
                Event::GeneralRef(_) if depth == 0 => header.is_clean = false,
                Event::Eof => {
                    header.is_clean &= depth == 0;
                    return header;
                }
                _ => {}
            }
        }
    }
}
