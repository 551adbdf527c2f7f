//! Questions → windows of tokens, as a model takes them: `[CLS] question [SEP] piece of the context [SEP]`.
//!
//! In: a tokenizer and questions. Out: [`Window`]s without padding, in the questions' order, a question's windows one
//! after the other; with `labelled`, each with the positions of the answer's first and last token. They are those of
//! transformers' fast tokenizer as `run_qa.py` calls it (`truncation="only_second"`, `return_overflowing_tokens`):
//! white space before a question is dropped; a context that does not fit continues in the next window, which repeats
//! `stride` tokens; an impossible question, and a window that lacks a part of the answer, is labelled [`CLS`].
//!
//! Two differences are on purpose. Where the answer begins with the last context token of a window, `run_qa.py` labels
//! a position behind it, `[SEP]` or the last padding (its comment calls this an edge case); here it is that token, as
//! in Hugging Face's course. Where a question leaves no more than `stride` tokens for a context that does not fit,
//! transformers fails in an assertion or with "sequence to truncate too short"; here that is an error with the
//! question's id. An empty context gives one window without context tokens.
//!
//! Cost: a paragraph is tokenised once for all its questions, in parallel over paragraphs. Memory is 5 bytes a token
//! of a window, and 32 bytes a token of a context, shared by its windows.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::{Encoding, Tokenizer};

use super::paragraph::boundaries;
use super::python;
use super::question::{Answer, Question};
use super::sequence_template::{cannot_tokenise, Piece, SequenceTemplate};
use super::window_config::WindowConfig;
use crate::error::{Error, Result};

/// The position of `[CLS]`, which stands for "no answer here".
pub const CLS: usize = 0;

/// Where a token of the context comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// In characters of the context.
    pub characters: Range<usize>,
    /// In bytes of the context.
    pub bytes: Range<usize>,
}

/// The answer in a window: positions of its first and last token, both [`CLS`] when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Position of the first token.
    pub start: usize,
    /// Position of the last token.
    pub end: usize,
}

/// A question with one piece of its context.
#[derive(Clone, Debug)]
pub struct Window {
    /// Index of the question.
    pub question: usize,
    /// Token ids; their number is the length of attention.
    pub ids: Vec<u32>,
    /// The segment of each token.
    pub token_types: Vec<u8>,
    /// The answer, where labels were asked for.
    pub label: Option<Label>,
    /// Position of the first context token.
    first_position: usize,
    /// Which tokens of the context are in this window.
    piece: Range<usize>,
    /// All tokens of the context.
    spans: Arc<[Span]>,
}

impl Window {
    /// The positions that hold context.
    pub fn context(&self) -> Range<usize> {
        self.first_position..self.first_position + self.piece.len()
    }

    /// Where the token at `position` stands in the context; `None` outside it.
    pub fn span(&self, position: usize) -> Option<&Span> {
        self.spans[self.piece.clone()].get(position.checked_sub(self.first_position)?)
    }
}

/// Cuts `questions` into windows, and labels them when `labelled`.
///
/// # Errors
/// When the tokenizer puts no `[CLS]` before a pair, when `max_length` and `stride` leave no room for any context, and
/// when a question is so long that they leave none for its own.
pub fn windows(
    tokenizer: &Tokenizer,
    questions: &[Question],
    config: &WindowConfig,
    labelled: bool,
) -> Result<Vec<Window>> {
    let mut tokenizer = tokenizer.clone();
    // A tokenizer.json may ask for a truncation of its own, as MiniLM's does.
    tokenizer.with_padding(None).with_truncation(None).map_err(cannot_tokenise)?;
    let template = SequenceTemplate::new(&tokenizer)?;
    template.check(config)?;
    let cutter = Cutter { tokenizer: &tokenizer, template, config: *config, labelled };
    let mut start = 0;
    let paragraphs: Vec<(usize, &[Question])> = questions
        .chunk_by(|one, next| Arc::ptr_eq(&one.context, &next.context))
        .map(|paragraph| {
            start += paragraph.len();
            (start - paragraph.len(), paragraph)
        })
        .collect();
    // Results first, then the error: so that it is that of the first question, whichever thread was faster.
    let cut: Vec<Result<Vec<Window>>> =
        paragraphs.into_par_iter().map(|(first, paragraph)| cutter.paragraph(first, paragraph)).collect();
    let mut windows = Vec::new();
    for paragraph in cut {
        windows.append(&mut paragraph?);
    }
    Ok(windows)
}

