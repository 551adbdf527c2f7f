//! The files of a crate do not import each other in a circle.
//!
//! A file imports another where a `use` or a path in its code leads there, through re-exports to the file that defines the name. It
//! does so too where the other file adds methods to a type of its own: `impl Run { pub fn .. }` outside of Run's file. Tests
//! import what they like. What a file re-exports without using it is no import.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// The file that a place leads to, and the words that lead there.
type Imports = BTreeMap<usize, String>;

struct Import {
    /// Without braces, beginning with `crate`, `self`, `super`, a module or a crate.
    path: Vec<String>,
    /// What it is called in this file; `*`: all.
    name: String,
    is_public: bool,
    line: String,
}

/// What a file says of itself.
struct File {
    module: Vec<String>,
    imports: Vec<Import>,
    /// Without `use`, `mod` and tests.
    code: Vec<String>,
    defined: BTreeSet<String>,
    /// The types that it adds public methods to.
    extended: BTreeSet<String>,
}

/// The words, `::` and signs of a text before its tests; no comments, texts and characters.
fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let is_word = |at: usize| text.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(of, c)| text.get(at + of) == Some(&c));
    let (mut found, mut at): (Vec<String>, usize) = (Vec::new(), 0);
    while at < text.len() {
        let start = at;
        if starts(at, "//") {
            at += text[at..].iter().take_while(|c| **c != '\n').count();
            continue;
        }
        if text[at] == '"' {
            // Of a raw text, the sign `#` and the word `r` are found already.
            let hashes = found.iter().rev().take_while(|token| *token == "#").count();
            let is_raw = found.iter().rev().nth(hashes).is_some_and(|token| token == "r" || token == "br");
            let end = format!("\"{}", "#".repeat(if is_raw { hashes } else { 0 }));
            at += 1;
            while at < text.len() && !starts(at, &end) {
                at += if text[at] == '\\' && !is_raw { 2 } else { 1 };
            }
            at += end.len();
        } else if text[at] == '\'' && (text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'')) {
            at += if text[at + 1] == '\\' { 3 } else { 2 };
            at += 1 + text[at..].iter().take_while(|c| **c != '\'').count();
        } else if text[at].is_whitespace() {
            at += 1;
        } else {
            at += if starts(at, "::") { 2 } else { (start..).take_while(|at| is_word(*at)).count().max(1) };
            found.push(text[start..at].iter().collect());
        }
        if found.ends_with(&["cfg", "(", "test", ")", "]", "mod", "tests"].map(String::from)) {
            break;
        }
    }
    found
}

/// Paths and names of a `use`, from behind the word to its end.
fn tree(tokens: &[String], before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "::" => {}
            "{" => {
                let (mut depth, inside) = (0, &tokens[at + 1..tokens.len() - 1]);
                let branches = inside.split(|token| {
                    depth += i32::from(token == "{") - i32::from(token == "}");
                    token == "," && depth == 0
                });
                return branches.filter(|branch| !branch.is_empty()).for_each(|branch| tree(branch, &path, found));
            }
            "as" => return found.push((path, tokens[at + 1].clone())),
            "self" if !path.is_empty() => {}
            _ => path.push(token.clone()),
        }
    }
    let name = path.last().cloned().unwrap_or_default();
    found.push((path, name));
}

/// The type of an `impl` without a trait, if one of its methods is public; `code` begins behind the word.
fn extended(code: &[String]) -> Option<&String> {
    let skip = |mut at: usize| {
        let mut depth = 0;
        loop {
            depth += i32::from(code.get(at)? == "<") - i32::from(code.get(at)? == ">");
            if depth == 0 {
                return Some(if code.get(at)? == ">" { at + 1 } else { at });
            }
            at += 1;
        }
    };
    let name = skip(0)?;
    let open = skip(name + 1)?;
    let mut depth = 0;
    let body = code[open..].iter().take_while(|token| {
        depth += i32::from(*token == "{") - i32::from(*token == "}");
        depth > 0
    });
    body.into_iter().any(|token| token == "pub").then_some(&code[name])
}

