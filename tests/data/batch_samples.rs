//! Isolated documents, several corpora, ranks and threads: every sample once an epoch, the same on all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::batch_common::{
    config, unmasked, vocabulary, write_shard, write_vocabulary, Documents, Rng, CLS, FIRST_WORD, SEP,
};
use untie::batch::samples::shards_hash;
use untie::batch::{Batch, CorpusConfig, DataConfig, Loader, Objective, Packing, Samples, Share};
use untie_data::shard::Split;

const LENGTH: usize = 16;

/// Documents of 0 to 30 tokens in a sentence each or two, numbered through from `next`.
fn numbered(count: usize, seed: u64, mut next: u32) -> Documents {
    let mut rng = Rng(seed);
    let mut document = |_| {
        let sentences = (0..1 + rng.below(2)).map(|_| {
            let length = rng.below(16) as u32;
            next += length;
            (next - length..next).collect()
        });
        sentences.collect()
    };
    (0..count).map(&mut document).collect()
}

fn open(config: &DataConfig, seed: u64) -> Samples {
    config.validate().unwrap();
    Samples::open(config, &vocabulary(config), Split::Train, seed).unwrap()
}

fn tokens(documents: &Documents) -> Vec<u32> {
    documents.iter().flatten().flatten().copied().collect()
}

#[test]
fn isolated_documents_have_places_and_numbers_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    write_vocabulary(dir.path());
    let documents = numbered(200, 1, FIRST_WORD);
    write_shard(&dir.path().join("train-00000"), &documents[..90]);
    write_shard(&dir.path().join("train-00001"), &documents[90..]);
    let samples = open(&DataConfig { packing: Packing::Isolated, ..config(dir.path(), LENGTH) }, 3);
    // The stream by hand: [SEP] [CLS] behind each document, in windows between [CLS] and [SEP].
    let stream: Vec<u32> = documents.iter().flat_map(|document| [document.concat(), vec![SEP, CLS]].concat()).collect();
    let windows: BTreeSet<Vec<u32>> =
        stream.chunks_exact(LENGTH - 2).map(|window| [&[CLS], window, &[SEP]].concat()).collect();
    let n = samples.num_samples() as usize;
    assert_eq!((n, windows.len()), (stream.len() / (LENGTH - 2), n));
    let batch = samples.batch(0, n).unwrap();
    let rows = unmasked(&batch);
    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), windows);
    let of =
        |values: &Option<Vec<i64>>, row: usize| values.as_ref().unwrap()[row * LENGTH..(row + 1) * LENGTH].to_vec();
    for (row, ids) in rows.iter().enumerate() {
        let (mut document, mut place) = (-1, 0);
        for (at, &id) in ids.iter().enumerate() {
            (document, place) = if id == CLS { (document + 1, 0) } else { (document, place + 1) };
            assert_eq!((of(&batch.documents, row)[at], of(&batch.position_ids, row)[at]), (document, place), "{ids:?}");
        }
    }
    // Every token of the corpus that is in a whole window exactly once.
    let mut found: Vec<u32> = rows.concat().into_iter().filter(|&id| id >= FIRST_WORD).collect();
    found.sort_unstable();
    let expected: Vec<u32> = stream[..n * (LENGTH - 2)].iter().copied().filter(|&id| id >= FIRST_WORD).collect();
    assert_eq!(found, expected);
    assert!(batch.attention_mask.is_none() && batch.token_types.is_none());
}

/// Two corpora of numbered tokens in folders of their own, weighed 3 to 1.
fn mixed(dir: &Path) -> (DataConfig, [BTreeSet<u32>; 2]) {
    let corpora = [numbered(150, 1, FIRST_WORD), numbered(60, 2, 15_000)];
    let folders: Vec<CorpusConfig> = corpora
        .iter()
        .zip([3.0, 1.0])
        .enumerate()
        .map(|(number, (documents, weight))| {
            let dir = dir.join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            write_vocabulary(&dir);
            write_shard(&dir.join("train-00000"), documents);
            CorpusConfig { dir, weight }
        })
        .collect();
    let tokenizer = Some(folders[0].dir.join("vocab.txt"));
    let config = DataConfig { corpus: folders, tokenizer, sequence_length: LENGTH, ..Default::default() };
    (config, corpora.map(|documents| tokens(&documents).into_iter().collect()))
}

