//! Shards: what is written is read, what megatron-core wrote is read, the stream is the documents, and no bad file gets by.

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use untie_data::pair_index::{ChunkPlan, PairIndex};
use untie_data::shard::{Shard, ShardError, ShardSet, ShardWriter, Split, TokenType};

mod megatron;

type Documents = Vec<Vec<Vec<u32>>>;

const SEP: u32 = 3;

fn write(prefix: &Path, token_type: TokenType, documents: &[Vec<Vec<u32>>]) {
    let mut writer = ShardWriter::create(prefix, token_type).unwrap();
    for document in documents {
        let sequences: Vec<&[u32]> = document.iter().map(Vec::as_slice).collect();
        writer.push_document(&sequences).unwrap();
    }
    writer.finish().unwrap();
}

fn check(shard: &Shard, documents: &[Vec<Vec<u32>>]) {
    let sequences: Vec<&Vec<u32>> = documents.iter().flatten().collect();
    assert_eq!(shard.num_documents(), documents.len() as u64);
    assert_eq!(shard.num_sequences(), sequences.len() as u64);
    for (index, sequence) in sequences.iter().enumerate() {
        assert_eq!(&&shard.sequence(index as u64).unwrap(), sequence);
        assert_eq!(shard.sequence_length(index as u64).unwrap(), sequence.len() as u64);
    }
    let (mut start, mut sequence) = (0, 0);
    for (index, document) in documents.iter().enumerate() {
        assert_eq!(shard.document_start(index as u64).unwrap(), start);
        let next = sequence + document.len() as u64;
        assert_eq!(shard.document_sequences(index as u64).unwrap(), sequence..next);
        let length = document.iter().map(|sequence| sequence.len() as u64).sum::<u64>();
        assert_eq!(shard.token_range(sequence..next).unwrap(), start..start + length);
        sequence = next;
        start += document.iter().map(|sequence| sequence.len() as u64).sum::<u64>();
    }
    assert_eq!(shard.document_start(documents.len() as u64).unwrap(), start);
    assert_eq!(shard.num_tokens(), start);
    let mut tokens = vec![0; start as usize];
    shard.read_tokens(0, &mut tokens).unwrap();
    assert_eq!(tokens, documents.iter().flatten().flatten().copied().collect::<Vec<u32>>());
}

fn stream(documents: &[Vec<Vec<u32>>], separators: &[u32]) -> Vec<u32> {
    let document = |document: &Vec<Vec<u32>>| [&document.concat(), separators].concat();
    documents.iter().flat_map(document).collect()
}

fn documents(max_token: u32) -> impl Strategy<Value = Documents> {
    let sequence = prop::collection::vec(0..=max_token, 0..6);
    prop::collection::vec(prop::collection::vec(sequence, 0..4), 0..8)
}

