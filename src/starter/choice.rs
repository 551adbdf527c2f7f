//! What is chosen for a text, a machine and some hours, and why.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tch::Device;
use untie_data::pipeline::plan::{plan, Needs};
use untie_data::pipeline::{PrepareConfig, PrepareError};

use crate::error::{Error, Result};
use crate::hub;
use crate::metrics::human::{human_count, human_duration};
use crate::starter::estimate::{choose, Budget, Estimate, MOST_PASSES};
use crate::starter::size::Size;

/// Sizes of a vocabulary, from small texts to large ones: up to so many tokens of text each.
const VOCABULARIES: [(usize, f64); 5] = [(2048, 3e5), (4096, 2e6), (8192, 2e7), (16_384, 2e8), (30_522, f64::INFINITY)];
/// The largest for a tiny model, which has few weights for words; larger where this one does not know the text.
const TINY_VOCABULARY: usize = 8192;
/// The part of a text that may be unknown before a larger vocabulary is taken.
const MOST_UNKNOWN: f64 = 1e-3;
/// Tokens of a sequence where a model is continued, unless it has fewer positions.
const LENGTH: usize = 128;
/// The part of a text that is held out, at least and at most.
const HELD_OUT: [f64; 2] = [0.01, 0.1];

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The text and how it is read.
    pub text: PrepareConfig,
    /// Time of the training.
    pub seconds: f64,
    /// The size, where it is given.
    pub size: Option<Size>,
    /// A model that is continued instead.
    pub from: Option<PathBuf>,
}

/// How long the run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// `train.time`.
    Time(Duration),
    /// `train.epochs`: so many passes take less than the time that there is.
    Epochs(f64),
}

/// What the training starts from.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new model.
    New(Size),
    /// The model of a folder.
    From {
        /// The folder.
        init: PathBuf,
        /// Tokens of a sequence.
        sequence_length: usize,
    },
}

/// What is chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The model.
    pub start: Start,
    /// The size of the vocabulary to train; 0 with a model's own.
    pub vocab_size: usize,
    /// The part of the documents to hold out.
    pub held_out: f64,
    /// Length of the run.
    pub length: Length,
    /// Tokens that it will see, about.
    pub tokens: f64,
    /// What was found, a line each.
    pub findings: Vec<String>,
}

impl Choice {
    /// For `request` on `device`. Reads a little of the text, several times, and times matrix products.
    ///
    /// # Errors
    /// A text or a model that cannot be read, and those of [`Estimate::of`].
    pub fn of(request: &Request, device: Device) -> Result<Self> {
        match &request.from {
            Some(from) => continued(request, from, device),
            None => new_model(request, device),
        }
    }

    fn new(
        request: &Request,
        start: Start,
        (vocab_size, needs): (usize, &Needs),
        estimate: Estimate,
        sizes: Vec<String>,
    ) -> Self {
        let (of_text, rate) = (needs.tokens.max(1.0), estimate.tokens_per_second);
        let passes = rate * request.seconds / of_text;
        let length = match passes > MOST_PASSES {
            true => Length::Epochs(MOST_PASSES),
            false => Length::Time(Duration::from_secs_f64(request.seconds.round().max(1.0))),
        };
        let passes = passes.min(MOST_PASSES);
        let tokens = passes * of_text;
        let text = format!(
            "text               {} files, about {}B in {} documents, {} tokens",
            needs.num_files,
            count(needs.text_bytes),
            count(needs.documents),
            count(of_text)
        );
        let (all, time) = (count(tokens), human_duration(tokens / rate));
        let training = format!("training           about {all} tokens, {passes:.1} passes over the text, in {time}");
        let findings = [text].into_iter().chain(sizes).chain([training]).collect();
        Self { start, vocab_size, held_out: held_out(needs), length, tokens, findings }
    }

    /// Whether more is held out than by default.
    pub fn holds_out_more(&self) -> bool {
        self.held_out > HELD_OUT[0]
    }
}