/// What all paragraphs are cut with.
struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    template: SequenceTemplate,
    config: WindowConfig,
    labelled: bool,
}

impl Cutter<'_> {
    fn encode(&self, text: &str) -> Result<Encoding> {
        self.tokenizer.encode_char_offsets(text, false).map_err(cannot_tokenise)
    }

    /// The windows of `questions`, which share their context; the first one's index is `first`.
    fn paragraph(&self, first: usize, questions: &[Question]) -> Result<Vec<Window>> {
        let Some(Question { context, .. }) = questions.first() else { return Ok(Vec::new()) };
        let encoded = self.encode(context)?;
        let bytes = boundaries(context);
        let spans: Arc<[Span]> = encoded
            .get_offsets()
            .iter()
            .map(|&(start, end)| match (bytes.get(start), bytes.get(end)) {
                (Some(&from), Some(&to)) if from <= to => Ok(Span { characters: start..end, bytes: from..to }),
                _ => Err(Error::failed(format!("the tokenizer gives offsets {start}..{end} outside its text"))),
            })
            .collect::<Result<_>>()?;
        let mut windows = Vec::new();
        for (index, question) in questions.iter().enumerate() {
            let asked = self.encode(question.question.trim_start_matches(python::is_space))?;
            for piece in self.pieces(&question.id, asked.len(), encoded.len())? {
                let Piece { ids, token_types } = self.template.join(asked.get_ids(), &encoded.get_ids()[piece.clone()]);
                let first_position = self.template.first_position(asked.len());
                let label =
                    self.labelled.then(|| label(&spans[piece.clone()], first_position, question.answers.first()));
                let (question, spans) = (first + index, Arc::clone(&spans));
                windows.push(Window { question, ids, token_types, label, first_position, piece, spans });
            }
        }
        Ok(windows)
    }

    /// Which tokens of the context go into which window.
    fn pieces(&self, id: &str, question: usize, context: usize) -> Result<Vec<Range<usize>>> {
        let WindowConfig { max_length, stride } = self.config;
        let special = self.template.special_tokens();
        let room = max_length.saturating_sub(special + question);
        if context <= room && special + question <= max_length {
            return Ok(std::iter::once(0..context).collect());
        }
        if room <= stride {
            return Err(Error::config(format!(
                "question `{id}` is too long for `max_length` {max_length}: its {question} tokens and {special} special \
                 ones leave {room} of {context} context tokens, expected more than `stride` {stride}"
            ))
            .hint("raise `max_length`, lower `stride`, or take the question out of the file"));
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        loop {
            let end = context.min(start + room);
            pieces.push(start..end);
            if end == context {
                return Ok(pieces);
            }
            start += room - stride;
        }
    }
}

/// Positions of the answer's first and last token among `spans`, of which the first is at `first_position`.
fn label(spans: &[Span], first_position: usize, answer: Option<&Answer>) -> Label {
    let nowhere = Label { start: CLS, end: CLS };
    let (Some(answer), Some(first), Some(last)) = (answer, spans.first(), spans.last()) else { return nowhere };
    let (start, end) = (answer.start, answer.start.saturating_add(answer.text.chars().count()));
    if first.characters.start > start || last.characters.end < end {
        return nowhere;
    }
    let behind_start = spans.iter().take_while(|span| span.characters.start <= start).count();
    let from_end = spans.iter().rev().take_while(|span| span.characters.end >= end).count();
    Label { start: first_position + behind_start - 1, end: first_position + spans.len() - from_end }
}
