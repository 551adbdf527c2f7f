//! The configuration file: what was chosen, with the reasons as comments.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use toml::Value;

use crate::config::TimeBudget;
use crate::model::{ModelConfig, Norm, Preset};
use crate::starter::choice::{Choice, Length, Start};
use crate::starter::size::PhaseTemplate;

/// Fewer steps than this teach little, so a short run has smaller batches.
const FEWEST_STEPS: f64 = 2000.0;
/// Smallest number of sequences of a step.
const SMALLEST_BATCH: usize = 8;
/// Evaluations and checkpoints of a run.
const NUM_POINTS: f64 = 20.0;
/// Lines of its log.
const NUM_LINES: f64 = 200.0;

/// What the file says.
#[derive(Debug)]
pub struct ConfigFile<'a> {
    /// What was chosen, and why.
    pub choice: &'a Choice,
    /// Folder of the shards.
    pub data: PathBuf,
    /// The commands that use the file.
    pub commands: &'a [String],
}

impl ConfigFile<'_> {
    /// The parts of the run, with batches that leave it enough steps.
    fn phases(&self) -> Vec<PhaseTemplate> {
        let mut phases = match self.choice.start {
            Start::New(size) => size.phases().to_vec(),
            Start::From { sequence_length, .. } => {
                vec![PhaseTemplate { until: 1.0, sequence_length, global_batch: 128 }]
            }
        };
        while self.steps(&phases) < FEWEST_STEPS && phases.iter().all(|phase| phase.global_batch / 2 >= SMALLEST_BATCH)
        {
            phases.iter_mut().for_each(|phase| phase.global_batch /= 2);
        }
        phases
    }

    /// Steps, about. All phases have the same number of tokens a step.
    fn steps(&self, phases: &[PhaseTemplate]) -> f64 {
        self.choice.tokens / phases[0].sequence_length as f64 / phases[0].global_batch as f64
    }
}

impl Display for ConfigFile<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for line in &self.choice.findings {
            writeln!(out, "# {line}")?;
        }
        writeln!(out, "# Every key: docs/reference/config.md. Use it with:")?;
        for command in self.commands {
            writeln!(out, "#   {command}")?;
        }
        writeln!(out, "\n[model]")?;
        match &self.choice.start {
            Start::New(size) => model_table(&size.model(), out)?,
            Start::From { init, .. } => writeln!(out, "# The weights and sizes of this model.\ninit = {}", text(init))?,
        }
        let phases = self.phases();
        writeln!(out, "\n[data]\ndir = {}", text(&self.data))?;
        match &phases[..] {
            [only] => writeln!(out, "sequence_length = {}", only.sequence_length)?,
            [first, ..] => {
                writeln!(out, "\n# Short sequences first: they cost less, and a model learns from them sooner.")?;
                writeln!(out, "[[data.phase]]\nuntil = {}\nsequence_length = {}", first.until, first.sequence_length)?;
                writeln!(out, "global_batch = {}", first.global_batch)?;
                for next in &phases[1..] {
                    writeln!(out, "[[data.phase]]\nsequence_length = {}", next.sequence_length)?;
                }
            }
            [] => {}
        }
        writeln!(out, "\n[train]")?;
        match self.choice.length {
            Length::Time(time) => {
                writeln!(out, "# `untie train` measures its steps at the start and does as many as fit.")?;
                writeln!(out, "time = \"{}\"", TimeBudget(time))?;
            }
            Length::Epochs(epochs) => {
                writeln!(
                    out,
                    "# More passes over this text would teach little. They take less than the time asked for."
                )?;
                writeln!(out, "epochs = {epochs}")?;
            }
        }
        let last = phases.last().map_or(SMALLEST_BATCH, |phase| phase.global_batch);
        writeln!(out, "global_batch = {last}")?;
        writeln!(out, "# As many sequences at once as fit into memory.\nmicro_batch = \"auto\"")?;
        writeln!(out, "log_every = {}", round_number(self.steps(&phases) / NUM_LINES))?;
        writeln!(out, "\n[optim]")?;
        match self.choice.start {
            Start::New(size) => writeln!(out, "lr = {:e}\nwarmup = 0.02", size.lr())?,
            Start::From { .. } => writeln!(
                out,
                "# Lower than for a new model, and a slow start: the weights are good already.\nlr = 5e-5\nwarmup = 0.05"
            )?,
        }
        if let Start::New(size) = self.choice.start {
            writeln!(out, "\n# All layers share one set of weights, then each gets its own (docs/method.md).")?;
            writeln!(out, "[sharing]\nstart = \"tied\"\nrule = \"fixed\"\nuntie_at = {}", size.untie_at())?;
        }
        let every = round_number(self.steps(&phases) / NUM_POINTS);
        writeln!(out, "\n[checkpoint]\nevery = {every}\n\n[eval]\nevery = {every}\nsequences = 1024")
    }
}

