//! Masking against what the papers say, over a million positions and more: rates, 80/10/10, words, spans.

use crate::batch_common::{continues, Rng, CLS, FIRST_WORD, MASK, PAD, SEP, VOCAB_SIZE};
use untie::batch::masking::{Masking, Scratch, Target};
use untie::batch::random::SampleRandom;
use untie::batch::{DataConfig, Vocabulary};
use untie_data::wordpiece::SpecialTokens;

fn vocabulary() -> Vocabulary {
    Vocabulary {
        json: String::new(),
        size: VOCAB_SIZE as usize,
        hash: String::new(),
        tokens: "".into(),
        special: SpecialTokens { pad: PAD, unk: 1, cls: CLS, sep: SEP, mask: MASK },
        continues: (0..VOCAB_SIZE).map(continues).collect(),
        notes: Vec::new(),
    }
}

fn masking(config: DataConfig) -> Masking {
    config.validate().unwrap();
    Masking::new(&config, &vocabulary())
}

/// `count` sequences of `length` tokens with a `[SEP]` somewhere and padding behind the last one.
fn sequences(count: usize, length: usize) -> Vec<Vec<u32>> {
    let mut rng = Rng(7);
    let sequence = |_| {
        let padding = rng.below(length as u64 / 8) as usize;
        let middle = 1 + rng.below((length - padding) as u64 - 2) as usize;
        let token = |at| match at {
            0 => CLS,
            _ if at == middle || at == length - padding - 1 => SEP,
            _ if at >= length - padding => PAD,
            _ => rng.token(),
        };
        (0..length).map(token).collect()
    };
    (0..count).map(sequence).collect()
}

/// Masks each sequence under a seed of its own; gives them with the masked ids and the targets.
fn masked(masking: &Masking, sequences: &[Vec<u32>], mut check: impl FnMut(&[u32], &[u32], &[Target])) {
    let (mut scratch, mut targets) = (Scratch::default(), Vec::new());
    for (sample, original) in sequences.iter().enumerate() {
        let mut ids = original.clone();
        masking.apply(&mut ids, &mut SampleRandom::new(1, 0, sample as u64), &mut scratch, &mut targets);
        assert!(targets.windows(2).all(|pair| pair[0].position < pair[1].position));
        for target in &targets {
            assert_eq!(original[target.position], target.label);
            assert!(target.label >= FIRST_WORD);
        }
        for (at, (&now, &before)) in ids.iter().zip(original).enumerate() {
            assert!(now == before || targets.binary_search_by_key(&at, |target| target.position).is_ok());
        }
        check(original, &ids, &targets);
    }
}

fn maskable(sequence: &[u32]) -> usize {
    sequence.iter().filter(|&&id| id >= FIRST_WORD).count()
}

fn budget(rate: f64, sequence: &[u32]) -> usize {
    ((rate * maskable(sequence) as f64).round() as usize).max(1)
}

/// How far `count` of `n` is from its expectation, in standard deviations.
fn deviations(count: u32, n: u32, p: f64) -> f64 {
    let n = f64::from(n);
    (f64::from(count) - p * n).abs() / (n * p * (1.0 - p)).sqrt()
}

#[test]
fn budgets_round_and_are_at_least_one() {
    let masking = masking(DataConfig::default());
    let counts: Vec<usize> = [126, 10, 3, 1, 0].iter().map(|&maskable| masking.count(maskable)).collect();
    assert_eq!(counts, [19, 2, 1, 1, 0]);
}

