//! A MediaWiki XML dump in (`pages-articles`, or a full history, of which the newest revision counts), one [`Document`] an
//! article out, cleaned by [`super::wikitext`].
//!
//! Articles are the pages of namespace 0 that hold wikitext and are no redirects; everything else is skipped and counted. The
//! names of files and categories in the wiki's language come from the dump's own `<namespaces>`. A file of `<page>` elements
//! without a root, such as one stream of a multistream dump, reads as well.
//!
//! Cost: one page in memory. MediaWiki refuses pages above 2 MiB; a page, a tag or a comment above [`MAX_PAGE_BYTES`] is an
//! error, found before more than that is held.

use super::wikitext::{self, HiddenPrefixes};
use super::{CorpusError, CorpusReader, Document, Input, Record, Records};
use quick_xml::events::{BytesRef, Event};
use quick_xml::Reader;
use std::io::{self, BufRead, Read};

/// The most bytes of wikitext that a page may have.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// MediaWiki's export needs 5 levels.
const MAX_DEPTH: usize = 64;

/// A MediaWiki XML dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mediawiki;

impl CorpusReader for Mediawiki {
    fn read(&self, input: Input) -> Records {
        Box::new(Pages::new(input, MAX_PAGE_BYTES))
    }
}

/// The pages of a dump, up to the first error.
struct Pages {
    xml: Reader<Limited>,
    buffer: Vec<u8>,
    hidden: HiddenPrefixes,
    /// The elements that are open, outermost first.
    open: Vec<Element>,
    page: Page,
    limit: usize,
    is_empty: bool,
    is_finished: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Mediawiki,
    Page,
    Title,
    Namespace,
    Revision,
    Model,
    Text,
    /// The name of a namespace whose links show nothing, in `<siteinfo>`.
    HiddenNamespace,
    Other,
}

#[derive(Default)]
struct Page {
    title: String,
    namespace: String,
    model: String,
    text: String,
    prefix: String,
    is_redirect: bool,
}

impl Iterator for Pages {
    type Item = Result<Record, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_finished {
            return None;
        }
        let record = self.next_page().transpose();
        self.is_finished = !matches!(record, Some(Ok(_)));
        record
    }
}

impl Pages {
    fn new(input: Input, limit: usize) -> Pages {
        let mut xml = Reader::from_reader(Limited { input, limit, left: limit, is_exceeded: false });
        xml.config_mut().expand_empty_elements = true;
        Pages {
            xml,
            buffer: Vec::new(),
            hidden: HiddenPrefixes::default(),
            open: Vec::new(),
            page: Page::default(),
            limit,
            is_empty: true,
            is_finished: false,
        }
    }

