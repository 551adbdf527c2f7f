//! Pairs of segments: what A and B are, how often which, and that every chunk comes once an epoch.
//!
//! Every token of the made-up corpus is another one, so that a sample tells where its tokens come from.

use std::collections::BTreeMap;

use crate::batch_common::{
    config, unmasked, vocabulary, write_shard, write_vocabulary, Documents, Rng, CLS, FIRST_WORD, PAD, SEP,
};
use tempfile::TempDir;
use untie::batch::{Batch, DataConfig, Objective, Samples};
use untie_data::pair_index::{Chunk, ChunkPlan, PairIndex};
use untie_data::shard::{ShardSet, Split};

const LENGTH: usize = 48;
const NUM_DOCUMENTS: usize = 300;

/// Documents of 1 to 12 sentences of 1 to 14 tokens, numbered through.
fn corpus() -> Documents {
    let mut rng = Rng(3);
    let mut next = FIRST_WORD;
    let mut documents = Vec::new();
    for _ in 0..NUM_DOCUMENTS {
        let sentences = (0..1 + rng.below(12)).map(|_| {
            let length = 1 + rng.below(14) as u32;
            next += length;
            (next - length..next).collect()
        });
        documents.push(sentences.collect());
    }
    documents
}

/// The documents on disk, the samples made of them, and the chunks that these should be of.
struct PairCorpus {
    _dir: TempDir,
    documents: Documents,
    samples: Samples,
    chunks: Vec<Chunk>,
}

impl PairCorpus {
    fn new(objective: Objective, short_sequence_rate: f64) -> PairCorpus {
        let dir = tempfile::tempdir().unwrap();
        write_vocabulary(dir.path());
        let documents = corpus();
        write_shard(&dir.path().join("train-00000"), &documents[..100]);
        write_shard(&dir.path().join("train-00001"), &documents[100..]);
        let config = DataConfig { objective, short_sequence_rate, ..config(dir.path(), LENGTH) };
        config.validate().unwrap();
        let samples = Samples::open(&config, &vocabulary(&config), Split::Train, 5).unwrap();
        let set = ShardSet::open(dir.path(), Split::Train).unwrap();
        let plan = ChunkPlan { max_tokens: LENGTH as u32 - 3, short_rate: short_sequence_rate };
        let index = PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap();
        let chunks = (0..index.len()).map(|number| index.chunk(number)).collect();
        PairCorpus { _dir: dir, documents, samples, chunks }
    }

    /// Document and sentence of a token.
    fn origin(&self, token: u32) -> (usize, usize) {
        let document = self.documents.partition_point(|document| document[0][0] <= token) - 1;
        (document, self.documents[document].partition_point(|sentence| sentence[0] <= token) - 1)
    }

    /// The chunk of a token.
    fn chunk(&self, token: u32) -> usize {
        let (document, sentence) = self.origin(token);
        let holds = |chunk: &Chunk| {
            let first = chunk.first_sentence as usize;
            chunk.document == document as u64 && (first..first + chunk.num_sentences as usize).contains(&sentence)
        };
        self.chunks.iter().position(holds).unwrap()
    }
}

/// The segments of one sequence, after checking what surrounds them.
fn segments<'a>(batch: &Batch, sample: usize, ids: &'a [u32]) -> (&'a [u32], &'a [u32]) {
    let row = |values: &Option<Vec<i64>>| values.as_ref().unwrap()[sample * LENGTH..(sample + 1) * LENGTH].to_vec();
    let (types, mask) = (row(&batch.token_types), row(&batch.attention_mask));
    let length = mask.iter().filter(|&&mask| mask == 1).count();
    let ends: Vec<usize> = (0..LENGTH).filter(|&at| ids[at] == SEP).collect();
    assert_eq!((ids[0], ends.len(), ends[1]), (CLS, 2, length - 1));
    assert!(ids[length..].iter().all(|&id| id == PAD));
    assert_eq!(mask, (0..LENGTH).map(|at| i64::from(at < length)).collect::<Vec<_>>());
    assert_eq!(types, (0..LENGTH).map(|at| i64::from(at > ends[0] && at < length)).collect::<Vec<_>>());
    assert_eq!((batch.position_ids.is_none(), batch.documents.is_none()), (true, true));
    (&ids[1..ends[0]], &ids[ends[0] + 1..length - 1])
}

