//! Training against expectations from outside: two steps of `masked_lm` and `train_step` against transformers and
//! torch.optim.AdamW (fp64 numbers of tests/fixtures/hub/make_fixtures.py), gradients of tied layers against those of
//! separate copies, and the samples of a small stream against windows written down by hand.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use untie::batch::samples::Vocabulary;
use untie::batch::{Batch, DataConfig, Loader, Samples, Share};
use untie::hub::{self, HubModel};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use untie::step::{train_step, Update};
use untie_data::shard::{ShardWriter, Split, TokenType};

use crate::fixtures::{distance, fixture, read, NORMS};

fn start(norm: &str, kind: Kind) -> HubModel {
    hub::load(&fixture(norm), kind, Device::Cpu).unwrap()
}

/// `start`'s weights under another sharing: each group has those of its lowest layer.
fn shared(start: &HubModel, map: &LayerMap, kind: Kind) -> Weights {
    Weights::from_named(&start.config, map, kind, Device::Cpu, |spec| {
        let own = start.weights.get(&spec.name).unwrap();
        Ok(own.in_file(&own.tensor).detach())
    })
    .unwrap()
}

/// The norm of the difference over the norm of what is expected.
fn relative_distance(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let expected = expected.to_kind(Kind::Double);
    f64::try_from((got.to_kind(Kind::Double) - &expected).norm() / expected.norm()).unwrap()
}

/// A batch from token ids and labels [B, T], −100 where there is no target, with `capacity` slots a sequence.
fn by_hand(token_ids: &Tensor, labels: &Tensor, capacity: usize) -> Batch {
    let rows = |tensor: &Tensor| Vec::<Vec<i64>>::try_from(tensor).unwrap();
    let (token_ids, labels) = (rows(token_ids), rows(labels));
    let length = token_ids[0].len();
    let mut batch = Batch { token_ids: token_ids.concat(), sequence_length: length, ..Default::default() };
    for (sequence, row) in labels.iter().enumerate() {
        let targets: Vec<(usize, i64)> = row.iter().copied().enumerate().filter(|&(_, label)| label != -100).collect();
        assert!(targets.len() <= capacity);
        batch.num_targets += targets.len();
        for slot in 0..capacity {
            let target = targets.get(slot);
            batch.positions.push(target.map_or(0, |&(position, _)| (sequence * length + position) as i64));
            batch.labels.push(target.map_or(0, |&(_, label)| label));
            batch.weights.push(f32::from(target.is_some()));
        }
    }
    batch
}

/// Micro-batches of `sizes` sequences.
fn micro_batches(token_ids: &Tensor, labels: &Tensor, sizes: [i64; 2], capacity: usize) -> Vec<Batch> {
    assert_eq!(sizes[0] + sizes[1], token_ids.size()[0]);
    [(0, sizes[0]), (sizes[0], sizes[1])]
        .map(|(first, count)| by_hand(&token_ids.narrow(0, first, count), &labels.narrow(0, first, count), capacity))
        .into()
}

