//! What a training file loses on its way in: nothing is dropped silently.

use std::fmt;

/// Questions left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// How many.
    pub count: usize,
    /// The ids of the first [`Skip::NAMED`].
    pub first: Vec<String>,
}

impl Skip {
    /// So many ids are kept.
    pub const NAMED: usize = 5;

    pub(super) fn add(&mut self, id: String) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(id);
        }
    }
}

/// Questions of a training file that were left out, by reason. Displayed as one line for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The first answer's text is not where `answer_start` says.
    pub answer_not_at_offset: Skip,
    /// The first answer has no text.
    pub empty_answer: Skip,
    /// The question is nothing but white space.
    pub empty_question: Skip,
}

impl Skipped {
    /// All of them.
    pub fn count(&self) -> usize {
        self.reasons().iter().map(|(_, skip)| skip.count).sum()
    }

    fn reasons(&self) -> [(&'static str, &Skip); 3] {
        [
            ("answer not at its offset", &self.answer_not_at_offset),
            ("empty answer", &self.empty_answer),
            ("empty question", &self.empty_question),
        ]
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} questions skipped", self.count())?;
        let mut separator = ": ";
        for (reason, skip) in self.reasons().into_iter().filter(|(_, skip)| skip.count > 0) {
            let more = if skip.count > skip.first.len() { ", …" } else { "" };
            write!(formatter, "{separator}{} with {reason} (`{}`{more})", skip.count, skip.first.join("`, `"))?;
            separator = "; ";
        }
        Ok(())
    }
}
