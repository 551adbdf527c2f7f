//! Runs whose depth changes: every rule, with transitions at steps 10 and 20 of 40.

/// A run's name and its settings. The model has four layers in the end.
pub const GROWING: [(&str, &[&str]); 6] = [
    ("expand", &["growth.rule=expand", "growth.expand.at=10"]),
    ("stack", &["growth.rule=stack", "growth.stack.depths=[1, 2, 4]", "growth.stack.at=[10, 20]"]),
    (
        "gradual",
        &[
            "growth.rule=gradual",
            "growth.moments=carry",
            "growth.restart=true",
            "growth.gradual.depths=[2, 3, 4]",
            "growth.gradual.at=[10, 20]",
        ],
    ),
    (
        "frozen",
        &[
            "growth.rule=gradual",
            "growth.gradual.depths=[2, 4]",
            "growth.gradual.at=[10, 20]",
            "growth.gradual.freeze=true",
        ],
    ),
    (
        "v_cycle",
        &["growth.rule=v_cycle", "growth.v_cycle.at=10", "growth.v_cycle.steps=10", "growth.v_cycle.alpha=0.3"],
    ),
    ("depth", &["growth.rule=depth", "growth.depth.groups=[1, 2, 4]", "growth.depth.at=[10, 20]"]),
];

/// What all of them share.
pub const COMMON: [&str; 6] = [
    "train.precision=fp32",
    "model.num_hidden_layers=4",
    "train.steps=40",
    "optim.warmup=4",
    "checkpoint.every=1",
    "checkpoint.keep_last=100",
];

/// Arguments of the run `name` in the folder `run`, with more settings.
pub fn arguments(settings: &[&str], run: &str, more: &[&str]) -> Vec<String> {
    let all = COMMON.iter().chain(settings).chain(more).flat_map(|setting| ["--set", setting]);
    ["train", "--config", "run.toml", "--run-dir", run, "--resume"].into_iter().chain(all).map(str::to_owned).collect()
}