/// One forward and backward of six sequences, the mean over all targets, n separate layers with averaged gradients, and
/// torch's clipping and AdamW, twice: what our two micro-batches with different numbers of targets and unused slots do.
#[test]
fn two_steps_are_those_of_transformers_and_pytorch() {
    let maps = [
        ("tied", LayerMap::tied(3)),
        ("outer", LayerMap::from_groups(3, &[vec![0, 2], vec![1]]).unwrap()),
        ("untied", LayerMap::untied(3)),
    ];
    // The rate that counts is the argument of each step.
    let optim = OptimConfig { lr: 1.0, eps: 1e-6, weight_decay: 0.01, clip_norm: 1.0, ..OptimConfig::default() };
    for norm in NORMS {
        let expected = read(&fixture(&format!("{norm}-training.safetensors")));
        for (sharing, map) in &maps {
            for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-6)] {
                let case = format!("{norm} {sharing} {kind:?}");
                let start = start(norm, kind);
                assert_eq!((start.config.hidden_dropout_prob, start.config.attention_probs_dropout_prob), (0.0, 0.0));
                let weights = shared(&start, map, kind);
                let model = Bert::new(&start.config, map, &weights, kind).unwrap();
                let mut moments = Moments::zeros(&weights).unwrap();
                let mut optimizer =
                    Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
                let (mut loss_error, mut norm_error) = (0.0_f64, 0.0_f64);
                for (step, (learning_rate, sizes, targets)) in
                    [(1e-4, [4, 2], [10, 3]), (5e-5, [2, 4], [5, 11])].into_iter().enumerate()
                {
                    let of_step = |name: &str| expected[name].get(step as i64);
                    let batches = micro_batches(&of_step("token_ids"), &of_step("labels"), sizes, 6);
                    assert_eq!([batches[0].num_targets, batches[1].num_targets], targets);
                    let (num_targets, mut num_correct) = (targets[0] + targets[1], 0.0);
                    let update = Update { optim: &optim, learning_rate, sync: None };
                    let pending = train_step(&mut optimizer, &weights, &mut moments, update, 2, |index| {
                        let batch = batches[index].to_device(Device::Cpu)?;
                        let found = masked_lm(&model, &batch, num_targets, Mode::Train)?;
                        num_correct += f64::try_from(&found.num_correct)?;
                        Ok(found.loss)
                    })
                    .unwrap();
                    let report = pending.read().unwrap();
                    let number = |name: &str| of_step(&format!("{sharing}/{name}")).double_value(&[]);
                    assert!(report.applied, "{case}");
                    assert_eq!(num_correct, number("corrects"), "{case}: right guesses of step {step}");
                    assert!(report.loss.is_finite() && report.grad_norm.is_finite(), "{case}");
                    loss_error = loss_error.max((report.loss - number("losses")).abs());
                    norm_error = norm_error.max((report.grad_norm / number("norms") - 1.0).abs());
                    assert!(loss_error <= tolerance, "{case}: the loss of step {step} is {loss_error:e} off");
                    assert!(norm_error <= tolerance, "{case}: the norm of step {step} is {norm_error:e} off");
                }
                let prefix = format!("{sharing}/");
                let parameters = expected.keys().filter(|name| name.starts_with(&prefix)).count() - 3;
                assert_eq!(weights.entries().len(), parameters, "{case}");
                let (worst, name) = weights
                    .entries()
                    .iter()
                    .map(|weight| {
                        let name = &weight.spec.name;
                        (distance(&weight.in_file(&weight.tensor), &expected[&format!("{prefix}{name}")]), name)
                    })
                    .max_by(|one, two| one.0.total_cmp(&two.0))
                    .unwrap();
                println!(
                    "{case}: loss {loss_error:e}, norm {norm_error:e} (relative), parameters {worst:e} (`{name}`)"
                );
                assert!(worst <= tolerance, "{case}: `{name}` is {worst:e} off");
            }
        }
    }
}

/// What an unused slot points at changes nothing: neither the loss nor the number of right guesses.
#[test]
fn unused_slots_count_for_nothing() {
    let start = start("post", Kind::Double);
    let model = Bert::new(&start.config, &start.layer_map(), &start.weights, Kind::Double).unwrap();
    let expected = read(&fixture("post-training.safetensors"));
    let mut batch = by_hand(&expected["token_ids"].get(0), &expected["labels"].get(0), 6);
    let numbers = |batch: &Batch| {
        let found = masked_lm(&model, &batch.to_device(Device::Cpu).unwrap(), batch.num_targets, Mode::Eval).unwrap();
        [found.loss, found.num_correct].map(|number| number.double_value(&[]))
    };
    let before = numbers(&batch);
    // Both are the fixture's: a right guess among the targets.
    assert_eq!(before[1], expected["untied/corrects"].double_value(&[0]));
    let right = (0..batch.labels.len()).find(|&slot| {
        let mut one = batch.clone();
        one.weights.iter_mut().enumerate().for_each(|(at, weight)| *weight = f32::from(at == slot));
        batch.weights[slot] > 0.0 && numbers(&one)[1] == 1.0
    });
    let right = right.unwrap();
    for slot in 0..batch.labels.len() {
        if batch.weights[slot] == 0.0 {
            (batch.positions[slot], batch.labels[slot]) = (batch.positions[right], batch.labels[right]);
        }
    }
    assert_eq!(numbers(&batch), before);
}

