//! What the tests of `untie table` share: configurations, run folders and results that are made up, and the cells of a
//! table.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::common::stderr;
use serde_json::Value;
use tch::{Device, Kind};
use untie::checkpoint::{self, DataFingerprint, RunState, Totals, Untying, FORMAT};
use untie::config::RunConfig;
use untie::layer_map::LayerMap;
use untie::metrics::results::{append, file_hash, ResultRow};
use untie::model::Weights;
use untie::optim::Moments;
use untie::step::Precision;

/// Two layers of 8 features: 10 steps for half, 20 for the baseline.
const CONFIG: &str = r#"
[model]
hidden_size = 8
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 16

[data]
sequence_length = 16

[train]
steps = 10
global_batch = 4
micro_batch = 2

[optim]
lr = 1e-3
warmup = 1
"#;

/// A folder with `configs/` for table 1 and, one by one, `runs/`.
pub struct RunsFixture {
    pub folder: tempfile::TempDir,
}

/// What a made-up run is; starts as what its row expects.
pub struct FakeRun {
    pub config: RunConfig,
    pub step: u64,
    pub accuracy: Option<f64>,
    pub untying: Vec<Untying>,
    pub data: DataFingerprint,
    pub samples_skipped: u64,
}

impl RunsFixture {
    pub fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(fixture.path("configs")).unwrap();
        fs::create_dir_all(fixture.path("runs")).unwrap();
        for (name, settings) in [
            ("baseline", "start = \"untied\"\nrule = \"never\""),
            ("baseline-half", "start = \"untied\"\nrule = \"never\""),
            ("swe-f", "rule = \"fixed\"\nuntie_at = 2"),
            ("swe-a", "rule = \"adaptive\"\ncheck_every = 2"),
            ("swe-m", "rule = \"multi_step\"\ncheck_every = 2"),
        ] {
            let steps = if name == "baseline" { "steps = 20" } else { "steps = 10" };
            let text = format!("{}\n[sharing]\n{settings}\n", CONFIG.replace("steps = 10", steps));
            fs::write(fixture.config(name), text).unwrap();
        }
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self, name: &str) -> PathBuf {
        self.path(&format!("configs/{name}.toml"))
    }

    /// The run `name`, finished; `change` makes it something else.
    pub fn run(&self, name: &str, change: impl FnOnce(&mut FakeRun)) {
        let mut config = RunConfig::load(&self.config(name), &[]).unwrap();
        config.train.precision = Precision::Bf16;
        let step = config.train.steps;
        let data = DataFingerprint { vocabulary: "v1".into(), shards: "d1".into() };
        let mut fake = FakeRun { config, step, accuracy: Some(0.25), untying: Vec::new(), data, samples_skipped: 0 };
        change(&mut fake);
        let run_dir = self.path("runs").join(name);
        fs::create_dir_all(run_dir.join("export")).unwrap();
        fs::write(run_dir.join("export/model.safetensors"), format!("the weights of {name}")).unwrap();
        let bert = fake.config.bert(100).unwrap();
        let layer_map = LayerMap::untied(2);
        let weights = Weights::initialise(&bert, &layer_map, 1, Kind::Float, Device::Cpu).unwrap();
        let mut moments = Moments::zeros(&weights).unwrap();
        moments.num_updates = fake.step;
        let state = RunState {
            format: FORMAT,
            step: fake.step,
            layer_map,
            num_updates: fake.step,
            scaler: None,
            samples_consumed: 4 * fake.step,
            samples_skipped: fake.samples_skipped,
            guard: Value::Null,
            rule: Value::Null,
            config: serde_json::to_value(&fake.config).unwrap(),
            totals: Totals { wall_seconds: 5400.0, tokens: 64 * fake.step, ..Default::default() },
            environment: BTreeMap::new(),
            untying: fake.untying,
            data: fake.data,
            bert,
            schedule_start: 0,
            frozen: Vec::new(),
            remembered: None,
        };
        checkpoint::save(&run_dir, &state, &weights, &moments, None, &fake.config.checkpoint).unwrap();
        let mut metrics = String::from("{\"step\":0,\"sharing/groups\":1}\n{\"step\":5,\"eval/mlm_accuracy\":0.9}\n");
        if let Some(accuracy) = fake.accuracy {
            metrics += &format!("{{\"step\":{},\"eval/mlm_accuracy\":{accuracy}}}\n", fake.step);
        }
        fs::write(run_dir.join("metrics.jsonl"), metrics).unwrap();
    }

    pub fn results(&self, name: &str, task: &str) -> PathBuf {
        let folder = self.path("runs").join(name).join("finetune").join(task);
        fs::create_dir_all(&folder).unwrap();
        folder.join("results.jsonl")
    }

    /// Rows of results for the export of `name`: (learning rate, seed, score), changed by `change`.
    pub fn tune(
        &self,
        name: &str,
        task: &str,
        score: &str,
        found: &[(f64, u64, f64)],
        change: impl Fn(ResultRow) -> ResultRow,
    ) {
        let export = self.path("runs").join(name).join("export/model.safetensors");
        for &(lr, seed, value) in found {
            let row = ResultRow {
                task: task.into(),
                model: format!("runs/{name}/export"),
                model_hash: file_hash(&export).unwrap(),
                lr,
                seed,
                epochs: 3.0,
                batch: 32,
                max_length: 128,
                precision: "bf16".into(),
                steps: 100,
                tokens: 12_800,
                wall_seconds: 10.0,
                config_hash: "c".into(),
                scores: BTreeMap::from([(score.into(), value)]),
                untie: "0.1.0".into(),
            };
            append(&self.results(name, task), &change(row)).unwrap();
        }
    }

    pub fn untie(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_untie"));
        command.arg("table").args(arguments).current_dir(&self.folder).output().unwrap()
    }

    /// Table 1 of `runs/` in some format.
    pub fn table(&self, format: &str) -> String {
        let output = self.untie(&["1", "--runs", "runs", "--configs", "configs", "--format", format]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The cells of table 1: (run, column) → paper, ours, sd, n, learning rate, note.
    pub fn cells(&self) -> BTreeMap<(String, String), [String; 6]> {
        let text = self.table("csv");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("table,row,run,column,paper,ours,sd,n,learning_rate,note"));
        lines.map(|line| cell(&fields(line))).collect()
    }

    /// The note that stands in the place of a number.
    pub fn note(&self, run: &str, column: &str) -> String {
        let cells = self.cells();
        let [_, ours, deviation, _, _, note] = &cells[&(run.into(), column.into())];
        assert!(ours.is_empty() && deviation.is_empty(), "{run}, {column}: shows `{ours}`");
        note.clone()
    }

    pub fn ours(&self, run: &str, column: &str) -> String {
        self.cells()[&(run.to_owned(), column.to_owned())][1].clone()
    }
}

