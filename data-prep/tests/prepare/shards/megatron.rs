//! Files of megatron-core: its format, and its names, of which a part is held out.

use super::*;
use std::collections::HashMap;
use untie_data::shard::Piece;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Written by `fixtures/make_fixtures.py`.
#[test]
fn shards_of_megatron_core_are_read() {
    let json = fs::read_to_string(fixtures().join("megatron.json")).unwrap();
    let expected: HashMap<String, Documents> = serde_json::from_str(&json).unwrap();
    for (name, token_type) in [("u16", TokenType::U16), ("i32", TokenType::I32)] {
        let prefix = fixtures().join(format!("megatron-{name}"));
        let shard = Shard::open(&prefix).unwrap();
        assert_eq!(shard.token_type(), token_type);
        check(&shard, &expected[name]);

        let set = ShardSet::from_prefixes(&[prefix]).unwrap();
        let mut out = vec![0; set.stream_len(1) as usize];
        set.read_stream(0, &[SEP], &mut out).unwrap();
        assert_eq!(out, stream(&expected[name], &[SEP]));
    }
}

/// The same documents give the same bytes as megatron-core's builder, index included.
#[test]
fn our_files_are_those_of_megatron_core() {
    let json = fs::read_to_string(fixtures().join("megatron.json")).unwrap();
    let documents: HashMap<String, Documents> = serde_json::from_str(&json).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, token_type) in [("u16", TokenType::U16), ("i32", TokenType::I32)] {
        write(&dir.path().join(name), token_type, &documents[name]);
        for suffix in ["bin", "idx"] {
            let ours = fs::read(dir.path().join(format!("{name}.{suffix}"))).unwrap();
            let theirs = fs::read(fixtures().join(format!("megatron-{name}.{suffix}"))).unwrap();
            assert_eq!(ours, theirs, "{name}.{suffix}");
        }
    }
}

/// Documents of one or two sentences; number 7 of every ten is the same one.
fn some_documents(number: u32) -> Documents {
    let tokens = |at: u32| vec![10 + at % 50, 10 + at * 7 % 50, 10 + at / 50 % 50, at % 9];
    (0..number).map(|at| if at % 10 == 7 { vec![vec![1, 2, 3]] } else { vec![tokens(at), vec![5 + at % 3]] }).collect()
}

/// The documents of a split, through every way to read them.
fn documents_of(set: &ShardSet) -> Documents {
    let mut all = Documents::new();
    for number in 0..set.num_documents() {
        let (shard, document) = set.find_document(number).unwrap();
        let shard = &set.shards()[shard];
        let sequences = shard.document_sequences(document).unwrap();
        all.push(sequences.map(|sequence| shard.sequence(sequence).unwrap()).collect());
    }
    for separators in [&[][..], &[SEP], &[SEP, 2]] {
        let expected = stream(&all, separators);
        assert_eq!(set.stream_len(separators.len()), expected.len() as u64);
        for step in [1, 7, 1000] {
            for (number, expected) in expected.chunks(step).enumerate() {
                let mut out = vec![u32::MAX; expected.len()];
                set.read_stream((number * step) as u64, separators, &mut out).unwrap();
                assert_eq!(out, expected);
            }
        }
    }
    assert_eq!(set.num_tokens(), all.iter().flatten().flatten().count() as u64);
    all
}

#[test]
fn files_by_their_own_name_are_read_with_a_part_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let documents = some_documents(300);
    write(&dir.path().join("my-bert_text_sentence"), TokenType::U16, &documents);
    fs::write(dir.path().join("pack.idx"), "not Megatron's").unwrap();
    let by_prefix = dir.path().join("my-bert_text_sentence");
    for (place, fraction) in [
        (dir.path().to_owned(), 0.2),
        (by_prefix.clone(), 0.2),
        (path(&by_prefix, ".idx"), 0.2),
        (by_prefix.clone(), 1e-9),
    ] {
        let [train, valid] = Split::ALL.map(|split| ShardSet::open_with(&place, split, fraction).unwrap());
        let share = valid.held_out().unwrap();
        assert_eq!((share.documents, share.of, train.held_out()), (valid.num_documents(), 300, Some(share)));
        // within four standard deviations of binomial draws, and never none
        let expected = if fraction > 0.1 { 33..=87 } else { 1..=30 };
        assert!(expected.contains(&share.documents), "{share:?}");
        let [train, valid] = [&train, &valid].map(documents_of);
        // both keep the order of the file, equal documents are in one split, and together they are all
        assert!(train.iter().all(|document| !valid.contains(document)));
        let is_valid = |document: &&Vec<Vec<u32>>| valid.contains(document);
        assert_eq!(documents.iter().filter(is_valid).cloned().collect::<Documents>(), valid);
        assert_eq!(documents.iter().filter(|document| !is_valid(document)).cloned().collect::<Documents>(), train);
    }
    let error = ShardSet::open_with(dir.path(), Split::Valid, 0.0).unwrap_err();
    assert!(error.hint().unwrap().contains("data.valid_fraction"), "{error}");
    let all = ShardSet::open_with(dir.path(), Split::Train, 0.0).unwrap();
    assert_eq!(all.pieces(), [Piece { shard: 0, documents: 0..300 }]);
    // nothing is written
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn pairs_are_made_of_the_split_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a_text_sentence"), TokenType::U16, &some_documents(100));
    let plan = ChunkPlan { max_tokens: 8, short_rate: 0.0 };
    let prefix = dir.path().join("a_text_sentence");
    for split in Split::ALL {
        let set = ShardSet::open_with(&prefix, split, 0.3).unwrap();
        let index = PairIndex::open(&prefix, split, &set, plan).unwrap();
        let two = documents_of(&set).iter().filter(|document| document.len() == 2).count() as u64;
        assert_eq!(index.len(), two);
        assert!(two > 0 && (0..index.len()).all(|chunk| index.chunk(chunk).document < set.num_documents()));
        // another fraction is another index
        let other = ShardSet::open_with(&prefix, split, 0.6).unwrap();
        assert_ne!(PairIndex::open(&prefix, split, &other, plan).unwrap().len(), two);
    }
    assert!(dir.path().join(".index").is_dir(), "beside the files, not inside of a prefix");
}