/// Each layer's gradient may be a bf16 product; their sum over the tied layers and two micro-batches is in fp32
/// (docs/architecture.md, "Numerics"): the tied leaf has the fp32 sum of what separate copies get. Added up in bf16 instead (as
/// autograd would, were the weights converted once for all layers), the same gradients are further off than the bound, so this
/// test can fail.
#[test]
fn gradients_of_tied_layers_add_up_in_fp32() {
    const LAYERS: usize = 12;
    const BOUND: f64 = 1e-5;
    for norm in NORMS {
        let config = BertConfig { num_hidden_layers: LAYERS, ..start(norm, Kind::Float).config };
        let batches = read(&fixture(&format!("{norm}-training.safetensors")));
        let (token_ids, labels) = (batches["token_ids"].get(0), batches["labels"].get(0));
        let batches = micro_batches(&token_ids, &labels, [4, 2], 5);
        let maps = [LayerMap::tied(LAYERS), LayerMap::untied(LAYERS)];
        let source = Weights::initialise(&config, &maps[0], 3, Kind::Float, Device::Cpu).unwrap();
        let [tied, copies] = maps.map(|map| {
            let weights = Weights::from_named(&config, &map, Kind::Float, Device::Cpu, |spec| {
                let name = match spec.name.strip_prefix("bert.encoder.layer.") {
                    Some(rest) => format!("bert.encoder.layer.0.{}", rest.split_once('.').unwrap().1),
                    None => spec.name.clone(),
                };
                let own = source.get(&name).unwrap();
                Ok(own.in_file(&own.tensor).detach())
            })
            .unwrap();
            let model = Bert::new(&config, &map, &weights, Kind::BFloat16).unwrap();
            for batch in &batches {
                masked_lm(&model, &batch.to_device(Device::Cpu).unwrap(), 13, Mode::Train).unwrap().loss.backward();
            }
            weights
        });
        let (mut worst, mut least_in_bf16, mut num_shared) = (0.0_f64, f64::INFINITY, 0);
        for weight in tied.entries() {
            let name = &weight.spec.name;
            let got = weight.tensor.grad();
            assert_eq!(got.kind(), Kind::Float);
            if weight.spec.group.is_none() {
                let error = relative_distance(&got, &copies.tensor(name).unwrap().grad());
                assert!(error <= BOUND, "{norm}: `{name}` is {error:e} off");
                continue;
            }
            num_shared += 1;
            let of_layer = |layer: usize| {
                let name = name.replace(".layer.0.", &format!(".layer.{layer}."));
                copies.tensor(&name).unwrap().grad()
            };
            let added = |kind: Kind| {
                let gradients = (1..LAYERS).map(|layer| of_layer(layer).to_kind(kind));
                gradients.fold(of_layer(0).to_kind(kind), |sum, gradient| sum + gradient)
            };
            let (sum, in_bf16) = (added(Kind::Float), added(Kind::BFloat16));
            let (error, error_in_bf16) = (relative_distance(&got, &sum), relative_distance(&in_bf16, &sum));
            assert!(error <= BOUND, "{norm}: `{name}` is {error:e} off");
            assert!(error_in_bf16 > 10.0 * BOUND, "{norm}: `{name}` added in bf16 is only {error_in_bf16:e} off");
            (worst, least_in_bf16) = (worst.max(error), least_in_bf16.min(error_in_bf16));
        }
        assert_eq!(num_shared, 12);
        println!("{norm}: tied gradients {worst:e} off (relative); added in bf16 {least_in_bf16:e} or more");
    }
}

