//! What the command line does beside the plain way: stdin, folders, stages, dry runs, little memory, a full disk.

use assert_cmd::Command;
use serde_json::json;
use std::fs;
use std::path::Path;

fn untie_data(dir: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_untie-data"));
    command.arg("prepare").args(arguments.split_whitespace()).current_dir(dir);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Sixty documents of some words, as JSON lines.
fn lines() -> Vec<String> {
    (0..60)
        .map(|number| {
            json!({ "text": format!("The {number} ships sailed.\nThey came {number} times to port.") }).to_string()
        })
        .collect()
}

const USUAL: &str = "--out out --vocab-size 120 --valid-fraction 0.1";

#[test]
fn stdin_is_read_compressed_or_not_and_never_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines().join("\n");
    let arguments = format!("--input - --format jsonl {USUAL}");
    let (code, stdout, stderr) = run(untie_data(dir.path(), &arguments).write_stdin(text.clone()));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("documents: 60 kept; left out: nothing"), "{stdout}");
    let manifest = |out: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(dir.path().join(out).join("manifest.json")).unwrap()).unwrap()
    };
    let plain = manifest("out");
    assert_eq!(plain["sources"][0]["bytes"], text.len());
    assert_eq!(plain["sources"][0]["xxh3"], format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())));

    let (code, _, stderr) = run(untie_data(dir.path(), &arguments).write_stdin(text.clone()));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("whether standard input is the same cannot be told"), "{stderr}");

    let zstd = zstd::encode_all(text.as_bytes(), 0).unwrap();
    let (code, _, stderr) =
        run(untie_data(dir.path(), &arguments.replace("--out out", "--out packed")).write_stdin(zstd));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(manifest("packed")["shards"], plain["shards"]);

    let (code, _, stderr) = run(untie_data(dir.path(), &format!("--input - {USUAL}")).write_stdin(text));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("hint: name the format"), "{stderr}");
}

#[test]
fn folders_and_globs_are_read_and_what_is_passed_over_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("corpus/more")).unwrap();
    let lines = lines();
    fs::write(dir.path().join("corpus/a.jsonl"), lines[..20].join("\n")).unwrap();
    fs::write(dir.path().join("corpus/more/b.jsonl"), lines[20..].join("\n")).unwrap();
    fs::write(dir.path().join("corpus/notes.odt"), "?").unwrap();
    let (code, stdout, stderr) = run(&mut untie_data(dir.path(), &format!("--input corpus {USUAL}")));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("documents: 60 kept"), "{stdout}");
    assert!(stderr.contains("1 files are passed over") && stderr.contains("notes.odt"), "{stderr}");
    let (code, stdout, stderr) =
        run(&mut untie_data(dir.path(), "--input corpus/**/*.jsonl --out glob --vocab-size 120"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("documents: 60 kept"), "{stdout}");
}

