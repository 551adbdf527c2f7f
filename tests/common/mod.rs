//! What the tests of the binary share: a small corpus, its shards, a small configuration, and calls of `untie`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with shards in `data/` and a configuration in `run.toml`.
pub struct TestWorkspace {
    folder: tempfile::TempDir,
}

impl TestWorkspace {
    /// Sixty documents of made-up sentences, from a fixed recipe.
    pub fn new() -> Self {
        let workspace = Self { folder: tempfile::tempdir().unwrap() };
        let subjects = ["the miller", "a captain", "her brother", "the old clerk", "our cook", "a fox", "the queen"];
        let verbs = ["counted", "carried", "painted", "forgot", "mended", "followed", "sold", "hid"];
        let objects = ["seven coins", "the red boat", "a letter", "the clock", "two lamps", "the garden", "a bell"];
        let mut lines = String::new();
        for document in 0..60_usize {
            let sentence = |at: usize| {
                let pick = |list: &[&'static str], step: usize| {
                    list[(document * step + at * (step + 3) + at * at) % list.len()]
                };
                format!("{} {} {} .", pick(&subjects, 5), pick(&verbs, 3), pick(&objects, 11))
            };
            let text: Vec<String> = (0..20).map(sentence).collect();
            lines.push_str(&serde_json::json!({ "text": text.join(" ") }).to_string());
            lines.push('\n');
        }
        fs::write(workspace.path("corpus.jsonl"), lines).unwrap();
        let output = workspace.untie(&[
            "prepare",
            "--input",
            "corpus.jsonl",
            "--out",
            "data",
            "--vocab-size",
            "150",
            "--valid-fraction",
            "0.1",
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::write(workspace.path("run.toml"), CONFIG).unwrap();
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// `untie` with these arguments, run in the workspace's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_untie"));
        command.args(arguments).current_dir(self.root()).env("OMP_NUM_THREADS", "1");
        command
    }

    pub fn untie(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CONFIG: &str = r#"
[model]
hidden_size = 32
num_hidden_layers = 3
num_attention_heads = 2
max_position_embeddings = 32

[data]
dir = "data"
sequence_length = 32

[train]
steps = 100
global_batch = 8
micro_batch = 4
deterministic = true
threads = 1
log_every = 1
device = "cpu"

[optim]
lr = 1e-3
warmup = 10

[checkpoint]
every = 20

[eval]
every = 25
sequences = 16
"#;