const CLS: u32 = 7;
const SEP: u32 = 9;
const MASK: u32 = 11;
/// Tokens of a sample; a window of the stream has two fewer.
const LENGTH: usize = 8;
const RATE: f64 = 0.45;

/// Each shard's documents, each document's sequences. The tokens ascend, so that every window is unlike the others.
const SHARDS: [&[&[&[u32]]]; 2] = [
    &[&[&[20, 21, 22, 23, 24]], &[&[25]], &[&[26, 27, 28], &[29, 30, 31, 32]]],
    &[
        &[&[33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43]],
        &[],
        &[&[44, 45, 46, 47, 48, 49, 50, 51, 52, 53]],
        &[&[54, 55, 56]],
    ],
];

/// The stream of [`SHARDS`] cut by hand; the rest, 56 and its `[SEP]`, is too short for a window.
const WINDOWS: [[u32; LENGTH - 2]; 7] = [
    [20, 21, 22, 23, 24, SEP],
    [25, SEP, 26, 27, 28, 29],
    [30, 31, 32, SEP, 33, 34],
    [35, 36, 37, 38, 39, 40],
    [41, 42, 43, SEP, SEP, 44],
    [45, 46, 47, 48, 49, 50],
    [51, 52, 53, SEP, 54, 55],
];

/// round(0.45·n) of n = 5, 5, 5, 6, 4, 6, 5 tokens that are not special: of 2.25, 2.7 and 1.8.
const TARGETS: [usize; 7] = [2, 2, 2, 3, 2, 3, 2];
/// The most of them.
const CAPACITY: usize = 3;

fn write_shard(prefix: &Path, documents: &[&[&[u32]]]) {
    let mut writer = ShardWriter::create(prefix, TokenType::U16).unwrap();
    for document in documents {
        writer.push_document(document).unwrap();
    }
    writer.finish().unwrap();
}

/// The training split of [`SHARDS`], beside a held-out shard of other tokens.
fn samples(folder: &TempDir) -> Samples {
    let path = |name: &str| folder.path().join(name);
    write_shard(&path("train-00000"), SHARDS[0]);
    write_shard(&path("train-00001"), SHARDS[1]);
    write_shard(&path("valid-00000"), &[&[&[60; 40]]]);
    // Special tokens where no vocabulary of BERT has them.
    let token = |id: u32| match id {
        3 => "[PAD]".into(),
        5 => "[UNK]".into(),
        CLS => "[CLS]".into(),
        SEP => "[SEP]".into(),
        MASK => "[MASK]".into(),
        _ => format!("w{id}"),
    };
    let vocab: String = (0..64).map(|id| token(id) + "\n").collect();
    fs::write(path("vocab.txt"), vocab).unwrap();
    let config = DataConfig {
        dir: folder.path().into(),
        tokenizer: Some(path("vocab.txt")),
        sequence_length: LENGTH,
        mask_rate: RATE,
        ..DataConfig::default()
    };
    let vocabulary = Vocabulary::open(&config).unwrap();
    assert_eq!((vocabulary.size, vocabulary.special.mask), (64, MASK));
    Samples::open(&config, &vocabulary, Split::Train, 5).unwrap()
}

