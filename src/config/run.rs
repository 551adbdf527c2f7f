//! One run's configuration: every room's table, read from TOML, changed by `--set`, and checked as a whole.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::{DataConfig, Objective};
use crate::checkpoint::CheckpointConfig;
use crate::config::length::{exactly_one, LENGTHS, OPEN};
use crate::config::read::{apply_all, made, read};
use crate::config::{EvalConfig, GuardConfig, Phases, TrainConfig};
use crate::error::{Error, Result};
use crate::growth::{rule_of, GrowthConfig, Rule, SharingConfig};
use crate::hub;
use crate::keys::{classes, keep_known, Keys};
use crate::metrics::MetricsConfig;
use crate::model::{BertConfig, ModelConfig};
use crate::optim::OptimConfig;
use crate::parallel::ParallelConfig;

/// All tables of a configuration file. A missing table or key has its default, but one of `train.steps`, `train.epochs` and
/// `train.time` must be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Sizes of the model.
    pub model: ModelConfig,
    /// Where tokens come from.
    pub data: DataConfig,
    /// Length, batch, precision, device.
    pub train: TrainConfig,
    /// AdamW and its schedule.
    pub optim: OptimConfig,
    /// Tying and untying.
    pub sharing: SharingConfig,
    /// Changes of depth; left out of what is written where there are none.
    #[serde(skip_serializing_if = "GrowthConfig::is_unset")]
    pub growth: GrowthConfig,
    /// When to save, and what to keep.
    pub checkpoint: CheckpointConfig,
    /// Evaluation on held-out text.
    pub eval: EvalConfig,
    /// What is recorded.
    pub metrics: MetricsConfig,
    /// Skipped updates and spikes of the loss.
    pub guard: GuardConfig,
    /// Several processes.
    pub parallel: ParallelConfig,
}

classes! { RunConfig {} with model: ModelConfig, data: DataConfig, train: TrainConfig, optim: OptimConfig, sharing: SharingConfig, growth: GrowthConfig,
checkpoint: CheckpointConfig, eval: EvalConfig, metrics: MetricsConfig, guard: GuardConfig,
parallel: ParallelConfig }