fn continued(request: &Request, from: &Path, device: Device) -> Result<Choice> {
    let folder = hub::model_folder(from)?;
    let bert = hub::load_config(&folder)?;
    let needs = look(request, Vocabulary::Of(folder))?;
    let sequence_length = usize::try_from(bert.max_position_embeddings).map_or(LENGTH, |most| most.min(LENGTH));
    let estimate = Estimate::of(&bert, sequence_length, device)?;
    let start = Start::From { init: from.to_owned(), sequence_length };
    Ok(Choice::new(request, start, (0, &needs), estimate, Vec::new()))
}

fn new_model(request: &Request, device: Device) -> Result<Choice> {
    let mut looks = Vec::new();
    for (vocab_size, most) in VOCABULARIES {
        let needs = look(request, Vocabulary::New(vocab_size))?;
        let is_enough = needs.tokens <= most && needs.unknown <= MOST_UNKNOWN;
        looks.push((vocab_size, needs));
        if is_enough {
            break;
        }
    }
    let last = looks.len() - 1;
    let knows = |(size, needs): &(usize, Needs)| *size >= TINY_VOCABULARY && needs.unknown <= MOST_UNKNOWN;
    let of_tiny = looks.iter().position(knows).unwrap_or(last);
    let look_of = |size| &looks[if size == Size::Tiny { of_tiny } else { last }];
    let budget = Budget { tokens: looks[last].1.tokens, seconds: request.seconds };
    let mut estimates = Vec::new();
    for size in Size::ALL {
        let longest = size.phases().iter().map(|phase| phase.sequence_length).max().unwrap_or(1);
        estimates.push((size, Estimate::of(&size.bert(look_of(size).0)?, longest, device)?));
    }
    let size = request.size.unwrap_or_else(|| choose(&estimates, budget));
    let sizes = estimates.iter().map(|(row, estimate)| row_of(*row, estimate, budget, *row == size)).collect();
    let estimate = estimates.iter().find(|(row, _)| *row == size).map_or(estimates[0].1, |(_, estimate)| *estimate);
    let (vocab_size, needs) = look_of(size);
    Ok(Choice::new(request, Start::New(size), (*vocab_size, needs), estimate, sizes))
}

enum Vocabulary {
    /// To be trained, of this size.
    New(usize),
    /// That of a model.
    Of(PathBuf),
}

/// Reads a little of the text.
fn look(request: &Request, vocabulary: Vocabulary) -> Result<Needs> {
    let mut config = request.text.clone();
    match vocabulary {
        Vocabulary::New(size) => config.vocab_size = size,
        Vocabulary::Of(model) => config.tokenizer = Some(model),
    }
    plan(&config).map_err(|error: PrepareError| {
        let hint = error.hint();
        let failed = Error::data("the text cannot be read").caused_by(error);
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    })
}

/// Five documents and 50,000 tokens, within limits, in whole per cent.
fn held_out(needs: &Needs) -> f64 {
    let wanted = (5.0 / needs.documents).max(50_000.0 / needs.tokens);
    (wanted.clamp(HELD_OUT[0], HELD_OUT[1]) * 100.0).round() / 100.0
}

/// A size beside what it wants.
fn row_of(size: Size, estimate: &Estimate, budget: Budget, is_chosen: bool) -> String {
    let why = match (estimate.fits, estimate.wanted_tokens > MOST_PASSES * budget.tokens) {
        (false, _) => ", too large for the memory",
        (true, true) => ", more than the text has",
        (true, false) => "",
    };
    format!(
        "{:<5} {:>7} weights  wants {:>7} tokens, {:>7} here{why}{}",
        size.name(),
        count(estimate.parameters),
        count(estimate.wanted_tokens),
        human_duration(estimate.wanted_seconds()),
        if is_chosen { "  <- chosen" } else { "" }
    )
}

fn count(number: f64) -> String {
    human_count(number as u128)
}
