//! Dropout of the pooled vector is a function of the sequence's key, and takes its bits from where no other dropout does.

use tch::{Device, Kind, Tensor};
use untie::hub::load_for_task;
use untie::model::{Bert, BertConfig, Mode, TaskHead};
use untie::shim::{dropout_factors, KeyedDropout};

use crate::fixtures::fixture;

/// Number of the dropout after the pooler; embeddings have 0, layers 4 and above.
const POOLED_SITE: u32 = 1;

/// Philox4x32-10 as its paper has it (Salmon et al. 2011, section 2.2).
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _round in 0..10 {
        let [first, second] =
            [(0xD251_1F53_u64, counter[0]), (0xCD9E_8D57, counter[2])].map(|(factor, word)| factor * u64::from(word));
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The factors by the definition in csrc/kernels/dropout.h, for the only row of each sequence.
fn by_definition(keys: &[i64], site: u32, probability: f64, width: usize) -> Tensor {
    let threshold = (probability * 65536.0).round() as u32;
    let factor = |key: i64, at: usize| {
        let (group, within) = (at / 128, at % 128);
        let (vector, lane) = (within / 16, within % 16);
        let counter = [(16 * group + lane) as u32, site, 0, 0];
        let word = philox(counter, [key as u32, (key as u64 >> 32) as u32])[vector / 2];
        let bits = if vector.is_multiple_of(2) { word & 0xffff } else { word >> 16 };
        if bits < threshold {
            0.0
        } else {
            65536.0 / f64::from(65536 - threshold)
        }
    };
    let all: Vec<f64> = keys.iter().flat_map(|&key| (0..width).map(move |at| factor(key, at))).collect();
    Tensor::from_slice(&all).view([keys.len() as i64, width as i64])
}

/// The known answers of the authors' library, Random123 (tests/kat_vectors).
#[test]
fn the_generator_of_this_test_gives_the_published_numbers() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
}

#[test]
fn factors_are_those_of_the_definition() {
    let keys = [0_i64, 1, -1, i64::MIN, 0x0123_4567_89ab_cdef];
    let tensor = Tensor::from_slice(&keys);
    for (site, probability, width) in [(1, 0.1, 384), (1, 0.5, 200), (9, 0.1, 7), (1, 0.0, 20)] {
        let expected = by_definition(&keys, site, probability, width);
        let dropout = KeyedDropout { keys: &tensor, site, probability };
        for kind in [Kind::Double, Kind::Float] {
            let got = dropout_factors(dropout, (5, width as i64), kind).unwrap();
            assert_eq!(got, expected.to_kind(kind), "{site} {probability} {width} {kind:?}");
        }
    }
}

#[test]
fn factors_that_make_no_sense_are_refused() {
    let keys = Tensor::from_slice(&[1_i64, 2]);
    let dropout = KeyedDropout { keys: &keys, site: 1, probability: 0.1 };
    let refused = |dropout, width, kind| dropout_factors(dropout, (2, width), kind).unwrap_err().to_string();
    assert!(refused(dropout, 8, Kind::BFloat16).contains("no factors"));
    assert!(refused(dropout, 0, Kind::Float).contains("no factors"));
    assert!(refused(KeyedDropout { probability: 1.0, ..dropout }, 8, Kind::Float).contains("expected a dropout"));
    let short = keys.to_kind(Kind::Int);
    assert!(refused(KeyedDropout { keys: &short, ..dropout }, 8, Kind::Float).contains("dropout keys: expected Int64"));
}

/// The fixture's model with dropout, and hidden states.
fn dropping(probability: f64, num_sequences: i64) -> (Bert, Tensor, [Tensor; 4]) {
    let head = TaskHead::Sequence { num_labels: 3 };
    let model = load_for_task(&fixture("post-pairs"), head, 5, Kind::Double, Device::Cpu).unwrap();
    let config = BertConfig { hidden_dropout_prob: probability, ..model.config.clone() };
    let bert = Bert::new(&config, &model.layer_map(), &model.weights, Kind::Double).unwrap();
    let hidden = Tensor::arange(16, (Kind::Double, Device::Cpu)).sin().view([1, 1, 16]);
    let names = ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"];
    let parts = names.map(|name| model.weights.tensor(name).unwrap().detach());
    (bert, hidden.repeat([num_sequences, 2, 1]), parts)
}

