//! A MediaWiki XML dump in (`pages-articles`, or a full history, of which the newest revision counts), one [`Document`] an
//! article out, cleaned by [`super::wikitext`].
//!
//! Articles are the pages of namespace 0 that hold wikitext and are no redirects; everything else is skipped and counted. The
//! wiki's language and its names of files and categories come from the dump's own `<mediawiki>` and `<namespaces>`. A file of `<page>` elements
//! without a root, such as one stream of a multistream dump, reads as well.
//!
//! Reading only looks for `<page>` and `</page>`, which XML has nowhere else (save in CDATA and comments, which MediaWiki does not
//! write); finishing parses what lies between. So one broken page costs one page.
//!
//! Cost: one page in memory, and a larger one than the limit is read past (MediaWiki refuses pages above 2 MiB).

mod page;

use super::lines::{decode, without_mark};
use super::wikitext::{self, CleanOptions, Cleaned, Wiki};
use super::{
    CorpusError, CorpusReader, Document, Input, Origin, Position, ReaderOptions, Record, Records, BROKEN_PAGE,
};
use page::{Header, Page, Root};
use std::io::{BufRead, Read};
use std::sync::Arc;

/// A MediaWiki XML dump.
#[derive(Clone, Debug, Default)]
pub struct Mediawiki {
    /// Of which the limit, the strictness and the headings count.
    pub options: ReaderOptions,
}

impl CorpusReader for Mediawiki {
    fn read(&self, input: Input) -> Records {
        Box::new(Pages {
            marks: Marks { input, section: Vec::new(), offset: 0 },
            options: self.options.clone(),
            wiki: Arc::default(),
            state: State::Start,
            last_title: String::new(),
        })
    }

    fn finish(&self, document: Document) -> Result<Record, CorpusError> {
        let Origin::Page { offset, wiki } = document.origin else {
            return Ok(Record::Document(document));
        };
        let page = match Page::parse(&document.text, offset) {
            Ok(page) => page,
            Err(error) => return self.options.refuse(BROKEN_PAGE, error),
        };
        if let Some(reason) = page.skip_reason() {
            return Ok(Record::Skipped(reason));
        }
        let options = CleanOptions {
            headings: self.options.headings,
            drop_incomplete_sentences: self.options.drop_incomplete_sentences,
            ..Default::default()
        };
        let Cleaned { text, gaps, num_dropped } = wikitext::clean_page(&page.title, &page.text, &wiki, &options);
        if text.is_empty() {
            return Ok(Record::Skipped("no text"));
        }
        let title = Some(page.title).filter(|title| !title.is_empty());
        let replaced = document.replaced;
        Ok(Record::Document(Document {
            title,
            replaced,
            gaps,
            dropped_sentences: num_dropped,
            ..Document::plain(text)
        }))
    }
}

/// Where in the dump the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first element.
    Start,
    /// Between pages, inside `<mediawiki>`.
    InRoot,
    /// Between pages, where no `<mediawiki>` is open.
    Outside,
    /// Behind a `<page>`.
    InPage { is_rooted: bool },
    /// At the end, or behind an error.
    Finished,
}

/// The raw pages of a dump, up to the first error.
struct Pages {
    marks: Marks,
    options: ReaderOptions,
    wiki: Arc<Wiki>,
    state: State,
    /// The title of the page that was read last, to say where an error is.
    last_title: String,
}

impl Iterator for Pages {
    type Item = Result<Record, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.next_record().transpose();
        if !matches!(record, Some(Ok(_))) {
            self.state = State::Finished;
        }
        record
    }
}

