//! docs/reference: every configuration key, from the comments beside the definitions, and every command, from the command line's
//! definition. `UNTIE_BLESS=1 cargo test --release --test tools reference` writes the pages anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use serde_json::Value;
use untie::cli::Cli;
use untie::config::RunConfig;
use untie::finetune::FinetuneConfig;
use untie::keys::{flatten, Class, Classes, Keys};

/// Where each table is defined: its name, the file and the struct.
const RUN: [(&str, &str, &str); 19] = [
    ("model", "src/model/config.rs", "ModelConfig"),
    ("data", "src/batch/config.rs", "DataConfig"),
    ("data.phase", "src/batch/phase.rs", "PhaseConfig"),
    ("data.corpus", "src/batch/config.rs", "CorpusConfig"),
    ("train", "src/config/train.rs", "TrainConfig"),
    ("optim", "src/optim/config.rs", "OptimConfig"),
    ("sharing", "src/growth/sharing.rs", "SharingConfig"),
    ("sharing.transition", "src/growth/rules/by_hand.rs", "TransitionConfig"),
    ("growth", "src/growth/config.rs", "GrowthConfig"),
    ("growth.expand", "src/growth/rules/expand.rs", "ExpandConfig"),
    ("growth.stack", "src/growth/rules/stack.rs", "StackConfig"),
    ("growth.gradual", "src/growth/rules/gradual.rs", "GradualConfig"),
    ("growth.v_cycle", "src/growth/rules/v_cycle.rs", "VCycleConfig"),
    ("growth.depth", "src/growth/rules/depth.rs", "DepthConfig"),
    ("checkpoint", "src/checkpoint/config.rs", "CheckpointConfig"),
    ("eval", "src/config/train.rs", "EvalConfig"),
    ("metrics", "src/metrics/mod.rs", "MetricsConfig"),
    ("guard", "src/config/guard.rs", "GuardConfig"),
    ("parallel", "src/parallel/config.rs", "ParallelConfig"),
];
const FINETUNE: [(&str, &str, &str); 4] = [
    ("task", "src/finetune/config.rs", "TaskConfig"),
    ("task.answers", "src/finetune/squad/answers.rs", "AnswerConfig"),
    ("train", "src/finetune/config.rs", "FinetuneTrainConfig"),
    ("optim", "src/finetune/config.rs", "FinetuneOptimConfig"),
];
/// Tables in double brackets.
const LISTS: [&str; 3] = ["data.phase", "data.corpus", "sharing.transition"];

const CONFIG: &str = "\
# Every configuration key

A test writes this page from the comments in the source. A missing key has its default. An unknown key is an error. The column
\"resume\" says whether a run that continues may have another value: **no** for keys that decide what is trained.

A fraction such as `0.1` is a fraction of all steps of the run; an integer is a number of steps.
";
const COMMANDS: &str = "\
# Every command

A test writes this page from the definition of the command line. `untie COMMAND --help` prints the same. Results go to stdout,
progress and messages to stderr. [Training](../training.md#time-limits-checkpoints-exit-codes) lists the exit codes.
";

struct Field {
    key: String,
    kind: String,
    comment: String,
}

/// What the comments before a struct and before its fields say.
fn definition(file: &str, name: &str) -> (String, Vec<Field>) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let (mut fields, mut comment, mut about) = (Vec::new(), String::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment = format!("{comment} {}", words.trim()).trim().to_owned();
        } else if line == format!("pub struct {name} {{") {
            about = Some(std::mem::take(&mut comment));
        } else if about.is_some() && line == "}" {
            break;
        } else if let (Some(_), Some(field)) = (&about, line.strip_prefix("pub ")) {
            let (key, kind) = field.trim_end_matches(',').split_once(": ").unwrap();
            fields.push(Field { key: key.into(), kind: kind.into(), comment: std::mem::take(&mut comment) });
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    (about.unwrap_or_else(|| panic!("{file} has no struct `{name}`")), fields)
}

/// A Rust type in the words of a reader of TOML.
fn kind(rust: &str) -> &'static str {
    let inner = rust.strip_prefix("Option<").map_or(rust, |rest| rest.trim_end_matches('>'));
    match inner {
        "u64" | "usize" | "i64" => "integer",
        "f64" => "number",
        "bool" => "true or false",
        "String" => "text",
        "PathBuf" => "path",
        "[f64; 2]" => "two numbers",
        "Vec<f64>" => "list of numbers",
        "Vec<usize>" => "list of integers",
        "RunPoint" | "Span" | "Until" => "integer or fraction",
        "Vec<RunPoint>" => "list of integers or fractions",
        "MicroBatch" => "integer or `auto`",
        "TimeBudget" => "time",
        "AnswerConfig" => "table",
        "Vec<TransitionConfig>" => "tables",
        "Start" => "name, pattern or lists of layers",
        _ => "name",
    }
}

/// The classes of the table `path` among those of all tables.
fn classes_of(all: Classes, path: &str) -> Option<Classes> {
    let mut found = all;
    for name in path.split('.') {
        let Some((_, Class::Table(inner))) = found.iter().find(|(known, _)| *known == name) else { return None };
        found = inner;
    }
    Some(found)
}

