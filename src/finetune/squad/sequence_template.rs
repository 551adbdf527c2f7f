//! What a tokenizer puts around a question and its context.
//!
//! Read once off an encoded pair, so that a context is tokenised once for all its questions and a window is joined from
//! parts. A tokenizer that is not one of BERT's is refused here.

use std::ops::Range;

use tokenizers::Tokenizer;
use untie_data::wordpiece::Role;

use super::window_config::WindowConfig;
use crate::error::{Error, Result};

pub(super) fn cannot_tokenise(error: tokenizers::Error) -> Error {
    Error::failed("the tokenizer fails").caused_by(error)
}

/// Tokens of one kind, with their segment.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) ids: Vec<u32>,
    pub(super) token_types: Vec<u8>,
}

/// What the tokenizer's template puts around a pair, and the segments of the pair's texts.
pub(super) struct SequenceTemplate {
    before: Piece,
    between: Piece,
    after: Piece,
    question_type: u8,
    context_type: u8,
}

impl SequenceTemplate {
    /// Reads the template off an encoded pair.
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let pair = tokenizer.encode_char_offsets(("a", "a"), true).map_err(cannot_tokenise)?;
        let sequences = pair.get_sequence_ids();
        let token_types = pair
            .get_type_ids()
            .iter()
            .map(|&id| u8::try_from(id))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::config("the tokenizer has segments beyond 255").caused_by(error))?;
        let ends = |sequence| {
            let is_it = |found: &Option<usize>| *found == Some(sequence);
            Some((sequences.iter().position(is_it)?, sequences.iter().rposition(is_it)? + 1))
        };
        let cls = Role::Cls.token(tokenizer).map(|(_, id)| id);
        let (Some((question, question_end)), Some((context, context_end)), Some(cls)) = (ends(0), ends(1), cls) else {
            return Err(no_template("got no template for pairs, or no `[CLS]`"));
        };
        if question_end > context || pair.get_ids()[0] != cls || question == 0 {
            return Err(no_template("got another order"));
        }
        let piece = |range: Range<usize>| Piece {
            ids: pair.get_ids()[range.clone()].to_vec(),
            token_types: token_types[range].to_vec(),
        };
        Ok(Self {
            before: piece(0..question),
            between: piece(question_end..context),
            after: piece(context_end..pair.len()),
            question_type: token_types[question],
            context_type: token_types[context],
        })
    }

    pub(super) fn special_tokens(&self) -> usize {
        self.before.ids.len() + self.between.ids.len() + self.after.ids.len()
    }

    /// The tokens before the context, behind a question of so many.
    pub(super) fn first_position(&self, question: usize) -> usize {
        self.before.ids.len() + question + self.between.ids.len()
    }

    /// Whether there is room for a context that does not fit one window, behind a question without tokens.
    pub(super) fn check(&self, config: &WindowConfig) -> Result<()> {
        let (WindowConfig { max_length, stride }, special) = (config, self.special_tokens());
        if max_length.saturating_sub(special) > *stride {
            return Ok(());
        }
        Err(Error::config(format!(
            "`max_length` {max_length} leaves no room: expected more than `stride` {stride} and {special} special tokens"
        ))
        .hint("raise `max_length` or lower `stride`"))
    }

    /// One window's ids and segments.
    pub(super) fn join(&self, question: &[u32], context: &[u32]) -> Piece {
        let parts: [(&[u32], &[u8], u8); 5] = [
            (&self.before.ids, &self.before.token_types, 0),
            (question, &[], self.question_type),
            (&self.between.ids, &self.between.token_types, 0),
            (context, &[], self.context_type),
            (&self.after.ids, &self.after.token_types, 0),
        ];
        let mut window = Piece::default();
        for (ids, token_types, otherwise) in parts {
            window.ids.extend_from_slice(ids);
            window.token_types.extend_from_slice(token_types);
            window.token_types.resize(window.ids.len(), otherwise);
        }
        window
    }
}

fn no_template(found: &str) -> Error {
    Error::config(format!(
        "the tokenizer is not one of BERT's: expected `[CLS]`, question, separator, context, separator; {found}"
    ))
    .hint("take the tokenizer.json of a BERT model")
}
