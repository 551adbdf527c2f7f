//! Made-up text with something to learn, as both sides read it.

use untie::batch;

use crate::literal::rng::Rng;
use crate::literal::Batch;

/// The mask, and all topics' tokens.
pub const VOCABULARY: u64 = 1 + TOPICS * WORDS;
/// The token that hides a target.
const MASK: i64 = 0;
/// Tokens of a sequence.
pub const LENGTH: usize = 16;
/// Sequences of a batch.
const SEQUENCES: usize = 8;
/// Targets of a sequence.
const TARGETS: usize = 4;
/// Topics, each with tokens of its own.
const TOPICS: u64 = 8;
/// Tokens of a topic.
const WORDS: u64 = 7;

/// Batch `number`. Each sequence keeps to one topic; three times in four a token follows the one before it in its topic's
/// cycle, else it is any of the topic's. The topic alone leaves ln 7 = 1.95 nats.
pub fn batch(number: u64) -> Batch {
    let mut rng = Rng::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut below = |bound| rng.below(bound);
    let mut batch = Batch { token_ids: Vec::new(), targets: Vec::new() };
    for sequence in 0..SEQUENCES {
        let topic = below(TOPICS);
        let mut word = below(WORDS);
        let mut tokens = Vec::new();
        for _ in 0..LENGTH {
            tokens.push((1 + topic * WORDS + word) as i64);
            word = if below(4) == 0 { below(WORDS) } else { (word + 1) % WORDS };
        }
        for slot in 0..TARGETS {
            let position = 4 * slot + below(4) as usize;
            batch.targets.push((sequence, position, tokens[position]));
            tokens[position] = MASK;
        }
        batch.token_ids.push(tokens);
    }
    batch
}

/// The buffers that the product reads.
pub fn house(batch: &Batch) -> batch::Batch {
    batch::Batch {
        token_ids: batch.token_ids.concat(),
        sequence_length: LENGTH,
        positions: batch.targets.iter().map(|&(row, position, _)| (row * LENGTH + position) as i64).collect(),
        labels: batch.targets.iter().map(|&(.., label)| label).collect(),
        weights: vec![1.0; batch.targets.len()],
        num_targets: batch.targets.len(),
        ..Default::default()
    }
}