#[test]
fn every_stage_is_reported_with_its_counts() {
    let dir = tempfile::tempdir().unwrap();
    let paragraph = "A paragraph of more than forty characters that stands in two documents.";
    let gutenberg =
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\nThe whole book.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***";
    let mut lines = lines();
    for text in [
        "The 3 ships sailed.\nThey came 3 times to port.".to_owned(),
        format!("First it is here.\n{paragraph}"),
        format!("{paragraph}\nThen it is there."),
        "short".to_owned(),
        " ".to_owned(),
        "cafe\u{301} is two characters, caf\u{e9} is one, if it is let be".to_owned(),
        gutenberg.to_owned(),
    ] {
        lines.push(json!({ "text": text }).to_string());
    }
    lines.push("{\"text\": 7}".to_owned());
    lines.push("not json".to_owned());
    let mut bytes = lines.join("\n").into_bytes();
    bytes.extend(b"\n{\"text\": \"invalid \xff byte here\"}\n");
    fs::write(dir.path().join("a.jsonl"), bytes).unwrap();
    let arguments =
        format!("--input a.jsonl {USUAL} --dedup documents paragraphs --min-words 3 --normalize nfc --cased");
    let (code, stdout, stderr) = run(&mut untie_data(dir.path(), &arguments));
    assert_eq!(code, Some(0), "{stderr}");
    let documents = stdout.lines().find(|line| line.starts_with("documents: ")).unwrap();
    assert_eq!(
        documents,
        "documents: 65 kept; left out: 1 duplicate, 1 empty, 1 no JSON object, 1 no text field, 1 too few words"
    );
    let changed = stdout.lines().find(|line| line.starts_with("changed: ")).unwrap();
    assert!(changed.contains("1 duplicate paragraphs"), "{changed}");
    assert!(changed.contains("1 invalid UTF-8 sequences replaced"), "{changed}");
    assert!(changed.contains("Gutenberg"), "{changed}");
    let vocabulary = fs::read_to_string(dir.path().join("out/vocab.txt")).unwrap();
    assert!(vocabulary.contains('é') && !vocabulary.contains('\u{301}'));
}

/// Of 200 words, one other leaves 191 of 201 phrases: found with 99.99 %. One other in every tenth leaves 100 of 292: found with 0.3 %.
#[test]
fn near_duplicates_of_what_came_before_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let text = |changed: &[usize]| {
        let word = |at: usize| if changed.contains(&at) { format!("other{at}") } else { format!("word{at}") };
        json!({ "text": (0..200).map(word).collect::<Vec<_>>().join(" ") }).to_string()
    };
    let tenth: Vec<usize> = (0..200).step_by(10).collect();
    let mut lines = lines();
    lines.extend([text(&[]), text(&[100]), text(&tenth), text(&[7])]);
    fs::write(dir.path().join("a.jsonl"), lines.join("\n")).unwrap();
    for (out, dedup, expected) in [
        ("exact", "documents", "documents: 64 kept; left out: nothing"),
        ("near", "near", "documents: 62 kept; left out: 2 near-duplicate"),
        ("both", "documents near", "documents: 62 kept; left out: 2 near-duplicate"),
    ] {
        let arguments = format!("--input a.jsonl --out {out} --vocab-size 120 --dedup {dedup}");
        let (code, stdout, stderr) = run(&mut untie_data(dir.path(), &arguments));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.lines().any(|line| line == expected), "{stdout}");
    }
}