#[test]
fn tokens_are_masked_at_their_rates() {
    let sequences = sequences(9000, 128);
    for (rate, mask_token_rate, random_token_rate) in [(0.15, 0.8, 0.1), (0.4, 0.5, 0.3), (0.15, 1.0, 0.0)] {
        let config = DataConfig { mask_rate: rate, mask_token_rate, random_token_rate, ..Default::default() };
        let (mut hidden, mut kept, mut chosen, mut all) = (0, 0, 0, 0);
        let mut words = 0;
        let mut places = vec![(0_u32, 0.0_f64); 128];
        masked(&masking(config), &sequences, |original, ids, targets| {
            assert_eq!(targets.len(), budget(rate, original));
            chosen += targets.len() as u32;
            all += maskable(original) as u32;
            for target in targets {
                hidden += u32::from(ids[target.position] == MASK);
                kept += u32::from(ids[target.position] == target.label);
                words += u32::from(continues(target.label));
                places[target.position].0 += 1;
            }
            let share = targets.len() as f64 / maskable(original) as f64;
            (0..128).filter(|&at| original[at] >= FIRST_WORD).for_each(|at| places[at].1 += share);
        });
        assert!(all > 1_000_000);
        // Exact for each sequence, so that only rounding is left: half a token of some hundred.
        assert!((f64::from(chosen) / f64::from(all) - rate).abs() < 0.002);
        // A random token hits [MASK] or the original one time in 30,000 each.
        let hit = random_token_rate / f64::from(VOCAB_SIZE);
        let keep = 1.0 - mask_token_rate - random_token_rate + hit;
        for (count, p) in [(hidden, mask_token_rate + hit), (kept, keep)] {
            if p < 1.0 - 1e-9 && p > 1e-9 {
                assert!(deviations(count, chosen, p) < 5.0, "{count} of {chosen}, expected {p}");
            } else {
                assert_eq!(count, (p.round() * f64::from(chosen)) as u32);
            }
        }
        // Every position and every token alike.
        assert!(deviations(words, chosen, 1.0 / 3.0) < 5.0, "{words} of {chosen}");
        for (at, &(count, expected)) in places.iter().enumerate().filter(|(_, place)| place.1 > 100.0) {
            assert!((f64::from(count) - expected).abs() < 5.0 * expected.sqrt(), "position {at}: {count}");
        }
    }
}

/// The words of a sequence, by the definition: a token and the `##` tokens right behind it.
fn words(sequence: &[u32]) -> Vec<std::ops::Range<usize>> {
    let mut words: Vec<std::ops::Range<usize>> = Vec::new();
    for at in (0..sequence.len()).filter(|&at| sequence[at] >= FIRST_WORD) {
        match words.last_mut() {
            Some(word) if continues(sequence[at]) && sequence[at - 1] >= FIRST_WORD => word.end = at + 1,
            _ => words.push(at..at + 1),
        }
    }
    words
}

#[test]
fn whole_words_are_never_split_and_fill_the_budget() {
    let sequences = sequences(9000, 128);
    let config = DataConfig { whole_word: true, ..Default::default() };
    let (mut hidden, mut kept, mut chosen, mut budgets, mut mixed, mut long) = (0, 0, 0, 0, 0, 0);
    masked(&masking(config), &sequences, |original, ids, targets| {
        let taken = |at: usize| targets.binary_search_by_key(&at, |target| target.position).is_ok();
        let left = budget(0.15, original) - targets.len();
        for word in words(original) {
            let count = word.clone().filter(|&at| taken(at)).count();
            assert!(count == 0 || count == word.len(), "{word:?} is split");
            // As many as fit: no word that is left out would.
            assert!(count > 0 || word.len() > left, "{word:?} fits {left}");
            let num_hidden = word.clone().filter(|&at| ids[at] == MASK).count();
            mixed += u32::from(count > 1 && num_hidden != 0 && num_hidden != count);
            long += u32::from(count > 1);
        }
        hidden += targets.iter().filter(|target| ids[target.position] == MASK).count() as u32;
        kept += targets.iter().filter(|target| ids[target.position] == target.label).count() as u32;
        (chosen, budgets) = (chosen + targets.len() as u32, budgets + budget(0.15, original));
    });
    assert!(f64::from(chosen) > 0.99 * budgets as f64, "{chosen} of {budgets}");
    for (count, p) in [(hidden, 0.8), (kept, 0.1)] {
        assert!(deviations(count, chosen, p) < 5.0, "{count} of {chosen}");
    }
    // Each token on its own: of words of two tokens 1 − 0.8² − 0.2² = 32 % are mixed, of longer ones more.
    assert!((0.32..0.45).contains(&(f64::from(mixed) / f64::from(long))), "{mixed} of {long}");
}