impl File {
    /// The file at `path` below the root of its crate.
    fn new(path: &str, text: &str) -> Self {
        let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let tokens = tokens(text);
        let (mut imports, mut code, mut at) = (Vec::new(), Vec::new(), 0);
        while at < tokens.len() {
            if tokens[at] == "mod" && tokens.get(at + 2).is_some_and(|token| token == ";") {
                at += 3;
                continue;
            }
            if tokens[at] != "use" {
                code.push(tokens[at].clone());
                at += 1;
                continue;
            }
            let end = at + tokens[at..].iter().take_while(|token| *token != ";").count();
            let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
            let mut found = Vec::new();
            tree(&tokens[at + 1..end], &[], &mut found);
            let spaced = tokens[at + 1..end].iter().map(|token| match token.as_str() {
                "as" => " as ",
                "," => ", ",
                other => other,
            });
            let line = format!("use {};", spaced.collect::<String>());
            let import = |(path, name)| Import { path, name, is_public, line: line.clone() };
            imports.extend(found.into_iter().map(import));
            at = end + 1;
        }
        let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type", "union"];
        let defined = code.windows(2).filter(|two| kinds.contains(&two[0].as_str())).map(|two| two[1].clone());
        let impls = code.iter().enumerate().filter(|(_, token)| *token == "impl");
        let extended = impls.filter_map(|(at, _)| extended(&code[at + 1..]).cloned()).collect();
        Self { module, imports, defined: defined.collect(), extended, code }
    }
}

/// The files of a crate, and where paths in them lead.
struct Files(Vec<File>);

impl Files {
    fn at(&self, module: &[String]) -> Option<usize> {
        self.0.iter().position(|file| file.module == module)
    }

    /// A path in `file` from the root of its crate; nothing if it leads to another crate.
    fn absolute(&self, file: &File, path: &[String]) -> Option<Vec<String>> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let module = &file.module[..file.module.len().checked_sub(ups)?];
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => Some([module, &path[ups..]].concat()),
            _ => self.at(&[module, &path[..1]].concat()).map(|_| [module, path].concat()),
        }
    }

    /// The file with what an absolute path names, and whether that is the file as a whole.
    fn lead(&self, path: &[String], seen: &mut Vec<Vec<String>>) -> Option<(usize, bool)> {
        let length = (0..=path.len()).rev().find(|&length| self.at(&path[..length]).is_some())?;
        let at = self.at(&path[..length])?;
        let Some(name) = path.get(length) else { return Some((at, true)) };
        let file = &self.0[at];
        if name == "*" || file.defined.contains(name) || seen.contains(&path.to_vec()) {
            return Some((at, false));
        }
        seen.push(path.to_vec());
        for import in file.imports.iter().filter(|import| import.name == *name) {
            if let Some(start) = self.absolute(file, &import.path) {
                return self.lead(&[&start, &path[length + 1..]].concat(), seen);
            }
        }
        for import in file.imports.iter().filter(|import| import.name == "*") {
            if let Some(start) = self.absolute(file, &import.path) {
                let found = self.lead(&[&start[..start.len() - 1], &path[length..]].concat(), seen);
                if found.is_some_and(|(at, is_file)| is_file || self.0[at].defined.contains(name)) {
                    return found;
                }
            }
        }
        Some((at, false))
    }

    /// The imports of each file.
    fn graph(&self) -> Vec<Imports> {
        let mut graph = vec![Imports::new(); self.0.len()];
        for (at, file) in self.0.iter().enumerate() {
            let has_files =
                self.0.iter().any(|other| other.module.split_last().is_some_and(|(_, of)| of == file.module));
            let mut modules: BTreeMap<&String, usize> = BTreeMap::new();
            for import in &file.imports {
                let found = self.absolute(file, &import.path).and_then(|path| self.lead(&path, &mut Vec::new()));
                let is_used = || import.name != "*" && file.code.contains(&import.name);
                match found {
                    Some((to, true)) => _ = modules.insert(&import.name, to),
                    Some((to, false)) if !(import.is_public && has_files) || is_used() => {
                        graph[at].entry(to).or_insert_with(|| import.line.clone());
                        if file.extended.contains(&import.name) {
                            let words = format!("impl {} in {}", import.name, file.module.join("/"));
                            graph[to].entry(at).or_insert(words);
                        }
                    }
                    _ => {}
                }
            }
            for (start, token) in file.code.iter().enumerate() {
                let before =
                    file.code[..start].last_chunk().map_or(["", ""], |[one, two]: &[String; 2]| [one.as_str(), two]);
                let is_first = !["::", "."].contains(&before[1]) && before != ["(", "in"];
                let rest = file.code[start..].chunks(2).take_while(|two| two.len() == 2 && two[1] == "::").count();
                if !is_first || rest == 0 {
                    continue;
                }
                let path: Vec<String> = file.code[start..=start + 2 * rest].iter().step_by(2).cloned().collect();
                let path = match modules.get(token) {
                    Some(&to) => Some([&self.0[to].module, &path[1..]].concat()),
                    None => self.absolute(file, &path),
                };
                if let Some((to, _)) = path.and_then(|path| self.lead(&path, &mut Vec::new())) {
                    graph[at].entry(to).or_insert_with(|| file.code[start..=start + 2 * rest].concat());
                }
            }
            graph[at].remove(&at);
        }
        graph
    }

    /// The shortest circle through each file that is in one: a line for each import.
    fn circles(&self) -> BTreeMap<usize, Vec<String>> {
        let graph = self.graph();
        let mut circles = BTreeMap::new();
        for start in 0..self.0.len() {
            let (mut before, mut next) = (BTreeMap::new(), VecDeque::from([start]));
            while let Some(at) = next.pop_front().filter(|_| !before.contains_key(&start)) {
                for &to in graph[at].keys() {
                    if let Entry::Vacant(place) = before.entry(to) {
                        place.insert(at);
                        next.push_back(to);
                    }
                }
            }
            let (mut lines, mut to) = (Vec::new(), start);
            while let Some(&at) = before.get(&start).and(before.get(&to)) {
                let name = |at: usize| self.0[at].module.join("/");
                lines.push(format!("  {} imports {}: {}", name(at), name(to), graph[at][&to]));
                to = at;
                if at == start {
                    break;
                }
            }
            if !lines.is_empty() {
                lines.reverse();
                circles.insert(start, lines);
            }
        }
        circles
    }

    /// By room, the shortest circle of its files.
    fn of_rooms(&self) -> BTreeMap<String, Vec<String>> {
        let mut rooms: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (at, lines) in self.circles() {
            let shortest = rooms.entry(self.0[at].module.first().cloned().unwrap_or_default()).or_insert(lines.clone());
            if lines.len() < shortest.len() {
                *shortest = lines;
            }
        }
        rooms
    }
}

