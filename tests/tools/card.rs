//! The model card that goes with an export.

use std::fs;
use std::path::Path;

use crate::common::{stderr, TestWorkspace};
use serde_json::Value;
use untie::hub::CARD_MARK;

fn card(dir: &Path) -> String {
    fs::read_to_string(dir.join("README.md")).unwrap()
}

/// The front matter, read as the part of YAML that it may use: comments, `key: word`, and `key:` with a list of words.
fn front_matter(card: &str) -> Vec<(String, Vec<String>)> {
    let (text, _) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let is_word = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains([':', '#', ' ']);
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(word) = line.strip_prefix("- ") {
            assert!(is_word(word), "{line}");
            found.last_mut().unwrap().1.push(word.into());
        } else {
            let (key, value) = line.split_once(':').unwrap();
            let value = value.trim();
            assert!(is_word(key) && (value.is_empty() || is_word(value)), "{line}");
            found.push((key.into(), Some(value.to_owned()).filter(|value| !value.is_empty()).into_iter().collect()));
        }
    }
    found
}

/// The lines of metrics.jsonl with an evaluation, as rows of the card.
fn rows(run: &Path, last_step: u64) -> Vec<String> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let evaluated = values.filter(|value| value.get("eval/loss").is_some());
    let row = |value: Value| {
        let (step, loss) = (value["step"].as_u64().unwrap(), value["eval/loss"].as_f64().unwrap());
        let accuracy = value["eval/mlm_accuracy"].as_f64().unwrap();
        (step <= last_step).then(|| format!("| {step} | {loss:.4} | {:.2} % |\n", 100.0 * accuracy))
    };
    evaluated.filter_map(row).collect()
}

#[test]
fn a_run_is_exported_with_a_card_of_its_numbers_and_a_text_of_a_person_stays() {
    let workspace = TestWorkspace::new();
    let settings = ["train.steps=12", "eval.every=4", "sharing.untie_at=0.5", "checkpoint.every=8", "optim.lr=3e-4"];
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", "run"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = workspace.untie(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let (run, out) = (workspace.path("run"), workspace.path("out"));
    let text = card(&run.join("export"));

    let fields = front_matter(&text);
    let of = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, words)| words.join(" "));
    assert_eq!(of("library_name").as_deref(), Some("transformers"));
    assert_eq!(of("pipeline_tag").as_deref(), Some("fill-mask"));
    assert_eq!(of("tags").as_deref(), Some("bert fill-mask pre-trained untie"));
    assert_eq!(of("license"), None, "the licence is the user's to state");

    let all = rows(&run, 12);
    assert!(all.len() >= 3, "{all:?}");
    all.iter().for_each(|row| assert!(text.contains(row), "{row}{text}"));
    let manifest: Value = serde_json::from_slice(&fs::read(workspace.path("data/manifest.json")).unwrap()).unwrap();
    let documents = manifest["train"]["documents"].as_u64().unwrap();
    for words in [
        &format!("| data | 100 % | {documents} | "),
        "| Class | `BertForMaskedLM` |",
        "| 0 | 3 layers, all tied: one group of weights |",
        "| 6 | untied: 3 groups; held-out accuracy ",
        "| 12 | 3 layers, each with its own weights |",
        "| `optim.lr` | `0.0003` |",
        "BertForMaskedLM.from_pretrained(\".\")",
        &format!("untie {}, libtorch 2.", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.contains(words), "expected `{words}` in: {text}");
    }
    assert!(!text.contains(workspace.root().to_str().unwrap()), "{text}");
    assert!(fs::read(run.join("export/curves.png")).unwrap().starts_with(b"\x89PNG"));

    // That of an earlier checkpoint knows nothing of what came later; a card of ours is replaced.
    let export = |step: &str| {
        let output = workspace.untie(&["export", "--run", "run", "--step", step, "--out", "out"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    };
    export("12");
    let again = card(&out);
    assert_eq!(
        again.split("## Data").nth(1),
        text.split("## Data").nth(1),
        "the run's export and `untie export` agree"
    );
    export("8");
    let earlier = card(&out);
    rows(&run, 8).iter().for_each(|row| assert!(earlier.contains(row), "{row}{earlier}"));
    assert!(!earlier.contains(all.last().unwrap()), "{earlier}");
    assert!(earlier.contains("| 8 | 3 layers, each"), "{earlier}");

    let own = earlier.replace(&format!("{CARD_MARK}\n"), "").replace("# license", "license");
    fs::write(out.join("README.md"), &own).unwrap();
    export("12");
    assert_eq!(card(&out), own, "a person's own text stays");
    assert!(out.join("curves.png").exists());
    // Another family has another class, or is refused.
    let output = workspace.untie(&["export", "--run", "run", "--out", "esm", "--as", "esm"]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("cannot be written as `esm`: it is a Post-LN model\nhint: "), "{message}");
    let output = workspace.untie(&["export", "--run", "run", "--out", "esm", "--as", "roberta"]);
    assert!(stderr(&output).contains("expected one of `auto`, `bert`, `megatron-bert`, `esm`"), "{}", stderr(&output));
    // Without metrics there are no results, but there is a model.
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    export("12");
    assert!(card(&out).contains("There are no recorded evaluations."));
    assert!(!out.join("curves.png").exists());
}