/// Checks every buffer of `batch` against the rules, and returns the window and the targets' places of each sequence.
fn check(batch: &Batch) -> Vec<(usize, Vec<i64>)> {
    let count = batch.num_sequences();
    assert_eq!(batch.sequence_length, LENGTH);
    assert_eq!(batch.token_ids.len(), count * LENGTH);
    for buffer in [batch.positions.len(), batch.labels.len(), batch.weights.len()] {
        assert_eq!(buffer, count * CAPACITY);
    }
    assert!(batch.token_ids.iter().all(|id| (0..64).contains(id)));
    // Unmasked by the flattened indices, each row is [CLS], a window, [SEP].
    let mut unmasked = batch.token_ids.clone();
    let used: Vec<usize> = (0..count * CAPACITY).filter(|&slot| batch.weights[slot] != 0.0).collect();
    for &slot in &used {
        unmasked[batch.positions[slot] as usize] = batch.labels[slot];
    }
    assert_eq!(used.len(), batch.num_targets);
    let mut found = Vec::new();
    for (index, row) in unmasked.chunks(LENGTH).enumerate() {
        let window = WINDOWS.iter().position(|window| {
            let framed = [&[CLS][..], window, &[SEP]].concat();
            row.iter().copied().eq(framed.into_iter().map(i64::from))
        });
        let window = window.unwrap_or_else(|| panic!("{row:?} is no window"));
        let slots = index * CAPACITY..(index + 1) * CAPACITY;
        let (positions, labels) = (&batch.positions[slots.clone()], &batch.labels[slots.clone()]);
        let count = TARGETS[window];
        assert_eq!(batch.weights[slots], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0][CAPACITY - count..][..CAPACITY]);
        assert!(positions[..count].windows(2).all(|pair| pair[0] < pair[1]), "{positions:?}");
        let places: Vec<i64> = positions[..count].iter().map(|position| position - (index * LENGTH) as i64).collect();
        for (&place, &label) in places.iter().zip(labels) {
            assert!((1..LENGTH as i64 - 1).contains(&place), "{place}");
            assert_ne!(label, i64::from(SEP));
            assert_eq!(label, i64::from(WINDOWS[window][place as usize - 1]));
        }
        assert!(positions[count..].iter().chain(&labels[count..]).all(|&unused| unused == 0));
        found.push((window, places));
    }
    found
}

#[test]
fn samples_are_the_windows_of_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let samples = samples(&folder);
    assert_eq!((samples.num_samples(), samples.num_tokens(), samples.capacity()), (7, 37, CAPACITY));
    let (mut orders, mut masks, mut num_masked) = (Vec::new(), Vec::new(), 0);
    for epoch in 0..3 {
        let batch = samples.batch(7 * epoch, 7).unwrap();
        assert_eq!(batch.num_targets, TARGETS.iter().sum::<usize>());
        num_masked += batch.token_ids.iter().filter(|&&id| id == i64::from(MASK)).count();
        let mut found = check(&batch);
        orders.push(found.iter().map(|&(window, _)| window).collect::<Vec<_>>());
        found.sort();
        assert!(found.iter().map(|&(window, _)| window).eq(0..7), "epoch {epoch}: {:?}", orders.last());
        masks.push(found);
    }
    for (one, two) in [(0, 1), (0, 2), (1, 2)] {
        assert_ne!(orders[one], orders[two]);
        assert_ne!(masks[one], masks[two]);
    }
    // 80 % of 48 in expectation; none would mean that nothing is masked.
    assert!((30..=46).contains(&num_masked), "{num_masked}");
}

#[test]
fn a_batch_is_the_same_in_any_micro_batches() {
    let folder = tempfile::tempdir().unwrap();
    let samples = Arc::new(samples(&folder));
    let joined = |parts: &[Batch]| {
        let mut whole = parts[0].clone();
        for part in &parts[1..] {
            let before = whole.token_ids.len() as i64;
            whole.token_ids.extend(&part.token_ids);
            let moved = part.positions.iter().zip(&part.weights).map(|(at, &weight)| at + before * weight as i64);
            whole.positions.extend(moved);
            whole.labels.extend(&part.labels);
            whole.weights.extend(&part.weights);
            whole.num_targets += part.num_targets;
            whole.dropout_keys.extend(&part.dropout_keys);
        }
        whole
    };
    // Over the end of two epochs.
    for position in 0..20 {
        let whole = samples.batch(position, 4).unwrap();
        check(&whole);
        for size in [1, 2] {
            let parts: Vec<Batch> =
                (0..4 / size).map(|part| samples.batch(position + part * size, size as usize).unwrap()).collect();
            assert_eq!(joined(&parts), whole, "{position} in micro-batches of {size}");
        }
        let loader = Loader::start(samples.clone(), position, Share::whole(2), 1).unwrap();
        assert_eq!(joined(&[loader.next_batch().unwrap(), loader.next_batch().unwrap()]), whole);
    }
}
