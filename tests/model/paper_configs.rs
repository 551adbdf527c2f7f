//! `configs/paper/`: every run of the paper's tables is there, with the paper's settings, and small with its ratios; and the
//! numbers in their heads are what they come to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use untie::batch::masking::budget;
use untie::batch::phase::Until;
use untie::config::Phases;
use untie::config::RunConfig;
use untie::growth::{RuleKind, SharingConfig};
use untie::model::{BertConfig, Norm};
use untie::optim::{OptimConfig, ScheduleKind};
use untie::pretrain::run_stats::PhaseStats;
use untie::report::tables::paper::{TABLES, TOKENS_PER_STEP};

/// The settings and the rows of the tables (docs/method.md, "The settings" and "The tables"): name, thousands of steps, whether on
/// XLNet data, layers of a unit (24: untied), rule, thousands of tied steps, threshold ρ.
type Run = (&'static str, u64, bool, usize, RuleKind, Option<u64>, Option<f64>);

const RUNS: [Run; 18] = [
    ("baseline", 1000, false, 24, RuleKind::Never, None, None),
    ("baseline-half", 500, false, 24, RuleKind::Never, None, None),
    ("swe-f", 500, false, 1, RuleKind::Fixed, Some(50), None),
    ("swe-a", 500, false, 1, RuleKind::Adaptive, None, Some(0.5)),
    ("swe-m", 500, false, 1, RuleKind::MultiStep, None, Some(0.5)),
    ("xlnet-baseline", 2000, true, 24, RuleKind::Never, None, None),
    ("xlnet-baseline-half", 1000, true, 24, RuleKind::Never, None, None),
    ("xlnet-swe-f", 1000, true, 1, RuleKind::Fixed, Some(100), None),
    ("xlnet-swe-m", 1000, true, 1, RuleKind::MultiStep, None, Some(0.5)),
    ("swe-f-tau-200k", 500, false, 1, RuleKind::Fixed, Some(200), None),
    ("swe-m-rho-0.1", 500, false, 1, RuleKind::MultiStep, None, Some(0.1)),
    ("swe-m-rho-0.3", 500, false, 1, RuleKind::MultiStep, None, Some(0.3)),
    ("swe-m-rho-0.7", 500, false, 1, RuleKind::MultiStep, None, Some(0.7)),
    ("swe-m-rho-0.9", 500, false, 1, RuleKind::MultiStep, None, Some(0.9)),
    ("swe-f-unit-12x2", 500, false, 12, RuleKind::Fixed, Some(50), None),
    ("swe-f-unit-6x4", 500, false, 6, RuleKind::Fixed, Some(50), None),
    ("swe-f-unit-4x6", 500, false, 4, RuleKind::Fixed, Some(50), None),
    ("swe-f-unit-2x12", 500, false, 2, RuleKind::Fixed, Some(50), None),
];

/// Steps of the paper for one of a small run.
const SCALE: u64 = 250;

fn path(scale: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper").join(scale).join(format!("{name}.toml"))
}

fn load(scale: &str, name: &str) -> RunConfig {
    RunConfig::load(&path(scale, name), &[]).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Layers of the sharing's unit at the start: the layers that differ, if they repeat.
fn unit(config: &RunConfig, layers: usize) -> usize {
    let map = config.sharing.start_map(layers).unwrap();
    let unit = map.num_groups();
    assert!((0..layers).all(|layer| map.group_of(layer) == layer % unit));
    unit
}

#[test]
fn the_folders_hold_the_runs_of_the_tables_and_nothing_else() {
    let names: BTreeSet<&str> = RUNS.iter().map(|run| run.0).collect();
    let of_tables = TABLES.iter().flat_map(|table| table.rows.iter().map(|row| row.run));
    assert_eq!(of_tables.collect::<BTreeSet<_>>(), names);
    for scale in ["large", "mini"] {
        let folder = fs::read_dir(path(scale, "x").parent().unwrap()).unwrap();
        let files: BTreeSet<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files, names.iter().map(|name| format!("{name}.toml")).collect());
    }
}

#[test]
fn the_large_ones_have_the_papers_settings() {
    for (name, steps, is_xlnet, unit_layers, rule, untie_at, threshold) in RUNS {
        let config = load("large", name);
        let bert = config.bert(30522).unwrap();
        assert_eq!((bert.num_hidden_layers, bert.hidden_size, bert.num_attention_heads), (24, 1024, 16), "{name}");
        assert_eq!((bert.intermediate_size, bert.vocab_size), (4096, 30522), "{name}");
        assert_eq!((bert.hidden_dropout_prob, bert.attention_probs_dropout_prob), (0.1, 0.1), "{name}");
        assert_eq!(bert.norm, if is_xlnet { Norm::Post } else { Norm::Pre }, "{name}");
        assert_eq!(config.train.steps, 1000 * steps, "{name}");
        assert_eq!((config.train.global_batch, config.data.sequence_length), (512, 512), "{name}");
        assert_eq!((config.data.mask_rate, config.data.whole_word), (0.15, is_xlnet), "{name}");
        let OptimConfig { lr, schedule, weight_decay, betas, eps, clip_norm, .. } = config.optim;
        assert_eq!((lr, config.optim.warmup_steps(steps)), (if is_xlnet { 1e-4 } else { 3e-4 }, 10_000), "{name}");
        assert_eq!((schedule, weight_decay, betas), (ScheduleKind::Linear, 0.01, [0.9, 0.999]), "{name}");
        assert_eq!((eps, clip_norm), (1e-6, 1.0), "{name}");
        let sharing = &config.sharing;
        assert_eq!((unit(&config, 24), sharing.rule), (unit_layers, Some(rule)), "{name}");
        if let Some(untie_at) = untie_at {
            assert_eq!(sharing.untie_at.step(config.train.steps), 1000 * untie_at, "{name}");
        }
        if let Some(threshold) = threshold {
            assert_eq!((sharing.threshold, sharing.check_every, sharing.patience), (threshold, 1000, 3), "{name}");
            assert_eq!(sharing.majority, 0.5, "{name}");
        }
        let rows = TABLES.iter().flat_map(|table| table.rows).filter(|row| row.run == name);
        assert!(rows.into_iter().all(|row| row.steps == config.train.steps), "{name}");
    }
}

/// One step for 250, half the layers, a rate five thirds as high, thresholds a fortieth as far from 1; what is not about
/// size is the same, but for what makes a small model learn in minutes.
#[test]
fn the_small_ones_keep_the_ratios() {
    for (name, ..) in RUNS {
        let [large, mini] = ["large", "mini"].map(|scale| load(scale, name));
        let [large_bert, mini_bert] = [(&large, 30522), (&mini, 2048)].map(|(config, size)| config.bert(size).unwrap());
        assert_eq!(SCALE * mini.train.steps, large.train.steps, "{name}");
        let [large_warmup, mini_warmup] = [&large, &mini].map(|config| config.optim.warmup_steps(config.train.steps));
        assert_eq!(SCALE * mini_warmup, large_warmup, "{name}");
        let ratio = mini.optim.lr / large.optim.lr;
        assert!((ratio * 0.6 - 1.0).abs() < 0.002, "{name}: {ratio}");
        assert_eq!(2 * mini_bert.num_hidden_layers, large_bert.num_hidden_layers, "{name}");
        let units = [unit(&large, large_bert.num_hidden_layers), unit(&mini, mini_bert.num_hidden_layers)];
        // All of them tied is a unit of one layer at any depth.
        assert!(units[0] == 2 * units[1] || units == [1, 1], "{name}: {units:?}");
        assert_eq!(mini_bert.norm, large_bert.norm, "{name}");
        // Short sequences first, and wider weights: a small model learns sooner.
        let phases: Vec<_> = mini.data.phase.iter().map(|phase| (phase.until, phase.sequence_length)).collect();
        assert_eq!(phases, [(Some(Until::Fraction(0.5)), 16), (None, 128)], "{name}");
        assert_eq!((mini_bert.initializer_range, large_bert.initializer_range), (0.05, 0.02), "{name}");
        if large.sharing.rule == Some(RuleKind::Fixed) {
            let at = |config: &RunConfig| config.sharing.untie_at.step(config.train.steps);
            assert_eq!(SCALE * at(&mini), at(&large), "{name}");
        }
        if matches!(large.sharing.rule, Some(RuleKind::Adaptive | RuleKind::MultiStep)) {
            assert_eq!(SCALE * mini.sharing.check_every, large.sharing.check_every, "{name}");
            let [far, near] = [&large, &mini].map(|config| 1.0 - config.sharing.threshold);
            assert!((40.0 * near - far).abs() < 1e-9, "{name}: {near}");
        }
        let rule = |config: &RunConfig| SharingConfig {
            start: SharingConfig::default().start,
            untie_at: SharingConfig::default().untie_at,
            check_every: 0,
            threshold: 0.0,
            ..config.sharing.clone()
        };
        assert_eq!(rule(&mini), rule(&large), "{name}");
        let optimizer =
            |config: &RunConfig| OptimConfig { lr: 0.0, warmup: OptimConfig::default().warmup, ..config.optim.clone() };
        assert_eq!(optimizer(&mini), optimizer(&large), "{name}");
        let masking = |config: &RunConfig| {
            let data = &config.data;
            (
                data.mask_rate,
                data.mask_token_rate,
                data.random_token_rate,
                data.whole_word,
                data.objective,
                data.packing,
            )
        };
        assert_eq!(masking(&mini), masking(&large), "{name}");
        assert_eq!((mini.train.seed, mini.train.precision), (large.train.seed, large.train.precision), "{name}");
    }
}

/// Tokens, FLOPs and hours that the heads state, from the formula of `untie train --dry-run`.
#[test]
fn the_heads_state_what_the_runs_come_to() {
    for scale in ["large", "mini"] {
        let vocabulary = if scale == "large" { 30522 } else { 2048 };
        for (name, ..) in RUNS {
            let (text, config) = (fs::read_to_string(path(scale, name)).unwrap(), load(scale, name));
            let bert: BertConfig = config.bert(vocabulary).unwrap();
            let steps = config.train.steps;
            let thousands = |number: u64| untie::metrics::human::human_integer(number);
            let (mut tokens, mut run) = (0, 0.0);
            for phase in Phases::new(&config.data, &config.train).unwrap().list() {
                let length = phase.sequence_length;
                let targets = budget(config.data.mask_rate, length - config.data.num_special_tokens());
                let flops = PhaseStats::new(&bert, *phase, targets, 1).flops(bert.num_hidden_layers as f64);
                let words = format!("= {} tokens, {} FLOPs", thousands(phase.tokens()), exponent(flops, 3));
                assert!(text.contains(&words), "{scale}/{name}: expected `{words}` in its head");
                tokens = phase.tokens();
                run += (phase.end - phase.start) as f64 * flops;
            }
            for words in [
                format!("{} steps, ", thousands(steps)),
                format!(
                    "{} tokens, {} FLOPs.",
                    untie::metrics::human::human_count((steps * tokens).into()),
                    exponent(run, 2)
                ),
                match scale {
                    "large" => format!(
                        "{} hours of one H100 at 40 %",
                        thousands((run / (0.4 * 989e12) / 3600.0).round() as u64)
                    ),
                    _ => format!("{:.0} minutes at 24,000 tokens", (steps * tokens) as f64 / 24_000.0 / 60.0),
                },
            ] {
                assert!(text.contains(&words), "{scale}/{name}: expected `{words}` in its head");
            }
            assert!(scale == "mini" || tokens == TOKENS_PER_STEP);
        }
    }
}

/// `1.23e14` as the heads write it.
fn exponent(number: f64, decimals: usize) -> String {
    format!("{number:.decimals$e}")
}
