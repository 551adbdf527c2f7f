//! The pipeline: what goes in comes out, the same every time, whole or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use untie_data::corpus::{CorpusError, Format, InputError};
use untie_data::manifest::Manifest;
use untie_data::pipeline::{prepare, PrepareConfig, PrepareError, Summary};
use untie_data::shard::{ShardError, ShardSet, Split};
use untie_data::wordpiece::{self, TokenizerError};

const NUM_DOCUMENTS: usize = 200;

fn texts() -> Vec<String> {
    (0..NUM_DOCUMENTS)
        .map(|number| format!("The {number}th fox ran.\nIt ran {} times over the lazy dog.", number * number))
        .collect()
}

fn jsonl(texts: &[String]) -> String {
    texts.iter().map(|text| serde_json::json!({ "text": text, "title": "fox" }).to_string() + "\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct TestFolder {
    dir: tempfile::TempDir,
}

impl TestFolder {
    fn new() -> TestFolder {
        TestFolder { dir: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn input(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn config(&self, inputs: &[PathBuf]) -> PrepareConfig {
        let mut config = PrepareConfig::new(inputs.to_vec(), self.out());
        (config.vocab_size, config.valid_fraction) = (150, 0.1);
        config
    }

    /// A config for the usual documents.
    fn usual(&self) -> PrepareConfig {
        let input = self.input("foxes.jsonl", jsonl(&texts()));
        self.config(&[input])
    }
}

fn run(config: &PrepareConfig) -> Result<Summary, PrepareError> {
    prepare(config, Arc::new(()))
}

/// Every document of a split, decoded to ids.
fn documents(dir: &Path, split: Split) -> Vec<Vec<u32>> {
    let set = ShardSet::open(dir, split).unwrap();
    set.shards().iter().flat_map(|shard| (0..shard.num_sequences()).map(|i| shard.sequence(i).unwrap())).collect()
}

fn encoded(dir: &Path, texts: &[String]) -> Vec<Vec<u32>> {
    let tokenizer = wordpiece::import(&dir.join("tokenizer.json"), true).unwrap();
    let encode = |text: &String| {
        let mut ids = Vec::new();
        wordpiece::encode(&tokenizer, text, &mut ids).unwrap();
        ids
    };
    texts.iter().map(encode).collect()
}

/// Every file of a folder with its content, its sources aside.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn every_document_comes_out_once() {
    let folder = TestFolder::new();
    let mut config = folder.usual();
    config.shard_tokens = 700;
    let summary = run(&config).unwrap();
    let (train, valid) = (documents(&folder.out(), Split::Train), documents(&folder.out(), Split::Valid));
    let expected = encoded(&folder.out(), &texts());

    let all: BTreeSet<&Vec<u32>> = train.iter().chain(&valid).collect();
    assert_eq!(all, expected.iter().collect());
    assert_eq!(train.len() + valid.len(), NUM_DOCUMENTS);
    assert!(train.iter().eq(expected.iter().filter(|ids| !valid.contains(ids))), "the order is another");
    // 10 % of 200 are 20; 4 standard deviations of the binomial are 17.
    assert!((3..=37).contains(&valid.len()), "{}", valid.len());

    let manifest = Manifest::verify(&folder.out()).unwrap();
    assert_eq!(manifest, summary.manifest);
    assert_eq!(manifest.train.documents, train.len() as u64);
    assert_eq!(manifest.valid.tokens, valid.iter().map(Vec::len).sum::<usize>() as u64);
    let train_shards: Vec<_> = manifest.shards.iter().filter(|shard| shard.split == Split::Train).collect();
    assert!(train_shards.len() > 3);
    assert!(train_shards.iter().all(|shard| shard.counts.tokens < 800));
    assert!(!fs::read_to_string(folder.out().join("manifest.json")).unwrap().contains("/"));

    let report = summary.report.clone().unwrap();
    assert_eq!(report.num_texts, NUM_DOCUMENTS as u64);
    assert_eq!(report.words, NUM_DOCUMENTS as u64 * 12);
    assert_eq!(report.unknown, 0);
    assert!(summary.to_string().contains("tokens a word"));
}

#[test]
fn formats_compression_and_workers_do_not_change_the_shards() {
    let plain = TestFolder::new();
    run(&plain.usual()).unwrap();
    let expected = files(&plain.out());
    let lines = jsonl(&texts());
    let blocks: String = texts().iter().map(|text| format!("{text}\n\n")).collect();
    let bz2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        encoder.write_all(lines.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(lines.as_bytes(), 0).unwrap();
    for (name, bytes, format, workers) in [
        ("a.jsonl.gz", gzip(lines.as_bytes()), Format::Auto, 1),
        ("a.json.zst", zstd, Format::Auto, 2),
        ("a.jsonl.bz2", bz2, Format::Auto, 3),
        ("a.txt", blocks.into_bytes(), Format::Blocks, 2),
    ] {
        let folder = TestFolder::new();
        let input = folder.input(name, bytes);
        let mut config = folder.config(&[input]);
        (config.format, config.workers) = (format, workers);
        run(&config).unwrap();
        for (found, expected) in files(&folder.out()).iter().zip(&expected) {
            assert_eq!(found.0, expected.0);
            assert!(found.0 == "manifest.json" || found.1 == expected.1, "{name}: {}", found.0);
        }
    }
}

#[test]
fn text_files_are_one_document_each() {
    let folder = TestFolder::new();
    let inputs: Vec<PathBuf> =
        texts().iter().enumerate().map(|(i, text)| folder.input(&format!("{i}.txt"), text)).collect();
    let mut config = folder.config(&inputs);
    config.valid_fraction = 0.0;
    run(&config).unwrap();
    assert_eq!(documents(&folder.out(), Split::Train), encoded(&folder.out(), &texts()));
    assert!(matches!(ShardSet::open(&folder.out(), Split::Valid), Err(ShardError::NoShards { .. })));
}

#[test]
fn an_existing_tokenizer_is_used() {
    let trained = TestFolder::new();
    run(&trained.usual()).unwrap();
    for name in ["tokenizer.json", "vocab.txt"] {
        let folder = TestFolder::new();
        let mut config = folder.usual();
        config.tokenizer = Some(trained.out().join(name));
        run(&config).unwrap();
        for split in Split::ALL {
            assert_eq!(documents(&folder.out(), split), documents(&trained.out(), split), "{name}");
        }
        let file = |folder: &TestFolder| fs::read(folder.out().join("tokenizer.json")).unwrap();
        assert_eq!(file(&folder), file(&trained), "{name}");
    }
}

#[test]
fn at_least_one_document_is_held_out() {
    let folder = TestFolder::new();
    let mut config = folder.usual();
    config.valid_fraction = 1e-9;
    run(&config).unwrap();
    let hash = |text: &String| xxhash_rust::xxh3::xxh3_64(text.as_bytes());
    let smallest = texts().into_iter().min_by_key(hash).unwrap();
    assert_eq!(documents(&folder.out(), Split::Valid), encoded(&folder.out(), &[smallest]));
    assert_eq!(documents(&folder.out(), Split::Train).len(), NUM_DOCUMENTS - 1);
}

#[test]
fn a_second_run_has_nothing_to_do_and_a_different_one_is_refused() {
    let folder = TestFolder::new();
    let mut config = folder.usual();
    assert!(run(&config).unwrap().report.is_some());
    let before = files(&folder.out());
    let again = run(&config).unwrap();
    assert!(again.report.is_none());
    assert!(again.to_string().contains("up to date"));
    assert_eq!(files(&folder.out()), before);

    config.vocab_size = 151;
    let error = run(&config).unwrap_err();
    assert!(error.to_string().ends_with("already holds prepared data that differs: `vocab_size` was 150, now 151"));
    assert_eq!((error.exit_code(), error.hint().is_some()), (2, true));
    assert_eq!(files(&folder.out()), before);

    folder.input("foxes.jsonl", jsonl(&texts()[1..]));
    config.vocab_size = 150;
    let error = run(&config).unwrap_err();
    assert!(error.to_string().ends_with("the input `foxes.jsonl` is new or has changed"), "{error}");

    config.force = true;
    assert_eq!(run(&config).unwrap().report.unwrap().num_texts, NUM_DOCUMENTS as u64 - 1);
    Manifest::verify(&folder.out()).unwrap();
}

#[test]
fn leftovers_of_an_interrupted_run_are_replaced() {
    let folder = TestFolder::new();
    let config = folder.usual();
    run(&config).unwrap();
    let before = files(&folder.out());
    // Killed while it published: no manifest, some shards in place, more than there will be.
    fs::remove_file(folder.out().join("manifest.json")).unwrap();
    fs::create_dir(folder.out().join(".partial")).unwrap();
    fs::write(folder.out().join(".partial/train-00000.bin.tmp"), "cut").unwrap();
    fs::write(folder.out().join("train-00007.idx"), "old").unwrap();
    assert!(matches!(ShardSet::open(&folder.out(), Split::Train), Err(ShardError::Unfinished { .. })));
    run(&config).unwrap();
    assert_eq!(files(&folder.out()), before);
}

#[test]
fn shards_from_elsewhere_are_not_overwritten() {
    let folder = TestFolder::new();
    let mut config = folder.usual();
    fs::create_dir(folder.out()).unwrap();
    fs::write(folder.out().join("train-00000.bin"), "theirs").unwrap();
    let error = run(&config).unwrap_err();
    assert!(matches!(error, PrepareError::OutputHasShards { .. }), "{error}");
    assert_eq!(fs::read(folder.out().join("train-00000.bin")).unwrap(), b"theirs");
    config.force = true;
    run(&config).unwrap();
    Manifest::verify(&folder.out()).unwrap();
}

#[test]
fn a_failed_run_leaves_nothing() {
    let folder = TestFolder::new();
    let lines = jsonl(&texts());
    let zstd = zstd::encode_all(lines.as_bytes(), 0).unwrap();
    for (name, bytes) in [
        ("cut.jsonl.gz", gzip(lines.as_bytes())[..500].to_vec()),
        ("cut.jsonl.zst", zstd[..zstd.len() - 4].to_vec()),
        ("broken.jsonl.bz2", b"BZh9 this is not bzip2".to_vec()),
    ] {
        let config = folder.config(&[folder.input(name, bytes)]);
        let error = run(&config).unwrap_err();
        assert!(matches!(error, PrepareError::Corpus { .. }), "{name}: {error}");
        assert_eq!((error.exit_code(), error.hint().is_some()), (3, true), "{name}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(!folder.out().exists(), "{name}");
    }
    // A folder that was there before stays.
    fs::create_dir(folder.out()).unwrap();
    run(&folder.config(&[folder.input("empty.txt", "")])).unwrap_err();
    assert_eq!(fs::read_dir(folder.out()).unwrap().count(), 0);
}

#[test]
fn bad_input_has_a_name_a_hint_and_an_exit_code() {
    let folder = TestFolder::new();
    let text = folder.input("one.txt", "one document, one document");
    let change = |change: &dyn Fn(&mut PrepareConfig)| {
        let mut config = folder.config(std::slice::from_ref(&text));
        change(&mut config);
        let error = run(&config).unwrap_err();
        assert!(
            error.hint().is_some() || matches!(error, PrepareError::ValidFraction { .. } | PrepareError::ShardTokens)
        );
        assert!(!folder.out().exists(), "{error}");
        (error.exit_code(), error)
    };
    use PrepareError as E;
    let root = folder.dir.path().to_owned();
    let unnamed = folder.input("one.csv", "a,b");
    let empty = folder.input("empty.jsonl", "{\"text\": \" \\n\"}\n\n{\"text\": \"\"}\n");
    let unknown = folder.input("controls.jsonl", "{\"text\": \"\\u0001\\u0002\"}\n");
    let vocabulary = folder.input("vocab.txt", "[PAD]\n[UNK]\n");
    assert!(matches!(change(&|config| config.inputs.clear()), (2, E::NoInput)));
    assert!(matches!(change(&|config| config.inputs.push("none.txt".into())), (2, E::Inputs(InputError::Io { .. }))));
    assert!(matches!(change(&|config| config.inputs.push(root.clone())), (2, E::Inputs(InputError::Twice { .. }))));
    assert!(matches!(
        change(&|config| config.inputs.push(unnamed.clone())),
        (2, E::Inputs(InputError::UnknownFormat { .. }))
    ));
    for fraction in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(change(&|config| config.valid_fraction = fraction), (2, E::ValidFraction { .. })));
    }
    assert!(matches!(change(&|config| config.shard_tokens = 0), (2, E::ShardTokens)));
    assert!(matches!(
        change(&|config| config.vocab_size = 10),
        (2, E::Tokenizer(TokenizerError::VocabularyTooSmall { got: 10, .. }))
    ));
    assert!(matches!(
        change(&|config| config.tokenizer = Some(vocabulary.clone())),
        (3, E::Tokenizer(TokenizerError::MissingSpecialToken { token })) if token == "[CLS]"
    ));
    assert!(
        matches!(change(&|config| config.inputs = vec![empty.clone()]), (3, E::EmptyCorpus { dropped }) if dropped == "2 empty")
    );
    assert!(
        matches!(change(&|config| config.inputs = vec![unknown.clone()]), (3, E::EmptyCorpus { dropped }) if dropped == "1 no tokens")
    );
    assert!(matches!(change(&|_| ()), (3, E::TooFewDocuments { num_documents: 1 })));
    assert!(matches!(
        change(&|config| config.valid_fraction = 0.999_999_999),
        (3, E::TooFewDocuments { num_documents: 1 })
    ));
    let second = folder.input("two.txt", "another document");
    assert!(matches!(
        change(&|config| {
            config.inputs.push(second.clone());
            config.valid_fraction = 0.999_999_999;
        }),
        (2, E::NoTraining { num_documents: 2 })
    ));
    assert!(matches!(change(&|config| config.memory_limit = 1000), (2, E::MemoryLimit { got: 1000, .. })));
    assert!(matches!(
        change(&|config| config.reader.text_field = "body".to_owned()),
        (3, E::TooFewDocuments { .. }) // the field is one of JSONL's, text files have none
    ));
    assert!(matches!(
        change(&|config| {
            config.inputs = vec![empty.clone()];
            config.reader.text_field = "body".to_owned();
        }),
        (3, E::Corpus { source: CorpusError::NoField { num_objects: 2, .. }, .. })
    ));
}

#[test]
fn a_folder_that_does_not_match_its_manifest_is_refused() {
    let folder = TestFolder::new();
    run(&folder.usual()).unwrap();
    let path = |name: &str| folder.out().join(name);
    let broken = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let before = fs::read(path(name)).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        fs::write(path(name), bytes).unwrap();
        let quick = Manifest::check(&folder.out());
        let opened = ShardSet::open(&folder.out(), Split::Train);
        let thorough = Manifest::verify(&folder.out()).unwrap_err();
        fs::write(path(name), before).unwrap();
        Manifest::verify(&folder.out()).unwrap();
        (quick.is_err(), opened.is_err(), thorough)
    };
    use ShardError as E;
    assert!(matches!(
        broken("train-00000.bin", &|bytes| bytes.truncate(100)),
        (true, true, E::FileSize { got: 100, .. })
    ));
    assert!(matches!(broken("train-00000.bin", &|bytes| bytes[9] ^= 1), (false, false, E::FileHash { .. })));
    assert!(matches!(broken("train-00000.idx", &|bytes| bytes[9] = 2), (true, true, E::Version { got: 2, .. })));
    assert!(matches!(broken("tokenizer.json", &|bytes| bytes.push(b' ')), (true, false, E::FileSize { .. })));
    assert!(matches!(broken("vocab.txt", &|bytes| bytes[1] = b'p'), (false, false, E::FileHash { .. })));

    let manifest = |change: &dyn Fn(&mut serde_json::Value)| {
        broken("manifest.json", &|bytes| {
            let mut value = serde_json::from_slice(bytes).unwrap();
            change(&mut value);
            *bytes = serde_json::to_vec(&value).unwrap();
        })
    };
    assert!(matches!(broken("manifest.json", &|bytes| bytes.truncate(20)), (true, true, E::ManifestJson { .. })));
    assert!(matches!(
        manifest(&|value| value["version"] = 2.into()),
        (true, true, E::ManifestVersion { expected: 1, got: 2, .. })
    ));
    assert!(matches!(
        manifest(&|value| value["shards"][0]["name"] = "train-0/../../x".into()),
        (true, true, E::ManifestName { .. })
    ));
    assert!(matches!(
        manifest(&|value| value["train"]["tokens"] = 7.into()),
        (true, true, E::ManifestCounts { what: "tokens", expected: 7, .. })
    ));
    assert!(matches!(
        manifest(&|value| {
            value["train"]["documents"] = 7.into();
            value["shards"][0]["documents"] = 7.into();
        }),
        (true, true, E::ShardCounts { what: "documents", expected: 7, .. })
    ));
    fs::remove_file(path("train-00000.idx")).unwrap();
    assert!(matches!(Manifest::check(&folder.out()), Err(E::Io { .. })));
}

#[test]
fn tokens_of_another_vocabulary_are_found_when_read() {
    let folder = TestFolder::new();
    run(&folder.usual()).unwrap();
    let path = folder.out().join("train-00000.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..6].copy_from_slice(&5000_u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let set = ShardSet::open(&folder.out(), Split::Train).unwrap();
    let error = set.read_stream(0, &[3], &mut [0; 8]).unwrap_err();
    assert!(matches!(error, ShardError::TokenOutOfVocabulary { position: 2, got: 5000, .. }), "{error}");
}