proptest! {
    #[test]
    fn what_is_written_is_read(small in documents(65_535), large in documents(i32::MAX as u32)) {
        let dir = tempfile::tempdir().unwrap();
        for (token_type, documents) in [(TokenType::U16, &small), (TokenType::I32, &large)] {
            let prefix = dir.path().join("a.b");
            write(&prefix, token_type, documents);
            check(&Shard::open(&prefix).unwrap(), documents);
        }
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_stream_is_the_documents_with_separators(shards in prop::collection::vec(documents(100), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        for (number, documents) in shards.iter().enumerate() {
            write(&dir.path().join(format!("train-{number:05}")), TokenType::U16, documents);
        }
        let set = ShardSet::open(dir.path(), Split::Train).unwrap();
        for separators in [&[][..], &[SEP], &[SEP, 2], &[SEP, 2, 1]] {
            let expected = stream(&shards.concat(), separators);
            prop_assert_eq!(set.stream_len(separators.len()), expected.len() as u64);
            for start in 0..=expected.len() {
                for end in [start, (start + 5).min(expected.len()), expected.len()] {
                    let mut out = vec![u32::MAX; end - start];
                    set.read_stream(start as u64, separators, &mut out).unwrap();
                    prop_assert_eq!(&out, &expected[start..end]);
                }
            }
            let owners = shards.iter().flatten().enumerate().flat_map(|(number, document)| {
                vec![number as u64; document.concat().len() + separators.len()]
            });
            for (position, owner) in owners.enumerate() {
                prop_assert_eq!(set.document_at(position as u64, separators.len()).unwrap(), owner);
            }
            prop_assert!(set.document_at(expected.len() as u64, separators.len()).is_err());
            let beyond = set.read_stream(expected.len() as u64, separators, &mut [0]);
            let refused = matches!(beyond, Err(ShardError::StreamOutOfRange { .. }));
            prop_assert!(refused);
        }
        prop_assert_eq!(set.num_documents() + set.num_tokens(), set.stream_len(1));
        let numbers: Vec<(usize, u64)> = shards
            .iter()
            .enumerate()
            .flat_map(|(shard, documents)| (0..documents.len() as u64).map(move |document| (shard, document)))
            .collect();
        for (document, expected) in numbers.iter().enumerate() {
            prop_assert_eq!(&set.find_document(document as u64).unwrap(), expected);
        }
        let refused = matches!(set.find_document(numbers.len() as u64), Err(ShardError::DocumentOutOfRange { .. }));
        prop_assert!(refused);
    }

    /// Whatever byte of the index is changed, nothing panics and nothing is allocated beyond the file's size.
    #[test]
    fn a_damaged_index_is_an_error_or_harmless(position in 0_usize..150, value: u8) {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("train-00000");
        write(&prefix, TokenType::U16, &[vec![vec![1, 2], vec![3]], vec![], vec![vec![4, 5, 6]], vec![vec![7]]]);
        let idx = path(&prefix, ".idx");
        let mut bytes = fs::read(&idx).unwrap();
        let position = position % bytes.len();
        bytes[position] = value;
        fs::write(&idx, bytes).unwrap();
        if let Ok(shard) = Shard::open(&prefix) {
            for index in 0..=shard.num_sequences() {
                let _ = shard.sequence(index);
                let _ = shard.document_start(index);
                let _ = shard.document_sequences(index);
                let _ = (shard.token_range(0..index), shard.sequence_length(index));
            }
            let set = ShardSet::from_prefixes(&[prefix]).unwrap();
            for position in 0..set.stream_len(1) {
                let _ = set.read_stream(position, &[SEP], &mut vec![0; (set.stream_len(1) - position) as usize]);
            }
            let plan = ChunkPlan { max_tokens: 4, short_rate: 0.5 };
            let _ = PairIndex::open(dir.path(), Split::Train, &set, plan);
        }
    }
}

#[test]
fn the_token_type_follows_the_vocabulary() {
    // DType.optimal_dtype of megatron-core: uint16 below 65,500.
    assert_eq!(TokenType::for_vocab_size(65_499), TokenType::U16);
    assert_eq!(TokenType::for_vocab_size(65_500), TokenType::I32);
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(&dir.path().join("train-00000"), TokenType::U16).unwrap();
    writer.push_document(&[&[1, 2, 3]]).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_token_that_does_not_fit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("a");
    let mut writer = ShardWriter::create(&prefix, TokenType::U16).unwrap();
    let error = writer.push_document(&[&[1], &[65_536]]).unwrap_err();
    assert!(matches!(error, ShardError::TokenTooLarge { got: 65_536, limit: 65_535, .. }), "{error}");
    writer.push_document(&[&[2]]).unwrap();
    writer.finish().unwrap();
    check(&Shard::open(&prefix).unwrap(), &[vec![vec![2]]]);
    let mut writer = ShardWriter::create(&prefix, TokenType::I32).unwrap();
    assert!(matches!(writer.push_document(&[&[1 << 31]]), Err(ShardError::TokenTooLarge { .. })));
}

fn path(prefix: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", prefix.display()))
}

// Offsets in the index of `hostile`: 3 sequences, 3 document indices.
const VERSION: usize = 9;
const TYPE: usize = 17;
const NUM_SEQUENCES: usize = 18;
const NUM_DOCUMENTS: usize = 26;
const LENGTHS: usize = 34;
const POINTERS: usize = LENGTHS + 3 * 4;
const INDICES: usize = POINTERS + 3 * 8;

/// The shard of 2 documents (1 2 | 3) and (4), with `bytes` put over its index at `offset`.
fn hostile(offset: usize, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("train-00000");
    write(&prefix, TokenType::U16, &[vec![vec![1, 2], vec![3]], vec![vec![4]]]);
    let mut index = fs::read(path(&prefix, ".idx")).unwrap();
    assert_eq!(index.len(), INDICES + 3 * 8);
    index[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(path(&prefix, ".idx"), index).unwrap();
    (dir, prefix)
}

/// Opens the hostile shard; the message names the file, so only what follows it is compared.
fn open_message(offset: usize, bytes: &[u8]) -> String {
    let (_dir, prefix) = hostile(offset, bytes);
    message(&Shard::open(&prefix).unwrap_err(), &prefix)
}

fn message(error: &ShardError, prefix: &Path) -> String {
    error.to_string().replace(&prefix.display().to_string(), "P")
}

#[test]
fn a_hostile_header_is_refused() {
    let cases: [(usize, Vec<u8>, &str); 12] = [
        (0, b"N".to_vec(), "`P.idx` is no Megatron index: expected it to start with `MMIDIDX`"),
        (VERSION, vec![2], "index `P.idx` has the wrong version: expected 1, got 2"),
        (TYPE, vec![7], "index `P.idx` has token type 7: expected 8 (`uint16`) or 4 (`int32`)"),
        (
            NUM_SEQUENCES,
            vec![4],
            "index `P.idx` has the wrong size for 4 sequences and 3 document indices: expected 106 bytes, got 94",
        ),
        (
            NUM_SEQUENCES,
            vec![255; 8],
            "index `P.idx` has the wrong size for 18446744073709551615 sequences and 3 document indices: \
             expected 221360928884514619438 bytes, got 94",
        ),
        (
            NUM_DOCUMENTS,
            vec![255; 8],
            "index `P.idx` has the wrong size for 3 sequences and 18446744073709551615 document indices: \
             expected 147573952589676412990 bytes, got 94",
        ),
        (INDICES, vec![1], "index `P.idx` starts its first document at the wrong sequence: expected 0, got 1"),
        (INDICES + 16, vec![2], "index `P.idx` ends its last document at the wrong sequence: expected 3, got 2"),
        (INDICES + 16, vec![255; 8], "index `P.idx` ends its last document at the wrong sequence: expected 3, got -1"),
        (POINTERS, vec![2], "index `P.idx` starts its first sequence at the wrong byte: expected 0, got 2"),
        (POINTERS + 16, vec![4], "tokens `P.bin` have the wrong size: expected 6 bytes by the index, got 8"),
        (LENGTHS + 8, vec![255; 4], "index `P.idx` has a negative length at sequence 2: got -1"),
    ];
    for (offset, bytes, expected) in cases {
        assert_eq!(open_message(offset, &bytes), expected);
    }
}

#[test]
fn an_index_without_documents_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("a");
    write(&prefix, TokenType::U16, &[]);
    assert_eq!(Shard::open(&prefix).unwrap().num_documents(), 0);
    let mut index = fs::read(path(&prefix, ".idx")).unwrap();
    index.truncate(34);
    index[NUM_DOCUMENTS] = 0;
    fs::write(path(&prefix, ".idx"), &index).unwrap();
    let error = Shard::open(&prefix).unwrap_err();
    assert_eq!(message(&error, &prefix), "index `P.idx` has no document indices: expected at least 1");
}

#[test]
fn files_that_are_cut_short_are_refused() {
    for (suffix, length, expected) in [
        (".idx", 0, "index `P.idx` is too short: expected at least 34 bytes, got 0"),
        (".idx", 33, "index `P.idx` is too short: expected at least 34 bytes, got 33"),
        (
            ".idx",
            93,
            "index `P.idx` has the wrong size for 3 sequences and 3 document indices: expected 94 bytes, got 93",
        ),
        (".bin", 0, "tokens `P.bin` have the wrong size: expected 8 bytes by the index, got 0"),
        (".bin", 7, "tokens `P.bin` have the wrong size: expected 8 bytes by the index, got 7"),
    ] {
        let (_dir, prefix) = hostile(0, b"M");
        let file = fs::OpenOptions::new().write(true).open(path(&prefix, suffix)).unwrap();
        file.set_len(length).unwrap();
        assert_eq!(message(&Shard::open(&prefix).unwrap_err(), &prefix), expected);
    }
    let (_dir, prefix) = hostile(0, b"M");
    fs::remove_file(path(&prefix, ".bin")).unwrap();
    assert_eq!(message(&Shard::open(&prefix).unwrap_err(), &prefix), "cannot access `P.bin`");
}

#[test]
fn a_file_that_changes_while_it_is_mapped_is_told() {
    for (suffix, length, expected) in [
        (".bin", 6, "`P.bin` has changed since it was opened: expected 8 bytes, got 6"),
        (".bin", 10, "`P.bin` has changed since it was opened: expected 8 bytes, got 10"),
        (".idx", 93, "`P.idx` has changed since it was opened: expected 94 bytes, got 93"),
    ] {
        let (_dir, prefix) = hostile(0, b"M");
        let shard = Shard::open(&prefix).unwrap();
        shard.check_sizes().unwrap();
        let file = fs::OpenOptions::new().write(true).open(path(&prefix, suffix)).unwrap();
        file.set_len(length).unwrap();
        assert_eq!(message(&shard.check_sizes().unwrap_err(), &prefix), expected);
    }
    // Another file in its place, and none: the mapped one is as it was.
    let (_dir, prefix) = hostile(0, b"M");
    let shard = Shard::open(&prefix).unwrap();
    fs::write(path(&prefix, ".new"), "longer than eight bytes").unwrap();
    fs::rename(path(&prefix, ".new"), path(&prefix, ".bin")).unwrap();
    shard.check_sizes().unwrap();
    fs::remove_file(path(&prefix, ".bin")).unwrap();
    shard.check_sizes().unwrap();
    assert_eq!(shard.sequence(2).unwrap(), [4]);
}

#[test]
fn a_hostile_entry_is_found_when_it_is_used() {
    let sequence_error = |offset, bytes: &[u8], sequence| {
        let (_dir, prefix) = hostile(offset, bytes);
        message(&Shard::open(&prefix).unwrap().sequence(sequence).unwrap_err(), &prefix)
    };
    assert_eq!(
        sequence_error(POINTERS + 8, &[255; 8], 1),
        "index `P.idx` is damaged at sequence 1: expected a multiple of 2 from 0 to 8, got -1"
    );
    assert_eq!(
        sequence_error(POINTERS + 8, &[3], 1),
        "index `P.idx` is damaged at sequence 1: expected a multiple of 2 from 0 to 8, got 3"
    );
    assert_eq!(
        sequence_error(POINTERS + 8, &[10], 0),
        "index `P.idx` is damaged at sequence 1: expected a multiple of 2 from 0 to 8, got 10"
    );
    assert_eq!(
        sequence_error(LENGTHS, &[255, 255, 255, 127], 0),
        "index `P.idx` is damaged at sequence 0: 2147483647 tokens from token 0 on should end where the next sequence \
         starts, got 2"
    );
    assert_eq!(sequence_error(LENGTHS, &[255; 4], 0), "index `P.idx` has a negative length at sequence 0: got -1");
    assert_eq!(sequence_error(0, b"M", 3), "sequence 3 is out of range in `P.idx`: it has 3");

    let document_error = |offset, bytes: &[u8], document| {
        let (_dir, prefix) = hostile(offset, bytes);
        message(&Shard::open(&prefix).unwrap().document_start(document).unwrap_err(), &prefix)
    };
    assert_eq!(
        document_error(INDICES + 8, &[255; 8], 1),
        "index `P.idx` is damaged at document 1: it starts at sequence -1 and the next one at 3"
    );
    assert_eq!(
        document_error(INDICES + 8, &[4], 0),
        "index `P.idx` is damaged at document 0: it starts at sequence 0 and the next one at 4"
    );
    assert_eq!(
        document_error(INDICES + 8, &[4], 1),
        "index `P.idx` is damaged at document 1: it starts at sequence 4 and the next one at 3"
    );
    assert_eq!(document_error(0, b"M", 3), "document 3 is out of range in `P.idx`: it has 2");
}

#[test]
fn a_stream_over_damaged_documents_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("a");
    write(&prefix, TokenType::U16, &[vec![vec![1, 2]], vec![vec![3]], vec![vec![4]]]);
    let mut index = fs::read(path(&prefix, ".idx")).unwrap();
    index[POINTERS + 8] = 8; // document 1 starts at the end of the file, document 2 before it
    fs::write(path(&prefix, ".idx"), index).unwrap();
    let set = ShardSet::from_prefixes(std::slice::from_ref(&prefix)).unwrap();
    let error = set.read_stream(0, &[SEP], &mut [0; 7]).unwrap_err();
    assert_eq!(
        message(&error, &prefix),
        "index `P.idx` is damaged near document 1: documents do not start one after the other"
    );
}

#[test]
fn reads_and_tokens_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("a");
    write(&prefix, TokenType::I32, &[vec![vec![1, 2, 30]]]);
    let shard = Shard::open(&prefix).unwrap();
    assert_eq!(
        message(&shard.read_tokens(1, &mut [0; 3]).unwrap_err(), &prefix),
        "token 4 is out of range in `P.bin`: it has 3"
    );
    assert!(shard.read_tokens(u64::MAX, &mut [0; 3]).is_err());

    let set = ShardSet::from_prefixes(std::slice::from_ref(&prefix)).unwrap().with_vocab_size(30);
    set.read_stream(0, &[SEP], &mut [0; 2]).unwrap();
    assert_eq!(
        message(&set.read_stream(1, &[SEP], &mut [0; 3]).unwrap_err(), &prefix),
        "token 2 of `P.bin` is not in the vocabulary: expected less than 30, got 30"
    );
    assert_eq!(
        set.read_stream(2, &[SEP], &mut [0; 3]).unwrap_err().to_string(),
        "the end of a run of the stream is out of range: expected at most 4, got 5"
    );

    fs::write(path(&prefix, ".bin"), [1, 0, 0, 0, 255, 255, 255, 255, 3, 0, 0, 0]).unwrap();
    let error = Shard::open(&prefix).unwrap().sequence(0).unwrap_err();
    assert_eq!(message(&error, &prefix), "tokens `P.bin` have a negative token at position 1: got -1");
}