impl Pages {
    fn next_record(&mut self) -> Result<Option<Record>, CorpusError> {
        loop {
            let record = match self.state {
                State::Finished => return Ok(None),
                State::InPage { is_rooted } => Some(self.page(is_rooted)?),
                State::Start | State::InRoot | State::Outside => self.gap()?,
            };
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    /// Reads up to the next `<page>` or the end of the file; a record if something was lost in between.
    fn gap(&mut self) -> Result<Option<Record>, CorpusError> {
        let offset = self.marks.offset;
        let end = self.marks.next(self.options.limit())?;
        let section = &self.marks.section;
        let bytes = if self.state == State::Start { without_mark(section) } else { section };
        let shift = offset + (section.len() - bytes.len()) as u64;
        let header = Header::parse(bytes);
        if self.state == State::Start {
            match &header.root {
                _ if end.is_cut => {
                    let message = format!("no <page> in the first {} bytes", self.options.limit());
                    return Err(CorpusError::Xml { offset, message });
                }
                Root::Other { name, offset } => {
                    let message = format!("expected <mediawiki>, found <{name}>");
                    return Err(CorpusError::Xml { offset: shift + offset, message });
                }
                Root::None if end.mark != Some(Mark::Open) => {
                    return Err(CorpusError::Xml { offset, message: "no <mediawiki> element".to_owned() });
                }
                Root::None | Root::Mediawiki => {}
            }
        }
        let is_rooted = match (header.ends_open, self.state) {
            (Some(ends_open), _) => ends_open,
            (None, state) => state == State::InRoot,
        };
        if let Some(wiki) = header.wiki {
            self.wiki = Arc::new(wiki);
        }
        // a `</page>` here belongs to a page whose start was damaged
        let is_stray = end.is_cut || end.mark == Some(Mark::Close) || !header.is_clean;
        self.state = match end.mark {
            Some(Mark::Open) => State::InPage { is_rooted },
            Some(Mark::Close) if is_rooted => State::InRoot,
            Some(Mark::Close) => State::Outside,
            None if is_rooted => return Err(self.cut_short()),
            None => State::Finished,
        };
        if is_stray {
            let message = "text between the pages".to_owned();
            return self.options.refuse(BROKEN_PAGE, CorpusError::Xml { offset, message }).map(Some);
        }
        Ok(None)
    }

    /// Reads up to `</page>`.
    fn page(&mut self, is_rooted: bool) -> Result<Record, CorpusError> {
        let offset = self.marks.offset;
        let end = self.marks.next(self.options.limit())?;
        self.last_title = page::title(&self.marks.section);
        match end.mark {
            None => return Err(self.cut_short()),
            // the next page starts, and this one has not ended
            Some(Mark::Open) => {
                let message = format!("in page `{}`: expected </page>, found <page>", self.last_title);
                let error = CorpusError::Xml { offset: self.marks.offset, message };
                return self.options.refuse(BROKEN_PAGE, error);
            }
            Some(Mark::Close) => self.state = if is_rooted { State::InRoot } else { State::Outside },
        }
        if end.is_cut {
            return self.options.too_long(Position::Byte(offset));
        }
        let (text, replaced) = decode(&self.marks.section, self.options.strict, Position::Byte(offset))?;
        let origin = Origin::Page { offset, wiki: Arc::clone(&self.wiki) };
        Ok(Record::Document(Document { replaced, origin, ..Document::plain(text) }))
    }

    fn cut_short(&self) -> CorpusError {
        let place = match (self.state, self.last_title.as_str()) {
            (_, "") => String::new(),
            (State::InPage { .. }, title) => format!("in page `{title}`: "),
            (_, title) => format!("after page `{title}`: "),
        };
        let message = format!("{place}the file ends before its last element is closed");
        CorpusError::Xml { offset: self.marks.offset, message }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// `<page>`
    Open,
    /// `</page>`
    Close,
}

impl Mark {
    const OPEN: &[u8] = b"<page>";
    const CLOSE: &[u8] = b"</page>";

    /// The mark that ends `bytes`, and its length.
    fn at_end_of(bytes: &[u8]) -> Option<(Mark, usize)> {
        if bytes.ends_with(Mark::CLOSE) {
            Some((Mark::Close, Mark::CLOSE.len()))
        } else if bytes.ends_with(Mark::OPEN) {
            Some((Mark::Open, Mark::OPEN.len()))
        } else {
            None
        }
    }
}

/// How a section ended.
struct End {
    /// What ends it; nothing at the end of the file.
    mark: Option<Mark>,
    /// Whether it is longer than the limit, and only its start is held.
    is_cut: bool,
}

/// Splits a stream at its marks.
struct Marks {
    input: Input,
    /// The section that was read last.
    section: Vec<u8>,
    /// Offset of the next byte to read, in the stream.
    offset: u64,
}

impl Marks {
    fn next(&mut self, limit: usize) -> Result<End, CorpusError> {
        self.section.clear();
        let mut is_cut = false;
        loop {
            // in text `>` is escaped, so that this stops a few dozen times a page
            let num_bytes = self.input.by_ref().take(STEP_BYTES).read_until(b'>', &mut self.section)?;
            self.offset += num_bytes as u64;
            let found = Mark::at_end_of(&self.section);
            if found.is_some() || num_bytes == 0 {
                self.section.truncate(self.section.len() - found.map_or(0, |(_, length)| length));
                is_cut |= self.section.len() > limit;
                self.section.truncate(limit);
                return Ok(End { mark: found.map(|(mark, _)| mark), is_cut });
            }
            if self.section.len() > limit + Mark::CLOSE.len() {
                // the end may be the start of a mark
                self.section.drain(limit..self.section.len() - Mark::CLOSE.len());
                is_cut = true;
            }
        }
    }
}

/// Bytes that are read at once, where there is no `>`.
const STEP_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