#[test]
fn corpora_are_mixed_by_weight_and_each_has_its_own_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let (config, known) = mixed(dir.path());
    let samples = open(&config, 9);
    let rows = unmasked(&samples.batch(0, 4096).unwrap());
    let of_corpus = |row: &[u32]| known.iter().position(|tokens| row.iter().any(|id| tokens.contains(id)));
    // Windows without a token of either (of separators alone) tell nothing; there are hardly any.
    let owners: Vec<usize> = rows.iter().filter_map(|row| of_corpus(row)).collect();
    assert!(owners.len() > 4000);
    let share = owners.iter().filter(|&&owner| owner == 1).count() as f64 / owners.len() as f64;
    assert!((share - 0.25).abs() < 0.01, "{share}");
    // Any four neighbours have one of the smaller weight.
    assert!(owners.windows(6).all(|window| window.contains(&1)));
    // Each corpus by itself, in its own order: the first n of its samples are all of them.
    for (number, tokens) in known.iter().enumerate() {
        let alone = DataConfig { dir: config.corpus[number].dir.clone(), corpus: Vec::new(), ..config.clone() };
        let n = open(&alone, 9).num_samples() as usize;
        let own: Vec<&Vec<u32>> = rows.iter().filter(|row| of_corpus(row) == Some(number)).collect();
        assert!(own.len() > 2 * n, "{} of {n}", own.len());
        for epoch in own.chunks_exact(n).take(2) {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), n);
        }
        assert!(own[..n] != own[n..2 * n]);
        let words: BTreeSet<u32> =
            own[..n].iter().flat_map(|row| row.iter().copied()).filter(|id| tokens.contains(id)).collect();
        assert!(words.len() + LENGTH > tokens.len(), "{} of {}", words.len(), tokens.len());
    }
    let spread = samples.spread(0, 400, 400).unwrap();
    let owners: Vec<usize> = unmasked(&spread).iter().filter_map(|row| of_corpus(row)).collect();
    let share = owners.iter().filter(|&&owner| owner == 1).count() as f64 / owners.len() as f64;
    assert!((share - 0.25).abs() < 0.02, "{share}");
}

#[test]
fn corpora_of_different_vocabularies_are_refused_and_all_count_for_the_hash() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = mixed(dir.path());
    let hash = shards_hash(&config).unwrap();
    let one = DataConfig { corpus: config.corpus[..1].to_vec(), ..config.clone() };
    assert_ne!(shards_hash(&one).unwrap(), hash);
    // Prepared folders know their vocabulary by its hash.
    let texts = ["the fox ran over the hill", "a red hen sat in the barn"];
    for (number, text) in texts.iter().enumerate() {
        let path = dir.path().join(format!("{number}.txt"));
        std::fs::write(&path, format!("{text}\n\n{text} again\n\n").repeat(40)).unwrap();
        let mut prepare = untie_data::pipeline::PrepareConfig::new(vec![path], dir.path().join(format!("p{number}")));
        (prepare.vocab_size, prepare.format) = (60, untie_data::corpus::Format::Blocks);
        untie_data::pipeline::prepare(&prepare, Arc::new(())).unwrap();
    }
    let corpus = |number: usize| CorpusConfig { dir: dir.path().join(format!("p{number}")), weight: 1.0 };
    let config = DataConfig { corpus: vec![corpus(0), corpus(1)], sequence_length: LENGTH, ..Default::default() };
    let report = untie::batch::samples::Vocabulary::open(&config).unwrap_err().report();
    assert!(report.contains("p1") && report.contains("hash"), "{report}");
}

/// What each of `ranks` ranks gets, put together again: rank r takes the r-th part of every global batch.
fn by_ranks(
    samples: &Arc<Samples>,
    ranks: usize,
    threads: usize,
    position: u64,
    steps: usize,
    global: usize,
) -> Vec<Batch> {
    let part = global / ranks;
    let mut steps: Vec<Vec<Batch>> = (0..steps).map(|_| Vec::new()).collect();
    for rank in 0..ranks {
        for (step, batches) in steps.iter_mut().enumerate() {
            let start = position + (step * global + rank * part) as u64;
            let loader = Loader::start(samples.clone(), start, Share::whole(part / 2), threads).unwrap();
            batches.extend((0..2).map(|_| loader.next_batch().unwrap()));
        }
    }
    steps.into_iter().flatten().collect()
}