#[test]
fn folders_without_a_manifest_are_read_by_number() {
    let dir = tempfile::tempdir().unwrap();
    for (number, token) in [("00000", 1), ("00001", 2), ("100000", 3)] {
        write(&dir.path().join(format!("train-{number}")), TokenType::U16, &[vec![vec![token]]]);
    }
    write(&dir.path().join("train-old"), TokenType::U16, &[vec![vec![9]]]);
    let set = ShardSet::open(dir.path(), Split::Train).unwrap();
    let mut out = [0; 6];
    set.read_stream(0, &[SEP], &mut out).unwrap();
    assert_eq!(out, [1, SEP, 2, SEP, 3, SEP]);
    assert_eq!(set.shards().len(), 3);

    let error = ShardSet::open(dir.path(), Split::Valid).unwrap_err();
    assert!(matches!(error, ShardError::NoShards { split: Split::Valid, .. }), "{error}");
    fs::create_dir(dir.path().join(".partial")).unwrap();
    let error = ShardSet::open(dir.path(), Split::Train).unwrap_err();
    assert!(matches!(error, ShardError::Unfinished { .. }), "{error}");
    assert!(error.hint().is_some());
}

/// 10 billion tokens in a sparse file: opened and read at both ends without reading what lies between.
#[test]
fn ten_billion_tokens_open_at_once() {
    const NUM_TOKENS: u64 = 10_000_000_000;
    const LENGTH: i32 = 2_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("train-00000");
    let mut index = b"MMIDIDX\x00\x00".to_vec();
    index.extend(1_u64.to_le_bytes());
    index.push(8);
    index.extend(5_u64.to_le_bytes());
    index.extend(6_u64.to_le_bytes());
    (0..5).for_each(|_| index.extend(LENGTH.to_le_bytes()));
    (0..5).for_each(|sequence| index.extend((sequence * 2 * i64::from(LENGTH)).to_le_bytes()));
    (0..6_i64).for_each(|document| index.extend(document.to_le_bytes()));
    fs::write(path(&prefix, ".idx"), index).unwrap();
    fs::File::create(path(&prefix, ".bin")).unwrap().set_len(2 * NUM_TOKENS).unwrap();

    let started = std::time::Instant::now();
    let set = ShardSet::open(dir.path(), Split::Train).unwrap();
    let mut out = [1; 512];
    set.read_stream(set.stream_len(1) - 512, &[SEP], &mut out).unwrap();
    let elapsed = started.elapsed();
    assert_eq!(set.num_tokens(), NUM_TOKENS);
    assert_eq!(out[510..], [0, SEP]);
    // Microseconds on an idle machine; 20 GB could not be read in this time.
    assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
}