fn model_table(model: &ModelConfig, out: &mut Formatter<'_>) -> fmt::Result {
    let preset = model.preset.map(|preset| match preset {
        Preset::BertBase => "bert-base",
        Preset::BertLarge => "bert-large",
    });
    let norm = model.norm.map(|norm| match norm {
        Norm::Pre => "pre",
        Norm::Post => "post",
    });
    let strings = [("preset", preset), ("norm", norm)];
    let integers = [
        ("hidden_size", model.hidden_size),
        ("num_hidden_layers", model.num_hidden_layers.map(|layers| layers as i64)),
        ("num_attention_heads", model.num_attention_heads),
        ("max_position_embeddings", model.max_position_embeddings),
    ];
    let numbers = [
        ("initializer_range", model.initializer_range),
        ("hidden_dropout_prob", model.hidden_dropout_prob),
        ("attention_probs_dropout_prob", model.attention_probs_dropout_prob),
    ];
    let given = |name: &'static str, value: Option<Value>| value.map(|value| (name, value));
    let keys = strings
        .into_iter()
        .filter_map(|(name, value)| given(name, value.map(Value::from)))
        .chain(integers.into_iter().filter_map(|(name, value)| given(name, value.map(Value::from))))
        .chain(numbers.into_iter().filter_map(|(name, value)| given(name, value.map(Value::from))));
    for (name, value) in keys {
        writeln!(out, "{name} = {value}")?;
    }
    Ok(())
}

/// A path as a TOML string.
fn text(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}

/// The largest of 1, 2, 5, 10, 20, 50, … that is at most `number`; at least 10.
fn round_number(number: f64) -> u64 {
    let mut power = 10;
    while (power * 10) as f64 <= number {
        power *= 10;
    }
    [5, 2].into_iter().map(|digit| digit * power).find(|&round| round as f64 <= number).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use std::time::Duration;

    use crate::starter::size::Size;

    fn choice(start: Start, tokens: f64) -> Choice {
        let length = Length::Time(Duration::from_secs(3600));
        Choice { start, vocab_size: 8, held_out: 0.01, length, tokens, findings: vec!["found".into()] }
    }

    fn file(choice: &Choice) -> ConfigFile<'_> {
        ConfigFile { choice, data: "data/\"own\"".into(), commands: &[] }
    }

    fn load(file: &ConfigFile<'_>) -> RunConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        std::fs::write(&path, file.to_string()).unwrap();
        RunConfig::load(&path, &[]).unwrap_or_else(|error| panic!("{}\n{file}", error.report()))
    }

    #[test]
    fn every_size_is_a_configuration_with_its_values() {
        for size in Size::ALL {
            let config = load(&file(&choice(Start::New(size), 1e12)));
            assert_eq!(config.model, size.model());
            assert_eq!(config.data.dir, PathBuf::from("data/\"own\""));
            assert_eq!(config.optim.lr, size.lr());
            let sharing = serde_json::to_value(&config.sharing).unwrap();
            assert_eq!((&sharing["start"], sharing["untie_at"].as_f64()), (&"tied".into(), Some(size.untie_at())));
            let [first, last] = size.phases();
            let phases: Vec<_> =
                config.data.phase.iter().map(|phase| (phase.sequence_length, phase.global_batch)).collect();
            assert_eq!(phases, [(first.sequence_length, Some(first.global_batch)), (last.sequence_length, None)]);
            assert_eq!(config.train.global_batch, last.global_batch);
            // So the count of steps is right in both.
            assert_eq!(first.sequence_length * first.global_batch, last.sequence_length * last.global_batch);
        }
    }

    #[test]
    fn a_model_is_continued_untied() {
        let start = Start::From { init: "models/bert".into(), sequence_length: 64 };
        let tables: toml::Table = file(&choice(start, 1e12)).to_string().parse().unwrap();
        assert_eq!(tables["model"]["init"].as_str(), Some("models/bert"));
        let sizes = [&tables["data"]["sequence_length"], &tables["train"]["global_batch"]];
        assert_eq!(sizes.map(Value::as_integer), [Some(64), Some(128)]);
        assert!(!tables.contains_key("sharing"));
    }

    #[test]
    fn short_runs_have_small_batches_and_enough_points() {
        // 3.2 M tokens are 97 steps of 256 · 128, and 3,125 of 8 · 128; the second phase has a quarter of the sequences.
        let short = choice(Start::New(Size::Base), 3.2e6);
        let short = file(&short);
        let phases = short.phases();
        assert_eq!([phases[0].global_batch, phases[1].global_batch], [32, 8]);
        let config = load(&short);
        assert_eq!((config.checkpoint.every, config.eval.every), (20, 20));
        assert_eq!(
            [4.0, 10.0, 19.9, 20.0, 57.0, 499.0, 500.0, 1234.0].map(round_number),
            [10, 10, 10, 20, 50, 200, 500, 1000]
        );
    }
}