/// Ids with masks, and the position within the sequence and the label of each target.
type Sequence = (Vec<i64>, Vec<(i64, i64)>);

fn sequences(batches: &[Batch]) -> Vec<Sequence> {
    let mut found = Vec::new();
    for batch in batches {
        let (length, capacity) = (batch.sequence_length, batch.positions.len() / batch.num_sequences());
        for row in 0..batch.num_sequences() {
            let slots = (row * capacity..(row + 1) * capacity).filter(|&slot| batch.weights[slot] > 0.0);
            let targets =
                slots.map(|slot| (batch.positions[slot] - (row * length) as i64, batch.labels[slot])).collect();
            found.push((batch.token_ids[row * length..(row + 1) * length].to_vec(), targets));
        }
    }
    found
}

#[test]
fn order_and_masks_are_the_same_on_any_number_of_ranks_and_threads() {
    let dir = tempfile::tempdir().unwrap();
    write_vocabulary(dir.path());
    let mut rng = Rng(5);
    write_shard(&dir.path().join("train-00000"), &rng.documents(60, 9, 12));
    for objective in [Objective::Mlm, Objective::MlmNsp] {
        let samples = Arc::new(open(&DataConfig { objective, whole_word: true, ..config(dir.path(), LENGTH) }, 8));
        let n = samples.num_samples();
        let global = 8;
        // Three epochs and the borders between them.
        let steps = (3 * n as usize).div_ceil(global);
        let whole: Vec<Batch> = (0..steps).map(|step| samples.batch((step * global) as u64, global).unwrap()).collect();
        let expected = sequences(&whole);
        for (ranks, threads) in [(1, 1), (1, 3), (2, 2), (4, 1), (4, 4)] {
            let got = sequences(&by_ranks(&samples, ranks, threads, 0, steps, global));
            assert!(got == expected, "{objective:?}: {ranks} ranks, {threads} threads");
        }
        // Every sample exactly once in each of the three epochs: the same counts in all, with other masks.
        let mut epochs = (0..3).map(|epoch| {
            let batch = samples.batch(epoch * n, n as usize).unwrap();
            let rows = if objective == Objective::Mlm { unmasked(&batch) } else { Vec::new() };
            let mut counts: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
            rows.into_iter().for_each(|row| *counts.entry(row).or_default() += 1);
            (counts, batch.token_ids)
        });
        let first = epochs.next().unwrap();
        for other in epochs {
            assert!(other.0 == first.0 && other.1 != first.1);
        }
    }
}

/// Phases do not see one another's order or masks, and the first is the run without phases.
#[test]
fn phases_have_orders_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    write_vocabulary(dir.path());
    write_shard(&dir.path().join("train-00000"), &numbered(200, 1, FIRST_WORD));
    let config = config(dir.path(), LENGTH);
    let ids = |phase| open(&config, 8).for_phase(phase).batch(0, 50).unwrap().token_ids;
    assert_eq!(ids(0), open(&config, 8).batch(0, 50).unwrap().token_ids);
    assert!(ids(0) != ids(1) && ids(1) != ids(2));
}

/// Its tokens lose their last ones while they are mapped; a batch that does not touch those is still read, the next epoch is not.
#[test]
fn a_file_that_shrinks_is_told_where_an_epoch_begins() {
    let dir = tempfile::tempdir().unwrap();
    write_vocabulary(dir.path());
    write_shard(&dir.path().join("train-00000"), &numbered(20, 1, FIRST_WORD));
    let samples = open(&config(dir.path(), LENGTH), 3);
    let n = samples.num_samples();
    samples.batch(0, n as usize).unwrap();
    let path = dir.path().join("train-00000.bin");
    let bytes = std::fs::metadata(&path).unwrap().len();
    // Less than a page: what is behind the end is still mapped.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes - 2).unwrap();
    samples.batch(1, n as usize - 1).unwrap();
    for position in [n, n - 1] {
        let message = samples.batch(position, 2).unwrap_err().report();
        let words =
            format!("`{}` has changed since it was opened: expected {bytes} bytes, got {}", path.display(), bytes - 2);
        assert!(message.contains(&words), "{message}");
    }
}