pub fn cell(fields: &[String]) -> ((String, String), [String; 6]) {
    assert_eq!((fields.len(), fields[0].as_str()), (10, "1"), "{fields:?}");
    ((fields[2].clone(), fields[3].clone()), fields[4..].to_vec().try_into().unwrap())
}

/// The fields of a line of CSV (RFC 4180, no line ends inside).
pub fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

/// A table with every kind of cell: shown, of one seed and of three, and each reason for a dash.
pub fn mixed() -> RunsFixture {
    let fixture = RunsFixture::new();
    let keep = |row| row;
    fixture.run("baseline", |_| ());
    // By hand: mean 0.75, squares of ±0.05 sum to 0.005, by n − 1 = 2: 0.0025, the root 0.05.
    let sst2 = [(1e-5, 1, 0.70), (1e-5, 2, 0.80), (1e-5, 3, 0.75), (2e-5, 1, 0.90), (2e-5, 2, 0.60), (2e-5, 3, 0.72)];
    fixture.tune("baseline", "sst2", "dev/accuracy", &sst2, keep);
    fixture.tune("baseline", "rte", "dev/accuracy", &[(1e-4, 1, 0.5625)], keep);
    fixture.run("swe-f", |fake| fake.step = 3);
    fixture.tune("swe-f", "sst2", "dev/accuracy", &sst2, keep);
    fixture.run("swe-a", |fake| (fake.config.optim.lr, fake.config.train.seed) = (2e-3, 43));
    fixture.tune("swe-a", "sst2", "dev/accuracy", &sst2, keep);
    fixture.run("swe-m", |fake| {
        fake.accuracy = Some(0.3125);
        fake.untying = vec![Untying { step: 4, groups: 2, mlm_accuracy: 0.1, layers: None }];
    });
    fixture.tune("swe-m", "sst2", "dev/accuracy", &sst2, |row| ResultRow { model_hash: "0f".repeat(16), ..row });
    fixture.tune("swe-m", "rte", "dev/accuracy", &[(1e-4, 1, 0.5), (2e-4, 1, 0.5)], keep);
    let path = fixture.results("swe-m", "rte");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"seed\":1", "\"seed\":x", 1)).unwrap();
    fixture
}
