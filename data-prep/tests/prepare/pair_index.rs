//! The chunks of segment pairs: those of megatron-core, every sentence once, cached and made anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use untie_data::pair_index::{Chunk, ChunkPlan, PairIndex, INDEX_DIR};
use untie_data::shard::{ShardSet, ShardWriter, Split, TokenType};

/// Documents as the lengths of their sentences, in `cuts` shards.
fn write(dir: &Path, documents: &[Vec<usize>], cuts: usize) -> ShardSet {
    let tokens = vec![7; documents.iter().flatten().copied().max().unwrap_or(0)];
    for (number, part) in documents.chunks(documents.len().div_ceil(cuts)).enumerate() {
        let mut writer = ShardWriter::create(&dir.join(format!("train-{number:05}")), TokenType::U16).unwrap();
        for document in part {
            let sentences: Vec<&[u32]> = document.iter().map(|&length| &tokens[..length]).collect();
            writer.push_document(&sentences).unwrap();
        }
        writer.finish().unwrap();
    }
    ShardSet::open(dir, Split::Train).unwrap()
}

fn chunks(index: &PairIndex) -> Vec<Chunk> {
    (0..index.len()).map(|number| index.chunk(number)).collect()
}

#[derive(serde::Deserialize)]
struct Fixture {
    documents: Vec<Vec<usize>>,
    chunks: HashMap<u32, Vec<[u64; 3]>>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pairs.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Written by `fixtures/make_pairs.py`.
#[test]
fn chunks_are_those_of_megatron_core() {
    let Fixture { documents, chunks: expected } = fixture();
    let starts: Vec<u64> = documents
        .iter()
        .scan(0, |next, document| Some(std::mem::replace(next, *next + document.len() as u64)))
        .collect();
    for cuts in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let set = write(dir.path(), &documents, cuts);
        for (&max_tokens, expected) in &expected {
            let plan = ChunkPlan { max_tokens, short_rate: 0.0 };
            let index = PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap();
            let found: Vec<[u64; 3]> = chunks(&index)
                .iter()
                .map(|chunk| {
                    let first = starts[chunk.document as usize] + chunk.first_sentence;
                    [first, first + u64::from(chunk.num_sentences), u64::from(chunk.target)]
                })
                .collect();
            assert_eq!(&found, expected, "{max_tokens} tokens, {cuts} shards");
            let single = documents.iter().filter(|document| document.len() == 1).count();
            let full = documents.iter().filter(|document| document.iter().any(|&length| length > 0)).count();
            assert_eq!((index.num_single_documents(), index.num_full_documents()), (single as u64, full as u64));
        }
    }
}

#[test]
fn every_sentence_is_in_one_chunk_whatever_the_targets() {
    let documents = fixture().documents;
    let dir = tempfile::tempdir().unwrap();
    let set = write(dir.path(), &documents, 2);
    let index = PairIndex::open(dir.path(), Split::Train, &set, ChunkPlan { max_tokens: 40, short_rate: 0.5 }).unwrap();
    let mut next = (0, 0);
    for chunk in chunks(&index) {
        assert!(chunk.num_sentences >= 2 && (2..=40).contains(&chunk.target), "{chunk:?}");
        if (chunk.document, chunk.first_sentence) != next {
            assert_eq!(chunk.first_sentence, 0);
            assert_eq!(next.1, if next.1 == 0 { 0 } else { documents[next.0 as usize].len() as u64 });
            assert!((next.0 + 1..chunk.document).all(|skipped| documents[skipped as usize].len() < 2));
        }
        let end = chunk.first_sentence + u64::from(chunk.num_sentences);
        let lengths = &documents[chunk.document as usize][chunk.first_sentence as usize..end as usize];
        let before_last: usize = lengths[..lengths.len() - 1].iter().sum();
        let at_end = end as usize == documents[chunk.document as usize].len();
        // It goes on behind its target only to have two sentences, or not to leave one alone.
        assert!(before_last < chunk.target as usize || chunk.num_sentences == 2 || at_end, "{chunk:?}");
        next = (chunk.document, end);
    }
    assert!(next.0 > 50);
}

fn cache(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join(INDEX_DIR)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn the_cache_is_used_and_damage_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let set = write(dir.path(), &fixture().documents, 2);
    let open = |max_tokens, short_rate| {
        PairIndex::open(dir.path(), Split::Train, &set, ChunkPlan { max_tokens, short_rate }).unwrap()
    };
    let expected = chunks(&open(40, 0.1));
    let path = cache(dir.path())[0].clone();
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 56 + 24 * expected.len());
    let changed = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = changed();
    assert!(open(40, 0.1).is_mapped());
    assert_eq!(changed(), before);
    // Any byte of the header or of a chunk, and any length.
    let damaged = (0..whole.len()).step_by(5).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    for bytes in damaged.chain([0, 3, 56, whole.len() - 24, whole.len() - 1].map(|length| whole[..length].to_vec())) {
        // Renamed, as every writer does it: a mapped file is never changed in place.
        fs::write(path.with_extension("new"), bytes).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        assert_eq!(chunks(&open(40, 0.1)), expected);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    open(41, 0.1);
    open(40, 0.2);
    assert_eq!(cache(dir.path()).len(), 3);
}

#[test]
fn other_shards_have_another_index() {
    let dir = tempfile::tempdir().unwrap();
    let plan = ChunkPlan { max_tokens: 8, short_rate: 0.0 };
    let set = write(dir.path(), &[vec![3, 3], vec![4, 4, 4, 4]], 1);
    assert_eq!(PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap().len(), 3);
    // The same counts in other places.
    let set = write(dir.path(), &[vec![8, 8], vec![1, 1, 2, 2]], 1);
    assert_eq!(PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap().len(), 2);
}

#[test]
fn a_folder_that_cannot_be_written_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let documents = fixture().documents;
    let set = write(dir.path(), &documents, 2);
    // A file where the folder should be refuses root as well, as a read-only file system does.
    fs::write(dir.path().join(INDEX_DIR), "").unwrap();
    let plan = ChunkPlan { max_tokens: 40, short_rate: 0.1 };
    let in_memory = PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap();
    assert!(!in_memory.is_mapped());
    fs::remove_file(dir.path().join(INDEX_DIR)).unwrap();
    let mapped = PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap();
    assert!(mapped.is_mapped());
    assert_eq!(chunks(&in_memory), chunks(&mapped));
}

#[test]
fn many_may_make_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let set = write(dir.path(), &fixture().documents, 2);
    let plan = ChunkPlan { max_tokens: 40, short_rate: 0.1 };
    let barrier = std::sync::Barrier::new(8);
    let found: Vec<Vec<Chunk>> = std::thread::scope(|scope| {
        let open = || {
            barrier.wait();
            chunks(&PairIndex::open(dir.path(), Split::Train, &set, plan).unwrap())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|chunks| chunks == &found[0] && !chunks.is_empty()));
    assert_eq!(cache(dir.path()).len(), 1);
}