fn files_of(root: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut paths = Vec::new();
    super::sources(&root, &mut paths);
    paths.sort();
    let inside = paths.iter().map(|path| (path, path.strip_prefix(&root).unwrap().to_str().unwrap()));
    // Tests in files of their own.
    let inside = inside.filter(|(_, inside)| !inside.split(['/', '.']).any(|part| part == "tests"));
    let files: Vec<File> = inside.map(|(path, inside)| File::new(inside, &fs::read_to_string(path).unwrap())).collect();
    assert!(files.len() > 40, "found {} files", files.len());
    Files(files)
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let circles = ["src", "data-prep/src"].map(|root| files_of(root).of_rooms());
    let found: Vec<String> = circles.iter().flat_map(BTreeMap::values).map(|lines| lines.join("\n")).collect();
    assert!(found.is_empty(), "files import each other in a circle:\n{}", found.join("\n\n"));
}

/// Three files each: what makes a circle, and what does not.
#[test]
fn circles_of_made_up_files_are_found() {
    let circle = |files: [(&str, &str); 3]| {
        let files = Files(files.map(|(path, text)| File::new(path, text)).into());
        files.of_rooms().remove("room").unwrap_or_default()
    };
    let front =
        "//! use crate::room::two::f;\nmod one;\nmod two;\npub use one::{self as first, One};\npub(crate) use two::*;";
    let one = "use crate::{error::E, room::{Two as Other}};\npub struct One;";
    let of_three = circle([
        ("room/mod.rs", front),
        ("room/one.rs", one),
        ("room/two.rs", "fn f() { super::One }\npub enum Two {}"),
    ]);
    let expected = [
        "  room/one imports room/two: use crate::{error::E, room::{Two as Other}};",
        "  room/two imports room/one: super::One",
    ];
    assert_eq!(of_three, expected);

    let through = circle([
        ("room/mod.rs", "mod one;\npub mod two;\nfn f() -> u8 { one::g(r#\"\" crate::room::two::f\"#) }"),
        ("room/one.rs", "use super::two;\npub fn g() { two::h('\"', \"//\"); }"),
        ("room/two.rs", "pub fn h() {}\nuse super::f;"),
    ]);
    assert_eq!(through.len(), 3, "{through:?}");
    assert_eq!(through[0], "  room imports room/one: one::g");

    let hidden = |visible| {
        let text = format!("use super::one::Run;\nimpl<'a> Run<'a> {{ {visible} fn go(self) {{}} }}");
        circle([("room.rs", ""), ("room/one.rs", "pub struct Run<'a>(&'a u8);"), ("room/two.rs", &text)])
    };
    assert_eq!(hidden("pub(super)")[0], "  room/one imports room/two: impl Run in room/two");
    assert!(hidden("").is_empty());

    let one = "// use super::two::f;\npub fn g() {}\n#[cfg(test)]\nmod tests {\nuse crate::room::two::f;\n}";
    assert!(circle([
        ("room/mod.rs", front),
        ("room/one.rs", one),
        ("room/two.rs", "use super::first;\nfn f() { first::g() }")
    ])
    .is_empty());
}