impl RunConfig {
    /// Reads `path` and applies `settings`, each `table.key=value` with a TOML value (a bare word is a string).
    ///
    /// Where the run asks for time or epochs, its steps are [`OPEN`] until they are decided.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a value of the wrong type, a length that is missing or given twice, and
    /// what [`Self::validate`] refuses.
    pub fn load(path: &Path, settings: &[String]) -> Result<Self> {
        let mut table = read::<Self>(path)?;
        if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
            // A length that is given takes the place of the file's, of whichever kind.
            let named =
                |key: &str| settings.iter().any(|of| of.split_once('=').is_some_and(|(name, _)| name.trim() == key));
            if LENGTHS.iter().any(|length| named(&format!("train.{length}"))) {
                train.retain(|key, _| !LENGTHS.contains(&key) && key != "steps_from");
            }
        }
        let table = apply_all::<Self>(table, settings)?;
        let set = table.get("train").and_then(toml::Value::as_table);
        exactly_one(set.into_iter().flatten().map(|(key, _)| key.as_str()))?;
        let mut config: Self = made(table)?;
        if config.train.asked().is_some() {
            config.train.steps = OPEN;
        }
        config.resolve()?;
        config.validate()?;
        Ok(config)
    }

    /// The tables that a checkpoint holds, which another version of untie may have written: keys that this one does not have are left
    /// out, those that it lacks have their defaults.
    ///
    /// # Errors
    /// A value that this version does not read.
    pub fn of_another_version(mut tables: Value) -> Result<Self> {
        keep_known(&mut tables, Self::CLASSES);
        serde_json::from_value(tables)
            .map_err(|error| Error::data("the checkpoint's configuration cannot be read").caused_by(error))
    }

    /// Decides the keys that depend on others: the sizes of the model that `model.init` names, and how layers start.
    fn resolve(&mut self) -> Result<()> {
        if let Some(dir) = &self.model.init {
            // The config.toml of a run has all sizes: the run goes on where the model is gone by now.
            if dir.exists() || !self.model.is_complete() {
                let found = hub::load_config(dir)
                    .map_err(|error| Error::data("`model.init` names no model to start from").caused_by(error))?;
                self.model.adopt(&found)?;
            }
        }
        self.growth.resolve(&mut self.sharing);
        self.sharing.resolve(self.model.init.is_some())
    }

    /// Checks every table that can be checked without the data.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self) -> Result<()> {
        // The vocabulary does not matter to the other sizes.
        let sizes = self.model.resolve(1)?;
        self.data.validate()?;
        self.train.validate()?;
        self.optim.validate(self.train.steps)?;
        self.sharing.validate(sizes.num_hidden_layers, self.train.steps)?;
        self.sharing.validate_init(sizes.num_hidden_layers, self.model.init.is_some())?;
        self.growth.validate(&self.sharing, sizes.num_hidden_layers, self.train.steps, self.model.init.is_some())?;
        self.checkpoint.validate()?;
        self.eval.validate()?;
        self.guard.validate()?;
        self.parallel.validate()?;
        let longest = [("data", Phases::new(&self.data, &self.train)?.longest_sequence())];
        let held_out = self.eval.sequence_length.map(|length| ("eval", length));
        if let Some((_, length)) = held_out {
            let data = DataConfig { sequence_length: length, ..self.data.clone() };
            data.validate()
                .map_err(|error| Error::config("`eval.sequence_length` is not possible").caused_by(error))?;
        }
        let too_long = |&(_, length): &(_, usize)| length as i64 > sizes.max_position_embeddings;
        if let Some((table, length)) = longest.into_iter().chain(held_out).find(too_long) {
            return Err(Error::config(format!(
                "`{table}.sequence_length` = {length} is longer than `model.max_position_embeddings` = {}",
                sizes.max_position_embeddings
            ))
            .hint(match self.model.init {
                Some(_) => "shorten the sequences: the model of `model.init` has no more positions",
                None => "raise `model.max_position_embeddings` or shorten the sequences",
            }));
        }
        if self.data.objective != Objective::Mlm && sizes.type_vocab_size < 2 {
            return Err(Error::config("`data.objective` has pairs of segments, but `model.type_vocab_size` = 1")
                .hint("train with `data.objective = \"mlm\"`, or a model with two segment types"));
        }
        Ok(())
    }

    /// What changes the shape of a model of `num_layers` layers, before the first step.
    ///
    /// # Errors
    /// A pattern of sharing or groups that do not fit `num_layers`.
    pub fn rule(&self, num_layers: usize) -> Result<Box<dyn Rule>> {
        rule_of(&self.sharing, &self.growth, num_layers, self.train.steps, self.train.seed)
    }

    /// The model's sizes for a tokenizer of `vocab_size` tokens, with the heads that the objective needs.
    ///
    /// # Errors
    /// As [`ModelConfig::resolve`].
    pub fn bert(&self, vocab_size: usize) -> Result<BertConfig> {
        let pair_head = self.data.objective != Objective::Mlm;
        Ok(BertConfig { pair_head, ..self.model.resolve(vocab_size)? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::batch::phase::PhaseConfig;
    use crate::batch::CorpusConfig;
    use crate::config::length::{Asked, TimeBudget};
    use crate::growth::RunPoint;
    use crate::keys::{assert_names, class_of, Class, Keys};

    const SMALL: &str =
        "[train]\nsteps = 1000\n[model]\nhidden_size = 8\nnum_hidden_layers = 2\nnum_attention_heads = 2\n";

    fn load(text: &str, settings: &[&str]) -> Result<RunConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        RunConfig::load(&path, &settings.iter().map(|&setting| setting.into()).collect::<Vec<String>>())
    }

    #[test]
    fn every_key_has_its_class_under_the_name_in_files() {
        assert_names::<RunConfig>();
        assert_names::<ModelConfig>();
        assert_names::<DataConfig>();
        assert_names::<CorpusConfig>();
        assert_names::<PhaseConfig>();
        assert_names::<TrainConfig>();
        assert_names::<OptimConfig>();
        assert_names::<SharingConfig>();
        assert_names::<CheckpointConfig>();
        assert_names::<EvalConfig>();
        assert_names::<MetricsConfig>();
        assert_names::<GuardConfig>();
        assert_names::<ParallelConfig>();
    }

    /// What a resume, a table and a sweep must know of a run, key by key; the rest is identity.
    #[test]
    fn keys_that_are_not_identity_are_these() {
        let of = |class: Class| -> Vec<String> {
            let tables = RunConfig::CLASSES.iter().flat_map(|(name, table)| match table {
                Class::Table(keys) => keys.iter().map(|(key, class)| (format!("{name}.{key}"), *class)).collect(),
                _ => Vec::new(),
            });
            tables.filter(|(_, found)| *found == class).map(|(key, _)| key).collect()
        };
        assert_eq!(of(Class::Order), ["data.objective", "train.global_batch"]);
        assert_eq!(
            of(Class::Open),
            ["train.steps", "train.epochs", "train.time", "eval.sequences", "eval.sequence_length", "parallel.wire"]
        );
        let placement =
            "data.dir data.tokenizer data.workers data.verify train.micro_batch train.deterministic train.device \
                         train.threads train.kernels train.activation_checkpointing parallel.backend parallel.overlap \
                         parallel.timeout parallel.heartbeat";
        assert_eq!(of(Class::Placement).join(" "), placement);
        let observation =
            "train.steps_from train.log_every sharing.monitor checkpoint.every checkpoint.keep_last checkpoint.keep_every \
                           checkpoint.background checkpoint.on_error eval.every metrics.tensorboard guard.max_skipped \
                           guard.spike guard.spike_window guard.spike_threshold guard.spike_patience \
                           guard.rollback_checkpoints guard.max_rollbacks";
        assert_eq!(of(Class::Observation).join(" "), observation);
        let class = |key: &str| class_of(RunConfig::CLASSES, key);
        assert_eq!(class("data.phase.1.micro_batch"), Class::Placement);
        assert_eq!(class("data.phase.1.until"), Class::Order);
        assert_eq!((class("data.corpus.0.dir"), class("data.corpus.0.weight")), (Class::Placement, Class::Order));
    }

    #[test]
    fn settings_replace_the_file_and_bare_words_are_strings() {
        let config = load(SMALL, &["optim.lr=1e-3", "sharing.start=untied", "sharing.rule=never", "model.norm=pre"]);
        let config = config.unwrap();
        assert_eq!(config.optim.lr, 1e-3);
        assert_eq!(config.sharing.start_map(2).unwrap().num_groups(), 2);
    }

    #[test]
    fn settings_reach_tables_inside_tables() {
        let config = load(SMALL, &["growth.rule=expand", "growth.expand.at=10"]).unwrap();
        assert_eq!(config.growth.expand.at, RunPoint::Step(10));
        let walk = |config: &RunConfig| config.rule(2).unwrap().course(1000)[0].1.num_layers();
        assert_eq!((walk(&config), walk(&load(SMALL, &[]).unwrap())), (1, 2));
        for (settings, words) in [
            (["growth.rule=expand", "growth.expand.to=10"], "unknown field `to`"),
            (["growth.rule=stack", "sharing.rule=fixed"], "`growth.rule` and `sharing.rule` are both set"),
            (["growth.rule=expand", "growth.rule.at=10"], "expected `table.key=value`"),
        ] {
            let report = load(SMALL, &settings).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }

    /// A key of a later version, in a table and in a list of tables; and one that this version knows and the checkpoint does not.
    #[test]
    fn tables_of_another_version_are_read() {
        let tables = serde_json::json!({
            "train": { "steps": 7, "warp": 9 },
            "data": { "phase": [{ "sequence_length": 16, "weft": 1 }] },
            "loom": {},
        });
        let config = RunConfig::of_another_version(tables).unwrap();
        assert_eq!((config.train.steps, config.data.phase[0].sequence_length), (7, 16));
        assert_eq!(config.optim, OptimConfig::default());
        let report =
            RunConfig::of_another_version(serde_json::json!({ "train": { "steps": "x" } })).unwrap_err().report();
        assert!(report.contains("the checkpoint's configuration cannot be read"), "{report}");
    }

    #[test]
    fn exactly_one_length_is_taken() {
        let asked = |text: &str, settings: &[&str]| load(text, settings).map(|config| config.train.asked());
        let open = SMALL.replace("steps = 1000", "time = \"5m\"");
        let minutes = |minutes: u64| Some(Asked::Time(TimeBudget(Duration::from_secs(60 * minutes))));
        assert_eq!(asked(SMALL, &[]).unwrap(), None);
        assert_eq!(asked(&open, &[]).unwrap(), minutes(5));
        // A flag takes the place of whatever the file says.
        assert_eq!(asked(&open, &["train.steps=7"]).unwrap(), None);
        assert_eq!(load(&open, &["train.steps=7", "optim.warmup=2"]).unwrap().train.steps, 7);
        assert_eq!(asked(SMALL, &["train.time=04:00:00"]).unwrap(), minutes(240));
        assert_eq!(asked(&open, &["train.epochs=3"]).unwrap(), Some(Asked::Epochs(3.0)));
        let recorded = SMALL.replace("steps = 1000", "steps = 1000\nsteps_from = \"time 5m\"");
        let train = |settings: &[&str]| load(&recorded, settings).unwrap().train;
        assert_eq!((train(&[]).steps, train(&[]).steps_from.as_deref()), (1000, Some("time 5m")));
        assert_eq!((train(&["train.steps=7"]).steps, train(&["train.steps=7"]).steps_from), (7, None));
        for (text, settings, words) in [
            (SMALL.replace("steps = 1000", "seed = 1"), &[][..], "found none"),
            (SMALL.replace("[train]\nsteps = 1000", ""), &[], "found none"),
            (open.replace("[model]", "steps = 3\n[model]"), &[], "found `train.steps` and `train.time`"),
            (SMALL.into(), &["train.steps=3", "train.time=5m"], "found `train.steps` and `train.time`"),
            (SMALL.into(), &["train.epochs=-1"], "`train.epochs` must be finite and above 0, got -1"),
            (SMALL.into(), &["train.time=5"], "a time with its unit"),
            (SMALL.into(), &["train.time=5x"], "got `5x`"),
            (
                open.clone() + "[[data.phase]]\nuntil = 500\nsequence_length = 16",
                &[],
                "end at step 500, and `train.time` = 5m leaves the end of the run open",
            ),
        ] {
            let report = load(&text, settings).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, settings, words) in [
            ("[train]\nstep = 3\n", &[][..], "unknown field `step`"),
            ("[trian]\n", &[], "unknown field `trian`"),
            ("[train]\nsteps = \"many\"\n", &[], "invalid type"),
            (SMALL, &["train.stepz=3"], "unknown field `stepz`"),
            (SMALL, &["steps=3"], "expected `table.key=value`"),
            (SMALL, &["model.num_attention_heads=3"], "not divisible"),
            (SMALL, &["data.sequence_length=1024"], "longer than `model.max_position_embeddings`"),
            (SMALL, &["eval.sequence_length=1024"], "`eval.sequence_length` = 1024 is longer than"),
            (SMALL, &["eval.sequence_length=2"], "`eval.sequence_length` is not possible"),
            (SMALL, &["sharing.start=2x2"], "does not fit"),
            (SMALL, &["train.precision=fp8"], "unknown variant `fp8`"),
            (SMALL, &["optim.warmup=1.5"], "`optim.warmup`"),
            (SMALL, &["data.objective=mlm+nsp", "model.type_vocab_size=1"], "`model.type_vocab_size` = 1"),
            (SMALL, &["model.init=nowhere"], "`model.init` names no model to start from: `nowhere` holds no model"),
            (SMALL, &["sharing.init=mean"], "`sharing.init` needs `model.init`"),
            (SMALL, &["sharing.init=highest"], "unknown variant `highest`"),
        ] {
            let report = load(text, settings).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