    /// The next page; nothing at a proper end of the dump.
    fn next_page(&mut self) -> Result<Option<Record>, CorpusError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            buffer.clear();
            self.xml.get_mut().start_event();
            let event = match self.xml.read_event_into(&mut buffer) {
                Ok(event) => event,
                Err(error) => return Err(self.broken(error)),
            };
            match event {
                Event::Start(tag) => {
                    let element = match tag.name().0 {
                        "namespace" => match tag.try_get_attribute("key") {
                            Ok(Some(key)) if matches!(&*key.value, "-2" | "6" | "14") => Element::HiddenNamespace,
                            _ => Element::Other,
                        },
                        name => element(name),
                    };
                    self.start(element, tag.name().0)?;
                }
                Event::End(_) => {
                    if let Some(record) = self.end()? {
                        self.buffer = buffer;
                        return Ok(Some(record));
                    }
                }
                Event::Text(text) => self.push(&text.xml10_content())?,
                Event::CData(text) => self.push(&text.xml10_content())?,
                Event::GeneralRef(reference) => match resolve(&reference) {
                    Some(text) => self.push(&text)?,
                    None => return Err(self.error(&format!("unknown entity `&{};`", &*reference))),
                },
                Event::Eof => {
                    return if self.is_empty {
                        Err(self.error("no <mediawiki> element"))
                    } else if !self.open.is_empty() {
                        Err(self.error("the file ends before its last element is closed"))
                    } else {
                        Ok(None)
                    };
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, element: Element, name: &str) -> Result<(), CorpusError> {
        if self.open.is_empty() && !matches!(element, Element::Mediawiki | Element::Page) {
            return Err(self.error(&format!("expected <mediawiki>, found <{name}>")));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(self.error(&format!("more than {MAX_DEPTH} elements are open")));
        }
        self.is_empty = false;
        match element {
            Element::Page => self.page = Page::default(),
            // a later revision replaces an earlier one
            Element::Revision => {
                self.page.text.clear();
                self.page.model.clear();
            }
            Element::Other if name == "redirect" => self.page.is_redirect = true,
            _ => {}
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<Option<Record>, CorpusError> {
        match self.open.last() {
            Some(Element::Page) if self.page.namespace.is_empty() => {
                return Err(self.error("no <ns>: an export of version 0.6 or newer is needed"));
            }
            Some(Element::HiddenNamespace) => self.hidden.add(&std::mem::take(&mut self.page.prefix)),
            _ => {}
        }
        let is_page = self.open.pop() == Some(Element::Page);
        Ok(is_page.then(|| self.record()))
    }

    /// Character data of the innermost open element.
    fn push(&mut self, text: &str) -> Result<(), CorpusError> {
        let parent = self.open.len().checked_sub(2).map(|index| self.open[index]);
        let field = match (parent, self.open.last()) {
            (Some(Element::Page), Some(Element::Title)) => &mut self.page.title,
            (Some(Element::Page), Some(Element::Namespace)) => &mut self.page.namespace,
            (Some(Element::Revision), Some(Element::Model)) => &mut self.page.model,
            (Some(Element::Revision), Some(Element::Text)) => &mut self.page.text,
            (_, Some(Element::HiddenNamespace)) => &mut self.page.prefix,
            _ => return Ok(()),
        };
        if field.len() + text.len() > self.limit {
            return Err(self.error(&format!("more than {} bytes of text", self.limit)));
        }
        field.push_str(text);
        Ok(())
    }

    fn record(&self) -> Record {
        let page = &self.page;
        if page.is_redirect || is_redirect(&page.text) {
            return Record::Skipped("redirect");
        }
        if page.namespace.trim() != "0" {
            return Record::Skipped("not an article");
        }
        if !matches!(page.model.trim(), "" | "wikitext") {
            return Record::Skipped("not wikitext");
        }
        let text = wikitext::clean_with(&page.text, &self.hidden);
        if text.is_empty() {
            return Record::Skipped("no text");
        }
        let title = Some(page.title.clone()).filter(|title| !title.is_empty());
        Record::Document(Document { title, text })
    }

    fn broken(&self, error: quick_xml::Error) -> CorpusError {
        match error {
            quick_xml::Error::Io(_) if self.xml.get_ref().is_exceeded => {
                self.error(&format!("more than {} bytes without a tag", self.limit))
            }
            quick_xml::Error::Io(error) => CorpusError::Io(io::Error::new(error.kind(), error.to_string())),
            error => self.xml_error(self.xml.error_position(), &error.to_string()),
        }
    }

    fn error(&self, message: &str) -> CorpusError {
        self.xml_error(self.xml.buffer_position(), message)
    }

    fn xml_error(&self, offset: u64, message: &str) -> CorpusError {
        let message = match self.page.title.as_str() {
            "" => message.to_owned(),
            title if self.open.contains(&Element::Page) => format!("in page `{title}`: {message}"),
            title => format!("after page `{title}`: {message}"),
        };
        CorpusError::Xml { offset, message }
    }
}

fn element(name: &str) -> Element {
    match name {
        "mediawiki" => Element::Mediawiki,
        "page" => Element::Page,
        "title" => Element::Title,
        "ns" => Element::Namespace,
        "revision" => Element::Revision,
        "model" => Element::Model,
        "text" => Element::Text,
        _ => Element::Other,
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

/// An input that fails once more than `limit` bytes are read for one XML event, so that the parser's buffer stays below that.
struct Limited {
    input: Input,
    limit: usize,
    left: usize,
    is_exceeded: bool,
}

impl Limited {
    fn start_event(&mut self) {
        self.left = self.limit;
    }
}

impl BufRead for Limited {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.input.fill_buf()?;
        if self.left == 0 && !bytes.is_empty() {
            self.is_exceeded = true;
            return Err(io::Error::other("limit exceeded"));
        }
        Ok(&bytes[..bytes.len().min(self.left)])
    }

    fn consume(&mut self, num_bytes: usize) {
        self.left -= num_bytes.min(self.left);
        self.input.consume(num_bytes);
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.fill_buf()?.read(buffer)?;
        self.consume(num_bytes);
        Ok(num_bytes)
    }
}

#[cfg(test)]
mod tests;