/// A budget that no word fits stays unspent, as in Google's script.
#[test]
fn a_word_longer_than_the_budget_is_left_out() {
    let masking = masking(DataConfig { whole_word: true, ..Default::default() });
    let original = vec![CLS, 10, 12, 15, 18, 21, SEP];
    masked(&masking, &[original], |_, _, targets| assert!(targets.is_empty()));
    let masking = self::masking(DataConfig { whole_word: true, mask_rate: 0.9, ..Default::default() });
    // A window that begins inside a word: its tokens are one word.
    let original = vec![CLS, 12, 15, SEP, 18, 10, SEP];
    masked(&masking, &vec![original; 50], |_, _, targets| {
        let places: Vec<usize> = targets.iter().map(|target| target.position).collect();
        assert_eq!(places, [1, 2, 4, 5]);
    });
}

/// Runs of targets next to each other.
fn runs(targets: &[Target]) -> Vec<&[Target]> {
    targets.chunk_by(|one, two| one.position + 1 == two.position).collect()
}

/// Few spans in a long sequence seldom touch, so that runs are spans. A budget of b tokens takes N(b) of them, the last one
/// cut: E N(b) = 1 + Σ p(ℓ)·E N(b − ℓ), with N = 0 from b = 0 down.
#[test]
fn spans_have_their_lengths_and_change_as_one() {
    const BUDGET: usize = 16;
    let p: Vec<f64> = (0..10).map(|at| 0.2 * 0.8_f64.powi(at) / (1.0 - 0.8_f64.powi(10))).collect();
    let mut expected = [0.0; BUDGET + 1];
    for budget in 1..=BUDGET {
        let rest: f64 = (1..=budget.min(10)).map(|length| p[length - 1] * expected[budget - length]).sum();
        expected[budget] = 1.0 + rest;
    }
    let sequence: Vec<u32> = sequences(1, 16_384).remove(0);
    let rate = BUDGET as f64 / maskable(&sequence) as f64;
    let config = DataConfig { mask_rate: rate, span_length: 3.797_10, ..Default::default() };
    let (mut counts, mut hidden, mut mixed, mut total) = (Vec::new(), 0, 0, 0);
    masked(&masking(config), &vec![sequence; 2000], |_, ids, targets| {
        assert_eq!(targets.len(), BUDGET);
        let runs = runs(targets);
        counts.push(runs.len() as f64);
        for run in runs {
            let masks = run.iter().filter(|target| ids[target.position] == MASK).count();
            hidden += u32::from(masks == run.len());
            mixed += u32::from(masks != 0 && masks != run.len());
            total += 1;
        }
    });
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<f64>() / n;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / n;
    let deviation = (variance / n).sqrt();
    assert!((mean - expected[BUDGET]).abs() < 5.0 * deviation, "{mean} runs, expected {}", expected[BUDGET]);
    assert!(deviations(hidden, total, 0.8) < 5.0, "{hidden} of {total}");
    // Only where two spans touch.
    assert!(f64::from(mixed) < 0.01 * f64::from(total), "{mixed} of {total}");
}

#[test]
fn spans_of_tokens_are_exact_and_spans_of_words_keep_them_whole() {
    let sequences = sequences(9000, 128);
    for whole_word in [false, true] {
        let config = DataConfig { whole_word, span_length: 3.8, ..Default::default() };
        let (mut chosen, mut budgets, mut num_runs, mut hidden) = (0, 0, 0, 0);
        masked(&masking(config), &sequences, |original, ids, targets| {
            let taken = |at: usize| targets.binary_search_by_key(&at, |target| target.position).is_ok();
            if whole_word {
                assert!(targets.len() <= budget(0.15, original));
                for word in words(original) {
                    let count = word.clone().filter(|&at| taken(at)).count();
                    assert!(count == 0 || count == word.len(), "{word:?} is split");
                }
            } else {
                assert_eq!(targets.len(), budget(0.15, original));
            }
            hidden += targets.iter().filter(|target| ids[target.position] == MASK).count();
            num_runs += runs(targets).len();
            (chosen, budgets) = (chosen + targets.len(), budgets + budget(0.15, original));
        });
        assert!(chosen as f64 > 0.98 * budgets as f64, "{chosen} of {budgets}");
        // Single tokens at this rate make runs of 1.2, spans of 3.8 tokens much longer ones.
        assert!(chosen > 3 * num_runs, "{chosen} in {num_runs} runs");
        assert!((hidden as f64 / chosen as f64 - 0.8).abs() < 0.02);
    }
}