#[test]
fn a_dry_run_writes_nothing_and_comes_close() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<String> = lines().into_iter().cycle().take(3000).collect();
    fs::write(dir.path().join("a.jsonl"), many.join("\n")).unwrap();
    let arguments = format!("--input a.jsonl {USUAL}");
    let (code, planned, stderr) = run(&mut untie_data(dir.path(), &format!("{arguments} --dry-run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!dir.path().join("out").exists());
    assert_eq!(run(&mut untie_data(dir.path(), &arguments)).0, Some(0));
    let sizes: u64 = fs::read_dir(dir.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().contains("-0000"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    let planned: f64 = planned.split("shards").nth(1).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((planned - sizes as f64 / 1e6).abs() < 0.05 * planned, "{planned} MB planned, {sizes} bytes made");

    let (code, _, stderr) = run(&mut untie_data(dir.path(), &format!("--input - --format text {USUAL} --dry-run")));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("standard input can only be read once"), "{stderr}");
}

#[test]
fn memory_changes_nothing_but_what_can_be_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..200_000).map(|number| format!("{{\"text\": \"n{number} a b\"}}\n")).collect();
    fs::write(dir.path().join("a.jsonl"), text).unwrap();
    let shards = |out: &str| {
        let manifest = fs::read_to_string(dir.path().join(out).join("manifest.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["shards"].clone()
    };
    for (out, more) in [("one", "--memory-limit 300MB --workers 1"), ("two", "--memory-limit 4GB --workers 3")] {
        let arguments = format!("--input a.jsonl --out {out} --vocab-size 200 --dedup documents {more}");
        let (code, _, stderr) = run(&mut untie_data(dir.path(), &arguments));
        assert_eq!(code, Some(0), "{stderr}");
    }
    assert_eq!(shards("one"), shards("two"));
    let (code, _, stderr) = run(&mut untie_data(dir.path(), "--input a.jsonl --out out --memory-limit 5MB"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("expected at least 268 MB, got 5 MB"), "{stderr}");
}

fn manifest(dir: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(dir.join("out/manifest.json")).unwrap()).unwrap()
}

#[test]
fn what_a_vocabulary_loses_is_said_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    // 1,500 ideographs, each three times, in lines with some words of German and Japanese
    let ideographs: Vec<char> = (0..1500).filter_map(|index| char::from_u32(0x4e00 + index)).collect();
    let lines: Vec<String> = ideographs
        .chunks(10)
        .map(|line| {
            json!({ "text": format!("{} möchte パンダ", line.iter().collect::<String>().repeat(3)) }).to_string()
        })
        .collect();
    fs::write(dir.path().join("a.jsonl"), lines.join("\n")).unwrap();
    let run = |more: &str| run(&mut untie_data(dir.path(), &format!("--input a.jsonl --out out --force {more}")));

    let (code, stdout, stderr) = run("--vocab-size 5000");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("0.000 % `[UNK]`") && !stderr.contains("[UNK]"), "{stdout}{stderr}");
    assert!(stderr.contains("the text has no more pieces that occur twice"), "{stderr}");
    assert!(stderr.contains("of the Katakana letters (`パンダ` becomes `ハンタ`)"), "{stderr}");
    assert!(stderr.contains("of the Latin letters (`möchte` becomes `mochte`)"), "{stderr}");
    assert!(stderr.contains("`--strip-accents off`"), "{stderr}");

    let (_, _, stderr) = run("--vocab-size 5000 --limit-alphabet 1000 --strip-accents off");
    assert!(stderr.contains("`--limit-alphabet 1000` leaves out "), "{stderr}");
    assert!(stderr.contains("of the tokens are `[UNK]`"), "{stderr}");
    assert!(stderr.contains("words with characters that `--limit-alphabet 1000` leaves out"), "{stderr}");
    assert!(!stderr.contains("becomes"), "{stderr}");
    let found = manifest(dir.path());
    assert_eq!(found["settings"]["limit_alphabet"], 1000);
    assert_eq!(found["settings"]["strip_accents"], false);
    assert_eq!(found["tokenizer"]["strip_accents"], false);
    assert_eq!(found["tokenizer"]["lowercase"], true);

    let (_, _, stderr) = run("--vocab-size 1200 --cased");
    assert!(stderr.contains("for which 1200 tokens have no room: raise `--vocab-size`"), "{stderr}");
    let (_, _, stderr) = run("--tokenizer out/vocab.txt");
    assert!(stderr.contains("words with characters that `out/vocab.txt` does not have"), "{stderr}");

    fs::write(dir.path().join("a.jsonl"), json!({ "text": "ก".repeat(101) + " a b ab" }).to_string()).unwrap();
    let (_, _, stderr) = run("--vocab-size 100 --valid-fraction 0");
    // of `[UNK] a b a ##b`: no pair occurs twice
    assert!(
        stderr.contains("20.00 % words longer than a tokenizer of BERT allows, as in scripts without spaces"),
        "{stderr}"
    );
}

#[test]
fn folders_of_before_these_settings_are_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), lines().join("\n")).unwrap();
    let arguments = format!("--input a.jsonl {USUAL}");
    assert_eq!(run(&mut untie_data(dir.path(), &arguments)).0, Some(0));
    let mut old = manifest(dir.path());
    for key in ["limit_alphabet", "strip_accents"] {
        assert!(old["settings"].as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    old["settings"]["reader"].as_object_mut().unwrap().remove("drop_incomplete_sentences").unwrap();
    old["tokenizer"].as_object_mut().unwrap().remove("strip_accents").unwrap();
    fs::write(dir.path().join("out/manifest.json"), old.to_string()).unwrap();
    let (code, stdout, stderr) = run(&mut untie_data(dir.path(), &arguments));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("up to date: nothing to do"), "{stdout}");
    let (code, _, stderr) = run(&mut untie_data(dir.path(), &format!("{arguments} --strip-accents off")));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`strip_accents` was null, now false"), "{stderr}");
}

