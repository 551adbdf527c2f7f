//! What docs/architecture.md says of the code, held against the code: who may import whom, where unsafe code is; and what all
//! pages refer to, held against what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod circles;

/// Room → rooms that it may use, as in docs/architecture.md, "The rooms". Every room may use `error`, `files` and `keys`.
const TABLE: [(&str, &[&str]); 25] = [
    ("error", &[]),
    ("files", &[]),
    ("keys", &[]),
    ("shim", &[]),
    ("layer_map", &[]),
    ("metrics", &[]),
    ("model", &["layer_map", "shim"]),
    ("batch", &[]),
    ("loss", &["batch", "model", "shim"]),
    ("optim", &["model", "shim"]),
    ("parallel", &["shim"]),
    ("step", &["model", "optim", "parallel", "shim"]),
    ("growth", &["layer_map", "model", "optim"]),
    ("checkpoint", &["layer_map", "model", "optim"]),
    ("hub", &["layer_map", "model"]),
    ("config", &["model", "batch", "optim", "step", "parallel", "growth", "checkpoint", "hub", "metrics"]),
    (
        "train",
        &[
            "config",
            "layer_map",
            "model",
            "shim",
            "batch",
            "loss",
            "optim",
            "step",
            "growth",
            "checkpoint",
            "metrics",
            "parallel",
        ],
    ),
    (
        "pretrain",
        &[
            "train",
            "config",
            "layer_map",
            "model",
            "shim",
            "batch",
            "loss",
            "optim",
            "step",
            "growth",
            "checkpoint",
            "hub",
            "metrics",
            "parallel",
            "report",
        ],
    ),
    (
        "finetune",
        &["train", "config", "batch", "model", "optim", "step", "growth", "checkpoint", "hub", "metrics", "parallel"],
    ),
    (
        "bench",
        &[
            "pretrain",
            "train",
            "config",
            "layer_map",
            "model",
            "shim",
            "batch",
            "loss",
            "optim",
            "step",
            "growth",
            "checkpoint",
            "hub",
            "metrics",
            "parallel",
        ],
    ),
    ("starter", &["pretrain", "config", "layer_map", "model", "step", "hub", "metrics"]),
    ("report", &["metrics"]),
    ("theory", &["report"]),
    (
        "cli",
        &[
            "bench",
            "finetune",
            "pretrain",
            "starter",
            "train",
            "config",
            "report",
            "theory",
            "layer_map",
            "model",
            "batch",
            "optim",
            "step",
            "growth",
            "checkpoint",
            "hub",
            "metrics",
            "parallel",
        ],
    ),
    ("main", &["cli"]),
];

/// The files below src/, by their paths in it, and their texts.
fn sources_of_src() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let read = |path: PathBuf| (path.strip_prefix(&root).unwrap().to_path_buf(), fs::read_to_string(&path).unwrap());
    files.into_iter().map(read).collect()
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The first path segment behind `crate::` or `untie::`, wherever it stands in code.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "untie::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            assert!(!rest.starts_with('{'), "write one `use` a room");
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40, "found {} files", files.len());
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let allowed = table.get(room).unwrap_or_else(|| panic!("`{room}` is not in the table of rooms"));
        for used in imports(&fs::read_to_string(&path).unwrap()) {
            let fine =
                used == room || ["error", "files", "keys"].contains(&used.as_str()) || allowed.contains(&used.as_str());
            assert!(fine, "{} imports `{used}`, `{room}` may import {allowed:?}", inside.display());
        }
    }
}

#[test]
fn the_page_has_the_same_table() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = page.split("| room | does | may import |\n|---|---|---|\n").nth(1).expect("the table of rooms");
    let rows = rows.lines().take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (names(cells[0]).concat(), names(cells[2]))
    });
    let table = TABLE.map(|(room, allowed)| (room.to_owned(), allowed.iter().map(|&name| name.to_owned()).collect()));
    assert_eq!(rows.collect::<Vec<_>>(), table);
}

#[test]
fn the_table_has_no_cycles() {
    let table: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    fn reaches(table: &BTreeMap<&str, &[&str]>, from: &str, to: &str) -> bool {
        table[from].iter().any(|&next| next == to || reaches(table, next, to))
    }
    for (room, _) in TABLE {
        assert!(!reaches(&table, room, room), "`{room}` imports itself");
    }
}

#[test]
fn unsafe_code_stays_in_the_shim() {
    for (inside, text) in sources_of_src() {
        if !inside.starts_with("shim") {
            assert!(!text.contains("unsafe {") && !text.contains("allow(unsafe"), "{}", inside.display());
        }
    }
    let (_, library) = sources_of_src().into_iter().find(|(inside, _)| inside == Path::new("lib.rs")).unwrap();
    assert!(library.contains("#![deny(unsafe_code)]"));
}

/// Everything else returns errors, tells events, or logs.
#[test]
fn only_the_command_line_prints() {
    for (inside, text) in sources_of_src() {
        let prints = ["print!(", "println!("].iter().any(|call| text.contains(call));
        assert!(inside.starts_with("cli") || !prints, "{} prints", inside.display());
    }
}

/// The files of the repository with one of these endings, without what git ignores.
pub(crate) fn texts(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    let is_root = folder == Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            let is_ignored = name.starts_with('.') || name == "target" || is_root && (name == "data" || name == "runs");
            if !is_ignored {
                texts(&path, endings, files);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
}

/// The headings of a page of Markdown.
fn headings(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

/// GitHub's name for the place of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Whether a word between backticks is the path of one file or folder of the repository.
fn is_path(word: &str) -> bool {
    let folders =
        ["configs/", "csrc/", "data-prep/", "docker/", "docs/", "examples/", "fuzz/", "scripts/", "src/", "tests/"];
    folders.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*', '{', '<'])
}

#[test]
fn links_and_paths_of_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut pages, mut links) = (Vec::new(), 0);
    texts(root, &[".md"], &mut pages);
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        let links_of_page = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (link, _) in links_of_page.filter(|(link, _)| !link.contains("://")) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", page.display());
            let found = place.is_empty() || headings(&target).iter().any(|heading| anchor(heading) == place);
            assert!(found, "{}: `{link}`: no such heading", page.display());
            links += 1;
        }
        for word in text.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            let found = root.join(word).exists() || page.with_file_name(word).exists();
            assert!(found, "{}: `{word}` is not there", page.display());
        }
    }
    assert!(pages.len() > 10 && links > 50, "{} pages, {links} links", pages.len());
}

/// Code refers to a section of a page as `docs/NAME.md, "Section"`, on one line.
#[test]
fn what_the_code_refers_to_is_in_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut sections) = (Vec::new(), 0);
    texts(root, &[".rs", ".md", ".toml", ".py", ".h", ".cpp", ".txt", "Makefile", ".yaml", ".sbatch"], &mut files);
    assert!(files.len() > 200, "{} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for outside in
            [concat!("..", "/shared"), concat!("DES", "IGN"), concat!("PAPER", ".md"), concat!("PROTOCOL", ".md")]
        {
            assert!(!text.contains(outside), "{} names `{outside}`, which is not in the repository", file.display());
        }
        for place in text.split("docs/").skip(1) {
            let Some((page, rest)) = place.split_once(".md, \"") else { continue };
            let Some((section, _)) = rest.split_once('"') else { continue };
            if page.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                let found = headings(&root.join(format!("docs/{page}.md"))).iter().any(|heading| heading == section);
                assert!(found, "{}: docs/{page}.md has no section `{section}`", file.display());
                sections += 1;
            }
        }
    }
    assert!(sections > 5, "{sections} sections");
}
