//! What is fuzzed: every parser of something that comes from outside, as a function of bytes. An error is fine; a panic, an
//! allocation from an unchecked number or a read out of bounds is not.
//!
//! Used by the targets of cargo-fuzz in this folder, and by `tests/tools/fuzz_corpus.rs`, which runs the corpus as ordinary tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use untie::batch::samples::Vocabulary;
use untie::config::RunConfig;
use untie::finetune::{glue, squad, Task};
use untie_data::corpus::{CorpusFile, Format, ReaderOptions};
use untie_data::manifest::Manifest;
use untie_data::shard::{Shard, Split};
use untie_data::wordpiece;

/// A parser under test.
pub type Target = fn(&[u8]);

/// Every target, by its name; `corpus/NAME/` has its inputs.
pub const TARGETS: [(&str, Target); 10] = [
    ("shard", shard),
    ("manifest", manifest),
    ("checkpoint", checkpoint),
    ("safetensors", safetensors),
    ("tokenizer", tokenizer),
    ("config", config),
    ("glue", glue_rows),
    ("squad", squad_questions),
    ("mediawiki", mediawiki),
    ("compressed", compressed),
];

/// A folder in memory where one can be made, that is gone afterwards.
fn with_folder(run: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    run(folder.expect("a temporary folder").path());
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file in a temporary folder");
}

/// Two lengths of two bytes say where the index ends and where what is asked begins.
pub fn shard(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let (index, tokens) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    with_folder(|folder| {
        write(&folder.join("train-00000.idx"), index);
        write(&folder.join("train-00000.bin"), tokens);
        let Ok(shard) = Shard::open(&folder.join("train-00000")) else { return };
        for number in (0..shard.num_sequences().min(8)).chain([shard.num_sequences(), u64::MAX]) {
            let _ = (shard.sequence(number), shard.sequence_start(number), shard.sequence_length(number));
        }
        for number in (0..shard.num_documents().min(8)).chain([shard.num_documents(), u64::MAX]) {
            let _ = (shard.document_start(number), shard.document_sequences(number));
        }
        let mut out = [0; 16];
        for start in [0, shard.num_tokens().saturating_sub(8), shard.num_tokens(), u64::MAX] {
            let _ = shard.read_tokens(start, &mut out);
        }
    });
}

/// `manifest.json` of a folder without shards.
pub fn manifest(input: &[u8]) {
    with_folder(|folder| {
        write(&folder.join("manifest.json"), input);
        if let Ok(manifest) = Manifest::load(folder) {
            let _ = (manifest.counts(Split::Train), manifest.open_shards(folder, Split::Train));
        }
        let _ = Manifest::verify(folder);
    });
}

/// `state.json` whose checksums are right.
pub fn checkpoint(input: &[u8]) {
    with_folder(|folder| {
        let files = BTreeMap::from([("state.json", input), ("model.safetensors", b""), ("optimizer.safetensors", b"")]);
        for (name, bytes) in &files {
            write(&folder.join(name), bytes);
        }
        write(&folder.join("checksums.json"), checksums(&files).as_bytes());
        let _ = untie::checkpoint::load_state(folder);
        let _ = untie::checkpoint::load(folder, tch::Kind::Float, tch::Device::Cpu);
        // The checksums themselves.
        write(&folder.join("checksums.json"), input);
        let _ = untie::checkpoint::verify(folder);
    });
}

fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

fn checksums(files: &BTreeMap<&str, &[u8]>) -> String {
    let checksums: BTreeMap<&str, serde_json::Value> = files
        .iter()
        .map(|(name, bytes)| (*name, serde_json::json!({ "bytes": bytes.len(), "xxh3": hash(bytes) })))
        .collect();
    // The list's own hash is that of its JSON.
    let list = serde_json::to_string(&checksums).expect("a map has a JSON form");
    serde_json::json!({ "files": checksums, "xxh3": hash(list.as_bytes()) }).to_string()
}