#[test]
fn unknown_templates_are_counted_and_their_sentences_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let page = |number: u32| {
        format!(
            "<page><title>Ort {number}</title><ns>0</ns><revision><model>wikitext</model><text>Der Ort {number} liegt am \
             Fluss. Er hat {{{{Metadaten Einwohnerzahl|X}}}} Einwohner und ist {{{{formatnum:{number}000}}}} m hoch. Er ist \
             alt.</text></revision></page>"
        )
    };
    let pages: String = (10..40).map(page).collect();
    fs::write(dir.path().join("a.xml"), format!("<mediawiki xml:lang=\"de\">{pages}</mediawiki>")).unwrap();
    let arguments = "--input a.xml --out out --vocab-size 200 --force";
    let (code, stdout, stderr) = run(&mut untie_data(dir.path(), arguments));
    assert_eq!(code, Some(0), "{stderr}");
    let line = stdout.lines().find(|line| line.starts_with("unknown templates")).unwrap();
    assert_eq!(
        line,
        "unknown templates in sentences: 30 (30 `metadaten einwohnerzahl`); `--drop-incomplete-sentences` drops these sentences"
    );
    assert_eq!(manifest(dir.path())["unknown_templates"], json!({ "metadaten einwohnerzahl": 30 }));
    let words = |manifest: serde_json::Value| manifest["train"]["tokens"].as_u64().unwrap();
    let with = words(manifest(dir.path()));

    let (code, stdout, stderr) = run(&mut untie_data(dir.path(), &format!("{arguments} --drop-incomplete-sentences")));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("changed: 30 incomplete sentences dropped"), "{stdout}");
    assert!(words(manifest(dir.path())) < with);
    let vocabulary = fs::read_to_string(dir.path().join("out/vocab.txt")).unwrap();
    assert!(vocabulary.contains("fluss") && !vocabulary.contains("einwohner"));
}

/// In a file system of 1 MB, which only a user namespace can mount without being root.
#[test]
fn a_full_disk_is_named_and_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 7_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:x}", state >> 20)
    };
    let text: String = (0..20_000)
        .map(|_| json!({ "text": format!("{} {} {}", noise(), noise(), noise()) }).to_string() + "\n")
        .collect();
    fs::write(dir.path().join("a.jsonl"), text).unwrap();
    fs::create_dir(dir.path().join("small")).unwrap();
    let program = env!("CARGO_BIN_EXE_untie-data");
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs small || exit 77
         {program} prepare --input a.jsonl --out small/out --vocab-size 300; echo code $?
         mount -o remount,size=64m small
         {program} prepare --input a.jsonl --out small/out --vocab-size 300; echo code $?"
    );
    let output =
        std::process::Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(dir.path()).output();
    let Ok(output) = output.map_err(|error| eprintln!("skipped: {error}")) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !stdout.contains("code") {
        eprintln!("skipped: this system lets nobody mount: {stderr}");
        return;
    }
    assert!(stdout.contains("code 1") && stdout.contains("code 0"), "{stdout}{stderr}");
    assert!(stderr.contains("No space left") && stderr.contains("hint: the disk is full"), "{stderr}");
    assert!(stdout.contains("documents: 20000 kept"), "{stdout}");
}
