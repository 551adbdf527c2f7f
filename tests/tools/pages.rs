//! What README, docs and the pages beside them tell a reader to type exists: targets of make, commands with their options, and keys of
//! the configuration. `imports.rs` checks their links.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use untie::cli::Cli;
use untie::config::RunConfig;
use untie::finetune::FinetuneConfig;
use untie::keys::{flatten, Class, Classes, Keys};

use crate::imports::texts;

/// A piece of code of a page.
struct Code {
    page: PathBuf,
    /// The word behind the three backticks; nothing for code within a line.
    language: Option<String>,
    text: String,
}

/// The code of every page, blocks and pieces of lines.
fn code() -> Vec<Code> {
    let mut pages = Vec::new();
    texts(Path::new(env!("CARGO_MANIFEST_DIR")), &[".md"], &mut pages);
    let mut all = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for (number, part) in text.split("```").enumerate() {
            if number % 2 == 1 {
                let (language, text) = part.split_once('\n').unwrap();
                all.push(Code {
                    page: page.clone(),
                    language: Some(language.trim().into()),
                    text: text.replace("\\\n", " "),
                });
            } else {
                for text in part.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2)) {
                    all.push(Code { page: page.clone(), language: None, text: text.replace('\n', " ") });
                }
            }
        }
    }
    all
}

/// Command lines: those of `sh` blocks without their comments, and pieces of lines. Quoted words stay one word.
fn command_lines() -> Vec<(PathBuf, Vec<String>)> {
    let mut all = Vec::new();
    for code in code().iter().filter(|code| matches!(code.language.as_deref(), None | Some("sh"))) {
        for line in code.text.lines().flat_map(|line| line.split(" && ")) {
            let mut words = vec![String::new()];
            let mut quote = None;
            for c in line.chars() {
                match (quote, c) {
                    (None, '#') if words.last().unwrap().is_empty() => break,
                    (None, '"' | '\'') => quote = Some(c),
                    (Some(open), _) if c == open => quote = None,
                    (None, c) if c.is_whitespace() || "()|;".contains(c) => words.push(String::new()),
                    _ => words.last_mut().unwrap().push(c),
                }
            }
            words.retain(|word| !word.is_empty());
            all.push((code.page.clone(), words));
        }
    }
    all
}

#[test]
fn targets_of_make_exist() {
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let targets: Vec<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', ' ']))
        .flat_map(|line| {
            line.split_once(':').filter(|(_, rest)| !rest.starts_with('=')).map_or("", |(names, _)| names).split(' ')
        })
        .collect();
    let mut found = 0;
    for (page, words) in command_lines() {
        let mut words = words.iter().skip_while(|word| word.contains('='));
        if words.next().is_none_or(|word| word != "make") {
            continue;
        }
        for target in words.filter(|word| !word.contains('=') && !word.starts_with('-')) {
            assert!(targets.contains(&target.as_str()), "{}: `make {target}` is no target", page.display());
            found += 1;
        }
    }
    assert!(found > 20, "{found} targets");
}

/// Whether `key` is one of the tables with `classes`, or such a table itself.
fn is_key(classes: Classes, key: &str) -> bool {
    let mut found = Class::Table(classes);
    for name in key.split('.').filter(|name| name.parse::<usize>().is_err()) {
        // What is below a key with a class is part of its value.
        let Class::Table(inner) = found else { return true };
        let Some((_, class)) = inner.iter().find(|(known, _)| *known == name) else { return false };
        found = *class;
    }
    true
}

#[test]
fn commands_and_their_options_exist() {
    let cli = Cli::command();
    let (mut options, mut settings) = (0, 0);
    for (page, words) in command_lines() {
        let binary = words.iter().position(|word| word == "untie" || word.ends_with("/untie") || word == "untie-data");
        let Some(start) = binary else { continue };
        // `untie launch ... -- train ...` is two commands.
        for part in words[start + 1..].split(|word| word == "--") {
            let Some(mut command) = part.first().and_then(|name| cli.find_subcommand(name)) else { continue };
            if let Some(inner) = part.get(1).and_then(|name| command.find_subcommand(name)) {
                command = inner;
            }
            let place = format!("{}: `untie {}`", page.display(), part.join(" "));
            for (at, word) in part.iter().enumerate() {
                let Some(option) = word.strip_prefix("--") else { continue };
                let option = option.split('=').next().unwrap();
                let known = ["help", "version"].contains(&option)
                    || command.get_arguments().any(|argument| argument.get_long() == Some(option));
                assert!(known, "{place}: no option `--{option}`");
                options += 1;
                if let ("set", Some((key, _))) = (option, part.get(at + 1).and_then(|word| word.split_once('='))) {
                    let classes =
                        if command.get_name() == "finetune" { FinetuneConfig::CLASSES } else { RunConfig::CLASSES };
                    assert!(key == "table.key" || is_key(classes, key), "{place}: no key `{key}`");
                    settings += 1;
                }
            }
        }
    }
    assert!(options > 60 && settings > 10, "{options} options, {settings} settings");
}

#[test]
fn keys_of_the_configuration_exist() {
    let known = |key: &str| is_key(RunConfig::CLASSES, key) || is_key(FinetuneConfig::CLASSES, key);
    let tables: Vec<&str> = RunConfig::CLASSES.iter().chain(FinetuneConfig::CLASSES).map(|(name, _)| *name).collect();
    let (mut blocks, mut names) = (0, 0);
    for Code { page, language, text } in code() {
        if language.as_deref() == Some("toml") {
            let table: toml::Table =
                toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            for key in flatten(&serde_json::to_value(table).unwrap()).keys() {
                assert!(known(key), "{}: no key `{key}`", page.display());
            }
            blocks += 1;
        } else if language.is_none() {
            // `table.key` or `table.key = value`; the names of files look alike.
            let key = text.split([' ', '=']).next().unwrap();
            let is_file = ["json", "jsonl", "tsv", "toml", "rs", "py", "txt", "bin", "idx", "safetensors"]
                .iter()
                .any(|end| key.ends_with(&format!(".{end}")));
            let is_name = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c));
            if !is_file && is_name && key.split_once('.').is_some_and(|(table, _)| tables.contains(&table)) {
                assert!(known(key), "{}: no key `{key}`", page.display());
                names += 1;
            }
        }
    }
    assert!(blocks > 1 && names > 50, "{blocks} blocks, {names} names");
}
