//! What a model wants and what there is: tokens, time, memory.

use std::time::Duration;

use tch::Device;

use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::{BertConfig, Compute, Kernels};
use crate::pretrain::calibrate::{product_flops, product_rate, products};
use crate::pretrain::memory::machine;
use crate::pretrain::{Memory, Step};
use crate::starter::size::Size;
use crate::step::Precision;

/// Tokens to train on for each parameter (Hoffmann et al. 2022, "Training compute-optimal large language models", found about 20
/// for causal language models). A rule of thumb: with fewer, a smaller model learns as much.
const TOKENS_PER_PARAMETER: f64 = 20.0;
/// Passes over a text after which one more teaches next to nothing (Muennighoff et al. 2023, "Scaling data-constrained
/// language models"; BERT made 40).
pub const MOST_PASSES: f64 = 40.0;
/// The part of the rate of matrix products that a whole step reaches: 0.4 to 0.6 in docs/performance.md.
const UTILISATION: f64 = 0.4;
/// Rows of the products that are timed.
const ROWS: usize = 1024;
/// Targets among them: 15 %.
const TARGETS: usize = 154;
const BUDGET: Duration = Duration::from_millis(50);

/// What there is to train with.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Tokens of the text.
    pub tokens: f64,
    /// Time of the run.
    pub seconds: f64,
}

/// A model on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// Weights, each layer with its own.
    pub parameters: f64,
    /// Tokens that it should see.
    pub wanted_tokens: f64,
    /// Tokens a second here.
    pub tokens_per_second: f64,
    /// Whether a step of one sequence fits into memory.
    pub fits: bool,
}

impl Estimate {
    /// Of `bert`, trained on sequences of up to `length` tokens on `device`; times some of its matrix products.
    ///
    /// # Errors
    /// A CUDA device that does not answer, and libtorch's own.
    pub fn of(bert: &BertConfig, length: usize, device: Device) -> Result<Self> {
        let kind = Precision::Auto.resolve(device)?.compute_kind();
        let parameters = parameters(bert);
        let products = products(bert, ROWS, TARGETS);
        let rate = product_rate(&products, kind, device, BUDGET)?;
        let map = LayerMap::untied(bert.num_hidden_layers);
        let step = Step {
            bert,
            map: &map,
            compute: Compute { kind, kernels: Kernels::Auto, recompute: false },
            device,
            probed: false,
            sequences: 1,
            length,
            capacity: (length * TARGETS).div_ceil(ROWS),
        };
        let room = machine::budget(device)?;
        Ok(Self {
            parameters,
            wanted_tokens: TOKENS_PER_PARAMETER * parameters,
            tokens_per_second: UTILISATION * rate * ROWS as f64 / product_flops(&products),
            fits: room.is_none_or(|room| Memory::of(&step).total() <= room),
        })
    }

    /// Seconds for the tokens that it should see.
    pub fn wanted_seconds(&self) -> f64 {
        self.wanted_tokens / self.tokens_per_second
    }

    /// Whether memory, time and text are enough for it.
    pub fn is_within(&self, budget: Budget) -> bool {
        self.fits && self.wanted_seconds() <= budget.seconds && self.wanted_tokens <= MOST_PASSES * budget.tokens
    }
}

/// The largest size that `budget` is enough for, else the smallest of all.
pub fn choose(estimates: &[(Size, Estimate)], budget: Budget) -> Size {
    let enough = estimates.iter().filter(|(_, estimate)| estimate.is_within(budget));
    enough.map(|(size, _)| *size).max().unwrap_or(Size::Tiny)
}

/// Weights of the embeddings, the layers and the head for masked tokens; the head's matrix is that of the embeddings.
fn parameters(bert: &BertConfig) -> f64 {
    let (width, inner) = (bert.hidden_size, bert.intermediate_size);
    let rows = bert.padded_vocab_size() + bert.max_position_embeddings + bert.type_vocab_size;
    let layer = 4 * width * width + 2 * width * inner + 9 * width + inner;
    (rows * width + bert.num_hidden_layers as i64 * layer + width * width) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(wanted_tokens: f64, tokens_per_second: f64, fits: bool) -> Estimate {
        Estimate { parameters: wanted_tokens / 20.0, wanted_tokens, tokens_per_second, fits }
    }

    #[test]
    fn the_largest_model_that_text_time_and_memory_allow_is_chosen() {
        let sizes = |fits| {
            [
                (Size::Tiny, estimate(4e7, 1e5, true)),
                (Size::Small, estimate(3e8, 1e4, true)),
                (Size::Base, estimate(2e9, 1e3, fits)),
            ]
        };
        let chosen = |tokens, seconds, fits| choose(&sizes(fits), Budget { tokens, seconds });
        assert_eq!(chosen(1e9, 3e6, true), Size::Base);
        assert_eq!(chosen(1e9, 3e6, false), Size::Small);
        // 2e6 s are missing for base, then 3e4 s for small.
        assert_eq!(chosen(1e9, 1e6, true), Size::Small);
        assert_eq!(chosen(1e9, 1e4, true), Size::Tiny);
        // Base wants 2e9 tokens in at most 40 passes: 5e7. Small wants 7.5e6.
        assert_eq!(chosen(4.9e7, 3e6, true), Size::Small);
        assert_eq!(chosen(7.4e6, 3e6, true), Size::Tiny);
        // Nothing is enough: the smallest.
        assert_eq!(chosen(1.0, 1.0, true), Size::Tiny);
    }

    /// google-bert/bert-base-uncased has 109,514,298 parameters with its head for masked tokens (transformers,
    /// `BertForMaskedLM`, without pooler); the vocabulary is padded to 30,528 here.
    #[test]
    fn parameters_are_counted() {
        let counted = parameters(&Size::Base.bert(30_522).unwrap());
        assert!((counted / 109_514_298.0 - 1.0).abs() < 1e-3, "{counted}");
    }

    #[test]
    fn a_model_is_timed_here() {
        let estimate = Estimate::of(&Size::Tiny.bert(1000).unwrap(), 16, Device::Cpu).unwrap();
        assert!(estimate.fits && estimate.tokens_per_second.is_finite() && estimate.tokens_per_second > 0.0);
    }
}