/// What was written behind a checkpoint, also a finished shard, is forgotten and written again.
#[test]
fn a_writer_goes_on_from_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<Vec<u32>> = (0..50).map(|number| vec![number; 3 + number as usize % 7]).collect();
    let push = |writer: &mut ShardWriter, range: std::ops::Range<usize>| {
        documents[range].iter().for_each(|document| writer.push_document(&[&document[..2], &document[2..]]).unwrap());
    };
    let whole = dir.path().join("train-00000");
    let mut writer = ShardWriter::create(&whole, TokenType::U16).unwrap();
    push(&mut writer, 0..50);
    let expected = writer.finish().unwrap();
    for finished in [false, true] {
        let prefix = dir.path().join(format!("train-0000{}", 1 + u32::from(finished)));
        let mut writer = ShardWriter::create(&prefix, TokenType::U16).unwrap();
        push(&mut writer, 0..20);
        let from = writer.checkpoint().unwrap();
        push(&mut writer, 20..45);
        // Dropped, the rest of the buffer is on disk too.
        if finished {
            writer.finish().unwrap();
        } else {
            drop(writer);
        }
        let mut writer = ShardWriter::resume(&prefix, TokenType::U16, from).unwrap();
        push(&mut writer, 20..50);
        assert_eq!(writer.finish().unwrap(), expected, "finished {finished}");
    }
}