/// Tokens that follow one another in the corpus: within one document, without a gap.
fn is_run(corpus: &PairCorpus, tokens: &[u32]) -> bool {
    let same = corpus.origin(tokens[0]).0 == corpus.origin(tokens[tokens.len() - 1]).0;
    same && tokens.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

fn epochs(corpus: &PairCorpus, count: u64, mut see: impl FnMut(&Batch, usize, &[u32], &[u32])) {
    let n = corpus.samples.num_samples();
    assert_eq!(n, corpus.chunks.len() as u64);
    for epoch in 0..count {
        let batch = corpus.samples.batch(epoch * n, n as usize).unwrap();
        for (sample, ids) in unmasked(&batch).iter().enumerate() {
            let (one, two) = segments(&batch, sample, ids);
            assert!(!one.is_empty() && !two.is_empty() && is_run(corpus, one) && is_run(corpus, two));
            see(&batch, sample, one, two);
        }
    }
}

/// Five standard deviations of a fair coin.
fn assert_half(count: u64, of: u64) {
    assert!((count as f64 - of as f64 / 2.0).abs() < 5.0 * (of as f64 / 4.0).sqrt(), "{count} of {of}");
}

#[test]
fn next_sentences_follow_or_are_of_another_document() {
    let corpus = PairCorpus::new(Objective::MlmNsp, 0.1);
    let (mut random, mut all, mut starts) = (0, 0, BTreeMap::<usize, u32>::new());
    let mut seen = vec![0; corpus.chunks.len()];
    epochs(&corpus, 30, |batch, sample, one, two| {
        let label = batch.pair_labels.as_ref().unwrap()[sample];
        let chunk = corpus.chunk(one[0]);
        assert_eq!(corpus.chunk(one[one.len() - 1]), chunk);
        seen[chunk] += 1;
        if label == 0 {
            assert_eq!(corpus.chunk(two[0]), chunk);
            // What was cut from the end of A or the front of B is all that may lie between.
            assert!(two[0] > one[one.len() - 1]);
        } else {
            assert_ne!(corpus.origin(two[0]).0, corpus.origin(one[0]).0);
            *starts.entry(corpus.origin(two[0]).0).or_default() += 1;
        }
        random += label as u64;
        all += 1;
    });
    assert!(seen.iter().all(|&count| count == 30), "a chunk is missing or comes twice in an epoch");
    assert_half(random, all);
    // Every document can be the other one, also those of one sentence, and each about as often.
    assert_eq!(starts.len(), NUM_DOCUMENTS);
    let mean = random as f64 / NUM_DOCUMENTS as f64;
    assert!(starts.values().all(|&count| (f64::from(count) - mean).abs() < 6.0 * mean.sqrt()), "{starts:?}");
}

#[test]
fn segments_of_sentence_order_are_swapped_half_the_time() {
    let corpus = PairCorpus::new(Objective::MlmSop, 0.1);
    let (mut swapped, mut all) = (0, 0);
    let mut seen = vec![0; corpus.chunks.len()];
    epochs(&corpus, 20, |batch, sample, one, two| {
        let label = batch.pair_labels.as_ref().unwrap()[sample];
        let chunk = corpus.chunk(one[0]);
        assert_eq!(corpus.chunk(two[0]), chunk);
        seen[chunk] += 1;
        assert_eq!(one[0] > two[0], label == 1);
        swapped += label as u64;
        all += 1;
    });
    assert!(seen.iter().all(|&count| count == 20));
    assert_half(swapped, all);
}

/// In a chunk that fits, A and B are all of it; every sentence but the last may end A, each as often.
#[test]
fn the_place_of_the_cut_is_uniform() {
    let corpus = PairCorpus::new(Objective::MlmSop, 0.0);
    let of_five = |chunk: &Chunk| chunk.num_sentences == 5;
    let (mut cuts, mut all) = ([0_u32; 4], 0);
    epochs(&corpus, 40, |_, _, one, two| {
        let chunk = &corpus.chunks[corpus.chunk(one[0])];
        let document = &corpus.documents[chunk.document as usize];
        let first = chunk.first_sentence as usize;
        let sentences = &document[first..first + chunk.num_sentences as usize];
        let size: usize = sentences.iter().map(Vec::len).sum();
        assert_eq!(one.len() + two.len(), size.min(LENGTH - 3));
        if of_five(chunk) && size <= LENGTH - 3 {
            let second = one[0].max(two[0]);
            cuts[sentences.iter().position(|sentence| sentence[0] == second).unwrap() - 1] += 1;
            all += 1;
        }
    });
    assert!(all > 400, "{all}");
    let mean = f64::from(all) / 4.0;
    assert!(cuts.iter().all(|&count| (f64::from(count) - mean).abs() < 5.0 * mean.sqrt()), "{cuts:?}");
}

#[test]
fn one_document_cannot_be_another() {
    let dir = tempfile::tempdir().unwrap();
    write_vocabulary(dir.path());
    write_shard(&dir.path().join("train-00000"), &corpus()[1..2]);
    for (objective, words) in [(Objective::MlmNsp, "needs at least two documents"), (Objective::MlmSop, "")] {
        let config = DataConfig { objective, ..config(dir.path(), LENGTH) };
        match Samples::open(&config, &vocabulary(&config), Split::Train, 5) {
            Ok(_) => assert_eq!(words, ""),
            Err(error) => assert!(error.report().contains(words) && !words.is_empty(), "{}", error.report()),
        }
    }
    write_shard(&dir.path().join("train-00000"), &[vec![vec![7; 90]], vec![vec![8; 90]]]);
    let config = DataConfig { objective: Objective::MlmSop, ..config(dir.path(), LENGTH) };
    let report = Samples::open(&config, &vocabulary(&config), Split::Train, 5).unwrap_err().report();
    assert!(report.contains("the train split has none") && report.contains("`--sentences`"), "{report}");
}
