//! `state.json`: where a run stands, besides its tensors.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksums::read_small;
use super::STATE_FILE;
use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::BertConfig;
use crate::optim::ScalerState;

/// The version of the checkpoint format that this program writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Version of the format, [`FORMAT`].
    pub format: u32,
    /// Updates attempted so far, skipped ones included.
    pub step: u64,
    /// Which weight group each layer uses.
    pub layer_map: LayerMap,
    /// Updates that AdamW has applied; skipped ones do not count.
    pub num_updates: u64,
    /// The loss scaler, where losses are scaled (fp16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<ScalerState>,
    /// Position in the data: samples handed out so far, over all epochs.
    pub samples_consumed: u64,
    /// Samples that were left out because the run went back and on with other data.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub samples_skipped: u64,
    /// What the guard against spikes remembers, in its own words.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub guard: serde_json::Value,
    /// State of the rule, in its own words.
    pub rule: serde_json::Value,
    /// The run's configuration, resolved.
    pub config: serde_json::Value,
    /// Sums over the whole run, across resumes.
    pub totals: Totals,
    /// What bit-equal results depend on besides the configuration: versions, CPU capability, threads, device.
    pub environment: BTreeMap<String, String>,
    /// Every transition so far, in order.
    pub untying: Vec<Untying>,
    /// What the run was trained on.
    pub data: DataFingerprint,
    /// Sizes of the model; while it grows, `layer_map` may have fewer layers.
    pub bert: BertConfig,
    /// Step at which a transition started the learning rate's schedule anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub schedule_start: u64,
    /// Weight groups that do not train.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<usize>,
    /// The layer map of the weights in `remembered.safetensors`, which a later transition blends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<LayerMap>,
}

/// Which tokens a run reads; a position in the data means nothing in other data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFingerprint {
    /// Hash of the vocabulary in id order: what an id means.
    pub vocabulary: String,
    /// Hash of the training shards: what a position means.
    pub shards: String,
}

/// Sums over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Wall time in seconds.
    pub wall_seconds: f64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Steps whose update was skipped because a gradient was not finite.
    pub skipped_steps: u64,
    /// How often the run went back to a checkpoint.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollbacks: u64,
    /// FLOPs of the matrix products of the steps done, forward and backward, of the layers that were executed.
    #[serde(default)]
    pub flops: f64,
    /// Wall time of steps alone, in seconds: without evaluations, checkpoints and start-up.
    #[serde(default)]
    pub step_seconds: f64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One transition that took place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Untying {
    /// Updates before it.
    pub step: u64,
    /// Weight groups after it.
    pub groups: usize,
    /// Held-out accuracy just before it, a fraction.
    pub mlm_accuracy: f64,
    /// Layers after it, where it changed their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
}

impl RunState {
    /// Where a run stands before its first step: of the configuration `config`, with layers shared as `layer_map`.
    pub fn first(
        layer_map: LayerMap,
        bert: BertConfig,
        config: serde_json::Value,
        data: DataFingerprint,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            format: FORMAT,
            step: 0,
            layer_map,
            num_updates: 0,
            scaler: None,
            samples_consumed: 0,
            samples_skipped: 0,
            guard: serde_json::Value::Null,
            rule: serde_json::Value::Null,
            config,
            totals: Totals::default(),
            environment,
            untying: Vec::new(),
            data,
            bert,
            schedule_start: 0,
            frozen: Vec::new(),
            remembered: None,
        }
    }

    /// The bytes of `state.json`, read back once: a number that JSON cannot hold must not make a dead checkpoint.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let refuse = |error| Error::failed("the run's state does not fit into `state.json`").caused_by(error);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(refuse)?;
        serde_json::from_slice::<Self>(&bytes).map_err(refuse)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads and checks the `state.json` of the checkpoint at `path`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = path.join(STATE_FILE);
        let bytes = read_small(&path)?;
        let refuse = |error| Error::data(format!("`{}` is not the state of a run", path.display())).caused_by(error);
        let Version { format } = serde_json::from_slice(&bytes).map_err(refuse)?;
        if format != FORMAT {
            return Err(Error::data(format!("`{}`: expected format {FORMAT}, got {format}", path.display()))
                .hint("use the version of untie that wrote this checkpoint"));
        }
        let state: Self = serde_json::from_slice(&bytes).map_err(refuse)?;
        state
            .bert
            .validate()
            .map_err(|error| Error::data(format!("`{}` holds an impossible model", path.display())).caused_by(error))?;
        let most = state.bert.num_hidden_layers;
        let maps = [&state.layer_map].into_iter().chain(&state.remembered);
        if let Some(layers) = maps.map(LayerMap::num_layers).find(|&layers| layers > most) {
            let path = path.display();
            return Err(Error::data(format!("`{path}`: expected a layer map of at most {most} layers, got {layers}")));
        }
        let groups = state.layer_map.num_groups();
        if let Some(group) = state.frozen.iter().find(|&&group| group >= groups) {
            let path = path.display();
            return Err(Error::data(format!("`{path}`: expected frozen groups below {groups}, got {group}")));
        }
        Ok(state)
    }
}