const TINY: &str = r#"{"architectures":["BertForMaskedLM"],"model_type":"bert","hidden_size":4,"num_hidden_layers":1,
"num_attention_heads":1,"intermediate_size":4,"max_position_embeddings":4,"type_vocab_size":2,"vocab_size":6,"hidden_act":"gelu",
"hidden_dropout_prob":0.1,"attention_probs_dropout_prob":0.1,"layer_norm_eps":1e-12,"initializer_range":0.02}"#;

/// `model.safetensors` of a tiny model, then `config.json` beside an empty one.
pub fn safetensors(input: &[u8]) {
    with_folder(|folder| {
        write(&folder.join("config.json"), TINY.as_bytes());
        write(&folder.join("model.safetensors"), input);
        let _ = untie::hub::load(folder, tch::Kind::Float, tch::Device::Cpu);
        write(&folder.join("config.json"), input);
        let _ = untie::hub::load_config(folder);
    });
}

/// As tokenizer.json, and as vocab.txt.
pub fn tokenizer(input: &[u8]) {
    with_folder(|folder| {
        for name in ["tokenizer.json", "vocab.txt"] {
            write(&folder.join(name), input);
            let _ = wordpiece::open(&folder.join(name), true).map(Vocabulary::new);
        }
    });
}

/// A configuration, and its text as a `--set`.
pub fn config(input: &[u8]) {
    with_folder(|folder| {
        let path = folder.join("run.toml");
        write(&path, input);
        let _ = RunConfig::load(&path, &[]);
        write(&path, b"");
        let _ = RunConfig::load(&path, &[String::from_utf8_lossy(input).into_owned()]);
    });
}

/// Every set of the task that the first byte names.
pub fn glue_rows(input: &[u8]) {
    const TASKS: [Task; 10] = [
        Task::Cola,
        Task::Sst2,
        Task::Mrpc,
        Task::Stsb,
        Task::Qqp,
        Task::Mnli,
        Task::Qnli,
        Task::Rte,
        Task::Wnli,
        Task::Ax,
    ];
    let Some((&first, text)) = input.split_first() else { return };
    let task = TASKS[usize::from(first) % TASKS.len()];
    with_folder(|folder| {
        for name in ["train", "dev", "test", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched", "AX"] {
            write(&folder.join(format!("{name}.tsv")), text);
        }
        for split in [glue::Split::Train, glue::Split::Dev, glue::Split::Test] {
            let _ = glue::read(task, folder, split);
        }
    });
}

/// Both versions, to train on and to score.
pub fn squad_questions(input: &[u8]) {
    with_folder(|folder| {
        let path = folder.join("train.json");
        write(&path, input);
        for version in [squad::Version::V1, squad::Version::V2] {
            for split in [squad::Split::Train, squad::Split::Dev] {
                let _ = squad::read(&path, version, split);
            }
        }
    });
}

/// A dump, each page cleaned of its markup.
pub fn mediawiki(input: &[u8]) {
    with_folder(|folder| read(&folder.join("dump.xml"), Format::Mediawiki, input));
}

/// Plain text in the compression that the first byte names.
pub fn compressed(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    let suffix = ["gz", "bz2", "zst", "xz", "lz4", "lzma"][usize::from(first) % 6];
    with_folder(|folder| read(&folder.join(format!("text.txt.{suffix}")), Format::Text, bytes));
}

fn read(path: &Path, format: Format, bytes: &[u8]) {
    // A few bytes may stand for gigabytes of text: enough of it is read.
    const RECORDS: usize = 64;
    write(path, bytes);
    let options = ReaderOptions::default();
    let Some(file) = CorpusFile::new(path, format) else { return };
    let Ok(records) = file.read(&options, 2, |_| ()) else { return };
    let reader = file.reader(&options);
    for record in records.take(RECORDS).flatten() {
        if let untie_data::corpus::Record::Document(document) = record {
            let _ = reader.finish(document);
        }
    }
}