fn sections(page: &mut String, tables: &[(&str, &str, &str)], all: Classes, prefix: &str) {
    for &(path, file, name) in tables {
        let (about, fields) = definition(file, name);
        let title = if LISTS.contains(&path) { format!("[[{path}]]") } else { format!("[{path}]") };
        // A heading without brackets, so that its anchor is the table's name in every renderer.
        write!(page, "\n## {prefix}{path}\n\n`{title}`: {about}\n\n").unwrap();
        page.push_str("| key | type | default | meaning | resume |\n|---|---|---|---|---|\n");
        let classes = classes_of(all, path);
        for Field { key, kind: rust, comment } in fields {
            let class = classes.map(|classes| {
                classes
                    .iter()
                    .find(|(known, _)| *known == key)
                    .unwrap_or_else(|| panic!("`{path}.{key}` has no class"))
                    .1
            });
            if matches!(class, Some(Class::Table(_))) {
                continue;
            }
            let (meaning, default) = match (comment.split_once("Default: "), comment.find("Required")) {
                (Some((meaning, default)), _) => (meaning.trim(), default.trim_end_matches('.').to_owned()),
                (None, Some(at)) => (comment[..at].trim(), comment[at..].trim_end_matches('.').to_lowercase()),
                (None, None) => panic!("{file}: the comment of `{path}.{key}` has no `Default: ` and no `Required`"),
            };
            let resume = if class.is_none_or(Class::is_fixed) { "no" } else { "yes" };
            writeln!(page, "| `{key}` | {} | {default} | {meaning} | {resume} |", kind(&rust)).unwrap();
        }
    }
}

fn config_page() -> String {
    let mut page = CONFIG.to_owned();
    sections(&mut page, &RUN, RunConfig::CLASSES, "");
    page.push_str("\n# Keys of fine-tuning\n\nThe tables `checkpoint`, `metrics` and `parallel` are those above.\n");
    sections(&mut page, &FINETUNE, FinetuneConfig::CLASSES, "finetune ");
    page
}

fn command_section(page: &mut String, command: &Command, path: &str) {
    let usage = command.clone().render_usage().to_string().replace("Usage: ", "");
    let usage = usage.replacen(command.get_name(), path, 1);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    write!(page, "\n## {path}\n\n{}.\n\n```text\n{usage}\n```\n", about.trim_end_matches('.')).unwrap();
    let arguments: Vec<_> = command.get_arguments().filter(|argument| argument.get_id() != "help").collect();
    if !arguments.is_empty() {
        page.push_str("\n| option | meaning |\n|---|---|\n");
    }
    for argument in arguments {
        let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = value.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let name = argument.get_long().map(|long| format!("--{long}"));
        let name = [name, value].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let help = argument.get_help().unwrap_or_else(|| panic!("`{path} {name}` has no help")).to_string();
        let values = argument.get_possible_values();
        let values = values
            .iter()
            .filter(|_| argument.get_action().takes_values())
            .filter_map(|value| value.get_help().map(|help| format!("<br>`{}`: {help}.", value.get_name())));
        let values: String = values.collect();
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let defaults = if defaults.is_empty() { String::new() } else { format!(" [default: {}]", defaults.join(" ")) };
        let defaults = if argument.get_action().takes_values() { defaults } else { String::new() };
        let cell = format!("{help}{defaults}{values}").replace('|', "\\|");
        writeln!(page, "| `{name}` | {cell} |").unwrap();
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        command_section(page, inner, &format!("{path} {}", inner.get_name()));
    }
}

fn commands_page() -> String {
    let mut page = COMMANDS.to_owned();
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        command_section(&mut page, command, &format!("untie {}", command.get_name()));
    }
    page
}

#[test]
fn reference_pages_are_those_of_the_source() {
    for (name, page) in [("config.md", config_page()), ("commands.md", commands_page())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
        if std::env::var_os("UNTIE_BLESS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        let hint = "write it anew: UNTIE_BLESS=1 cargo test --release --test tools reference";
        assert!(found == page, "docs/reference/{name} is not what the source says; {hint}");
    }
}

#[test]
fn reference_defaults_are_those_of_the_code() {
    let defaults = flatten(&serde_json::to_value(RunConfig::default()).unwrap());
    let mut compared = 0;
    for (path, file, name) in RUN {
        for Field { key, comment, .. } in definition(file, name).1 {
            let Some(value) = defaults.get(&format!("{path}.{key}")) else { continue };
            let word = comment.split_once("Default: ").map_or("", |(_, rest)| rest.split([' ', ';']).next().unwrap());
            let word = word.trim_end_matches(['.', ';']).trim_matches('`');
            let matches = match value {
                Value::Bool(value) => word == value.to_string(),
                Value::String(value) => word == value,
                Value::Number(value) if word.parse::<f64>().is_ok() => word.parse::<f64>().ok() == value.as_f64(),
                _ => continue,
            };
            assert!(matches, "{file}: `{path}.{key}` is {value} by default, its comment says `{word}`");
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared} defaults");
}