#[test]
fn several_files_in_one_folder_are_one_corpus_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["wiki_2_text_document", "wiki_10_text_document", "books_text_document"];
    for (number, name) in (0..).zip(names) {
        write(&dir.path().join(name), TokenType::U16, &[vec![vec![100 + number]], vec![vec![200 + number]]]);
    }
    let all =
        |fraction| documents_of(&ShardSet::open_with(dir.path(), Split::Train, fraction).unwrap()).concat().concat();
    assert_eq!(all(0.0), [102, 202, 100, 200, 101, 201]);
    assert_eq!(all(0.01).len(), 5);

    // what `--partitions` merged and left is not read twice
    write(&dir.path().join("wiki_text_document"), TokenType::U16, &[100, 200, 101, 201].map(|token| vec![vec![token]]));
    assert_eq!(all(0.0), [102, 202, 100, 200, 101, 201]);
    assert_eq!(ShardSet::open_with(dir.path(), Split::Train, 0.0).unwrap().shards().len(), 2);
    // a file that only looks like the whole is one more
    write(&dir.path().join("wiki_text_document"), TokenType::U16, &[vec![vec![7]]]);
    assert_eq!(all(0.0).len(), 7);

    // names may say the split
    write(&dir.path().join("held_valid_text_document"), TokenType::U16, &[vec![vec![9]]]);
    let valid = ShardSet::open(dir.path(), Split::Valid).unwrap();
    assert_eq!((documents_of(&valid).concat().concat(), valid.held_out()), (vec![9], None));
    assert_eq!(all(0.5).len(), 7);
}

#[test]
fn what_is_no_data_of_megatron_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n";
    let message = |name: &str| {
        let error = ShardSet::open(dir.path(), Split::Train).unwrap_err();
        fs::remove_file(dir.path().join(name)).unwrap();
        (error.to_string().replace(dir.path().to_str().unwrap(), "D"), error.hint().unwrap())
    };
    fs::write(dir.path().join("a_text_document.idx"), pointer).unwrap();
    let (text, hint) = message("a_text_document.idx");
    assert_eq!(text, "`D/a_text_document.idx` is a Git LFS pointer: the data of 1234 bytes is not here");
    assert!(hint.starts_with("run `git lfs pull`"), "{hint}");

    write(&dir.path().join("a_text_document"), TokenType::U16, &[vec![vec![1]]]);
    fs::write(dir.path().join("a_text_document.bin"), pointer).unwrap();
    let (text, _) = message("a_text_document.bin");
    assert_eq!(text, "`D/a_text_document.bin` is a Git LFS pointer: the data of 1234 bytes is not here");

    write(&dir.path().join("a_text_document"), TokenType::U16, &[vec![vec![1]]]);
    write(&dir.path().join("a_text_sentence"), TokenType::U16, &[vec![vec![1]]]);
    let (text, _) = message("a_text_sentence.idx");
    assert_eq!(text, "`D` holds the same text twice, as `a_text_document` and as `a_text_sentence`");

    fs::write(dir.path().join("a_text_document.idx"), b"TNTIDX\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00").unwrap();
    let (text, hint) = message("a_text_document.idx");
    assert!(text.ends_with("has the old format of Megatron-LM (`TNTIDX`): expected `MMIDIDX`"), "{text}");
    assert!(hint.contains("--dataset-impl mmap"), "{hint}");

    fs::remove_file(dir.path().join("a_text_document.bin")).unwrap();
    fs::remove_file(dir.path().join("a_text_sentence.bin")).unwrap();
    let error = ShardSet::open(dir.path(), Split::Train).unwrap_err();
    assert!(matches!(error, ShardError::NoShards { split: Split::Train, .. }), "{error}");
}