/// logits = (tanh(W·h + b) ∘ factors of site 1)·Vᵀ + c, so that each sequence's logits depend on its own key only.
#[test]
fn the_pooled_vector_drops_by_key() {
    let _no_grad = tch::no_grad_guard();
    let keys = [7_i64, 8, 7, -3];
    let (bert, hidden, [dense, dense_bias, classifier, bias]) = dropping(0.25, 4);
    let run = |keys: &[i64]| {
        let rows = hidden.narrow(0, 0, keys.len() as i64);
        bert.sequence_logits(&rows, Mode::Train, Some(&Tensor::from_slice(keys))).unwrap()
    };
    let got = run(&keys);
    let pooled = hidden.select(1, 0).linear(&dense, Some(&dense_bias)).tanh();
    let expected = (pooled * by_definition(&keys, POOLED_SITE, 0.25, 16)).linear(&classifier, Some(&bias));
    assert!(got.allclose(&expected, 0.0, 1e-14, false), "{got:?} {expected:?}");
    assert_eq!(got, run(&keys), "the same keys, the same logits");
    assert_eq!(got.get(0), got.get(2));
    assert_ne!(got.get(0), got.get(1));
    assert!(run(&[8]).get(0).allclose(&got.get(1), 0.0, 1e-14, false), "whatever else is in the batch");
    let other_site = by_definition(&keys, 0, 0.25, 16);
    assert_ne!(other_site, by_definition(&keys, POOLED_SITE, 0.25, 16), "the embeddings drop others");
}

/// A share `probability` of the features is dropped and the rest scaled, so that the mean over keys is that without dropout.
#[test]
fn the_rate_and_the_scale_are_right() {
    let _no_grad = tch::no_grad_guard();
    let (width, probability, num_keys) = (768, 0.1, 2_000);
    let keys: Vec<i64> = (0..num_keys).collect();
    let dropout = KeyedDropout { keys: &Tensor::from_slice(&keys), site: POOLED_SITE, probability };
    let factors = dropout_factors(dropout, (num_keys, width), Kind::Double).unwrap();
    let dropped = f64::try_from(factors.eq(0.0).to_kind(Kind::Double).mean(Kind::Double)).unwrap();
    // The standard deviation of the mean of 1,536,000 such coins is √(0.09/1,536,000) = 0.00024.
    assert!((dropped - probability).abs() < 0.001, "{dropped}");
    assert!((f64::try_from(factors.max()).unwrap() - 1.0 / 0.9).abs() < 2e-5);
    // Over the keys alone, for every feature: 0.0067, and the largest of 768 within five of that.
    let worst =
        f64::try_from((factors.eq(0.0).to_kind(Kind::Double).mean_dim(0, false, None) - probability).abs().max());
    assert!(worst.as_ref().unwrap() < &0.034, "{worst:?}");

    let (bert, hidden, _) = dropping(probability, num_keys);
    let logits = bert.sequence_logits(&hidden, Mode::Train, Some(&Tensor::from_slice(&keys))).unwrap();
    let exact = bert.sequence_logits(&hidden, Mode::Eval, None).unwrap().get(0);
    let error = (logits.mean_dim(0, false, None) - &exact).abs();
    let allowed = logits.std_dim(0, true, false) * (5.0 / (num_keys as f64).sqrt());
    assert!(bool::try_from(error.le_tensor(&allowed).all()).unwrap(), "{error:?} {allowed:?}");
}

#[test]
fn without_dropout_no_keys_are_needed() {
    let keys = Tensor::from_slice(&[1_i64, 2]);
    let (bert, hidden, _) = dropping(0.1, 2);
    let error = bert.sequence_logits(&hidden, Mode::Train, None).unwrap_err();
    assert!(error.to_string().contains("needs the keys of the sequences"), "{error}");
    let plain = bert.sequence_logits(&hidden, Mode::Eval, None).unwrap();
    assert_eq!(plain, bert.sequence_logits(&hidden, Mode::Eval, Some(&keys)).unwrap());
    assert_ne!(plain, bert.sequence_logits(&hidden, Mode::Train, Some(&keys)).unwrap());
    let error = bert.sequence_logits(&hidden, Mode::Train, Some(&keys.narrow(0, 0, 1))).unwrap_err();
    assert!(error.to_string().contains("dropout keys: expected Int64 [2]"), "{error}");
    let (bert, hidden, _) = dropping(0.0, 2);
    assert_eq!(plain, bert.sequence_logits(&hidden, Mode::Train, None).unwrap());
}
