//! `untie plot` on hand-written metrics: what is in the pictures, where they go, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::stderr;
use serde_json::{json, Map, Value};

struct TestWorkspace {
    folder: tempfile::TempDir,
}

impl TestWorkspace {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, run: &str, text: &str) {
        fs::create_dir_all(self.path(run)).unwrap();
        fs::write(self.path(run).join("metrics.jsonl"), text).unwrap();
    }

    fn plot(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_untie"))
            .arg("plot")
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .unwrap()
    }

    /// The SVG that `untie plot` with these arguments writes.
    fn svg(&self, arguments: &[&str]) -> String {
        let output = self.plot(&[arguments, &["--out", "picture.svg"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read_to_string(self.path("picture.svg")).unwrap()
    }
}

fn line(step: u64, values: &[(&str, Value)]) -> String {
    let mut record = Map::new();
    record.insert("step".into(), step.into());
    record.extend(values.iter().map(|(tag, value)| ((*tag).into(), value.clone())));
    Value::Object(record).to_string() + "\n"
}

/// 100 steps, logged every 10, untied after step 50 from one group into `groups`; correlations of `pairs` until then.
fn metrics(groups: u64, pairs: usize) -> String {
    let mut text = line(0, &[("sharing/groups", json!(1))]);
    for step in (10..=100).step_by(10) {
        let groups = if step > 50 { groups } else { 1 };
        let (loss, accuracy) = (10.0 - step as f64 / 20.0, step as f64 / 250.0);
        text += &line(
            step,
            &[("train/loss", loss.into()), ("train/mlm_accuracy", accuracy.into()), ("sharing/groups", groups.into())],
        );
        if step % 50 == 0 {
            text += &line(step, &[("eval/loss", (loss + 0.1).into()), ("eval/mlm_accuracy", (accuracy - 0.01).into())]);
        }
        if step <= 50 {
            let tags: Vec<_> = (0..pairs).map(|pair| format!("sharing/correlation/{pair:02}")).collect();
            let values = tags.iter().map(|tag| (tag.as_str(), json!(0.6 - step as f64 / 100.0)));
            text += &line(step, &values.collect::<Vec<_>>());
        }
    }
    text
}

/// The texts of a picture, in their order.
fn texts(svg: &str) -> Vec<String> {
    let bodies =
        svg.split("<text ").skip(1).map(|part| part.split_once('>').unwrap().1.split_once("</text>").unwrap().0);
    bodies.map(|body| body.trim().to_owned()).collect()
}

fn count(svg: &str, text: &str) -> usize {
    texts(svg).iter().filter(|found| *found == text).count()
}

/// Width and height from the header of a PNG (its specification, 11.2.2).
fn png_size(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(bytes[12..16], *b"IHDR");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// The points of every polyline of a colour.
fn lines_of(svg: &str, color: &str) -> Vec<Vec<(f64, f64)>> {
    let tags = svg.split("<polyline ").skip(1).map(|part| part.split_once("/>").unwrap().0);
    let coloured = tags.filter(|tag| tag.contains(&format!("stroke=\"{color}\"")));
    let points = |tag: &str| {
        let list = tag.split_once("points=\"").unwrap().1.split_once('"').unwrap().0;
        let pairs = list.split_whitespace().map(|pair| pair.split_once(',').unwrap());
        pairs.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
    };
    coloured.map(points).collect()
}

/// The first two colours of the palette.
const BLUE: &str = "#0072B2";
const ORANGE: &str = "#D55E00";

#[test]
fn a_run_gets_both_pictures_in_its_folder() {
    let workspace = TestWorkspace::new();
    workspace.write("runs/mini", &metrics(12, 11));
    let output = workspace.plot(&["--runs", "runs/mini"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "runs/mini/plot.svg\nruns/mini/plot.png\n");
    assert_eq!(fs::read_dir(workspace.path("runs/mini")).unwrap().count(), 3);

    let svg = fs::read_to_string(workspace.path("runs/mini/plot.svg")).unwrap();
    for (text, times) in [
        ("Loss (dashed: held out)", 1),
        ("Masked tokens predicted right (dashed: held out)", 1),
        ("Gradient correlation, mini", 1),
        // In the legends of two charts, as its own untying point is.
        ("mini", 2),
        ("1 → 12", 2),
        ("lower layer", 1),
    ] {
        assert_eq!(count(&svg, text), times, "{text}: {:?}", texts(&svg));
    }
    // Correlations from 0.1 to 0.5: the colours reach from 0 to 1.
    assert!(texts(&svg).iter().all(|text| !text.starts_with('−')), "{:?}", texts(&svg));
    let (width, height) = png_size(&workspace.path("runs/mini/plot.png"));
    assert_eq!(width, 1800);
    assert!(svg.contains(&format!("viewBox=\"0 0 {width} {height}\"")), "{}", &svg[..200]);
}

/// Ten points from loss 9.5 down to 5: one straight line, from the left end of the plot to its right end.
#[test]
fn curves_are_where_the_numbers_are() {
    let workspace = TestWorkspace::new();
    workspace.write("a", &metrics(2, 0));
    let svg = workspace.svg(&["--runs", "a", "--smooth", "1"]);
    let curves: Vec<_> = lines_of(&svg, BLUE).into_iter().filter(|points| points.len() == 10).collect();
    let [loss, accuracy] = &curves[..] else { panic!("{curves:?}") };
    for curve in [loss, accuracy] {
        let steps: Vec<f64> = curve.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() <= 1.0), "{steps:?}");
    }
    // Down on paper is a larger y.
    assert!(loss[9].1 - loss[0].1 > 300.0 && accuracy[0].1 - accuracy[9].1 > 300.0, "{loss:?} {accuracy:?}");
    let middle = (loss[0].1 + loss[9].1) / 2.0;
    assert!(((loss[4].1 + loss[5].1) / 2.0 - middle).abs() <= 1.0, "{loss:?}");
}

#[test]
fn smoothing_takes_the_mean_of_the_points_around() {
    let workspace = TestWorkspace::new();
    let zigzag: String = (1..=9).map(|step| line(step, &[("train/loss", json!(step % 2))])).collect();
    workspace.write("a", &zigzag);
    let heights = |smooth: &str| {
        let svg = workspace.svg(&["--runs", "a", "--smooth", smooth]);
        let curve = lines_of(&svg, BLUE).into_iter().find(|points| points.len() == 9).unwrap();
        let inner: Vec<f64> = curve[1..8].iter().map(|(_, y)| *y).collect();
        inner.iter().fold(0.0, |most: f64, y| most.max((y - inner[0]).abs()))
    };
    // Means of three are 1/3 and 2/3 in turn; the ends, alone, stay 1, so the chart spans 1/3 to 1, twice as much.
    assert!((heights("3") / heights("1") - 0.5).abs() < 0.01, "{} {}", heights("3"), heights("1"));
}

#[test]
fn several_runs_share_a_picture() {
    let workspace = TestWorkspace::new();
    for (run, pairs) in [("x/same", 0), ("y/same", 3), ("other", 2)] {
        workspace.write(run, &metrics(4, pairs));
    }
    let arguments = ["--runs", "x/same", "y/same", "other", "x/../other"];
    let output = workspace.plot(&[&arguments[..], &["--out", "new/all.png", "--out", "new/all.SVG"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "new/all.png\nnew/all.SVG\n");
    let svg = fs::read_to_string(workspace.path("new/all.SVG")).unwrap();
    for (text, times) in [
        ("x/same", 2),
        ("y/same", 2),
        ("other", 2),
        ("same", 0),
        ("Gradient correlation, y/same", 1),
        ("Gradient correlation, other", 1),
        ("Gradient correlation, x/same", 0),
        ("1 → 4", 6),
        ("lower layer", 2),
    ] {
        assert_eq!(count(&svg, text), times, "{text}: {:?}", texts(&svg));
    }
    assert!(!lines_of(&svg, ORANGE).is_empty());
    assert_eq!(png_size(&workspace.path("new/all.png")).0, 1800);
}

#[test]
fn dozens_of_untying_points_are_all_drawn_and_some_labelled() {
    let workspace = TestWorkspace::new();
    let groups = |step: u64| line(step, &[("train/loss", 1.into()), ("sharing/groups", (step + 1).into())]);
    workspace.write("a", &(0..24).map(groups).collect::<String>());
    let svg = workspace.svg(&["--runs", "a"]);
    let labels: Vec<_> = texts(&svg).into_iter().filter(|text| text.contains('→')).collect();
    assert!(labels.contains(&"1 → 2".into()) && labels.contains(&"23 → 24".into()), "{labels:?}");
    // The charts are 900 pixels wide, a label about 50: no two charts could hold 46.
    assert!((8..36).contains(&labels.len()), "{labels:?}");
    // Marks are blue mixed with white in equal parts; each is dashes at one x.
    let marks = lines_of(&svg, "#7FB8D8");
    let mut places: Vec<i64> = marks.iter().map(|dash| dash[0].0 as i64).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 23);
}

/// The first and last label of each run stay, also where another run's stands where the first would be.
#[test]
fn a_label_of_one_run_does_not_take_the_place_of_anothers() {
    let workspace = TestWorkspace::new();
    let groups = |steps: &[(u64, u64)]| {
        let values = |groups| [("sharing/groups", json!(groups)), ("train/loss", 1.into())];
        steps.iter().map(|(step, groups)| line(*step, &values(*groups))).collect::<String>()
    };
    workspace.write("a", &groups(&[(0, 1), (40, 12), (400, 12)]));
    workspace.write("b", &groups(&[(0, 1), (60, 2), (80, 3), (180, 4), (400, 4)]));
    let svg = workspace.svg(&["--runs", "a", "b"]);
    for label in ["1 → 12", "1 → 2", "3 → 4"] {
        assert_eq!(count(&svg, label), 1, "{label}: {:?}", texts(&svg));
    }
}

/// A crash leaves half a line; numbers that were not finite are null; neither is shown, and neither stops the picture.
#[test]
fn gaps_and_torn_lines() {
    let workspace = TestWorkspace::new();
    let loss = |step: u64| line(step, &[("train/loss", if step == 5 { Value::Null } else { json!(step) })]);
    let text: String = (1..=10).map(loss).collect();
    workspace.write("a", &(text.clone() + "{\"step\": 11, \"train/lo"));
    let output = workspace.plot(&["--runs", "a", "--out", "a.svg", "--smooth", "1"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let svg = fs::read_to_string(workspace.path("a.svg")).unwrap();
    let mut runs: Vec<usize> = lines_of(&svg, BLUE).iter().map(Vec::len).filter(|length| *length > 2).collect();
    runs.sort_unstable();
    // Steps 1 to 4 and 6 to 10.
    assert_eq!(runs, [4, 5]);
    // No accuracy was logged, no correlation.
    assert_eq!((count(&svg, "no data"), svg.matches("correlation").count()), (1, 0));

    workspace.write("b", &text.replace("{\"step\":3,", "\0\0\0"));
    let output = workspace.plot(&["--runs", "b"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "warning: metrics.jsonl of b: left out 1 damaged lines\n");
}

#[test]
fn what_cannot_be_drawn_is_refused_with_its_exit_code() {
    let workspace = TestWorkspace::new();
    workspace.write("good", &metrics(2, 1));
    workspace.write("empty", "");
    workspace.write("torn", "{\"step\": 1");
    fs::create_dir(workspace.path("no-run")).unwrap();
    fs::write(workspace.path("file"), "").unwrap();
    for (arguments, code, parts) in [
        (&["--runs", "missing"][..], 3, &["`missing` is not a folder", "hint: "][..]),
        (&["--runs", "good", "no-run"], 3, &["no-run` has no metrics.jsonl", "hint: "]),
        (&["--runs", "file"], 3, &["file` is not a folder"]),
        (&["--runs", "empty"], 3, &["empty/metrics.jsonl` holds no metrics", "hint: "]),
        (&["--runs", "torn"], 3, &["torn/metrics.jsonl` holds no metrics"]),
        (&["--runs", "good", "--out", "a.svg", "a.pdf"], 2, &["`.svg` or `.png`, got `a.pdf`"]),
        (&["--runs", "good", "--out", "file/a.svg"], 1, &["cannot create `file`"]),
        (&["--runs", "good", "--smooth", "0"], 2, &["--smooth"]),
        (&[], 2, &["--runs"]),
    ] {
        let output = workspace.plot(arguments);
        let report = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {report}");
        assert!(parts.iter().all(|part| report.contains(part)), "{arguments:?}: {report}");
        assert!(output.stdout.is_empty());
    }
    // Refused before the first picture was written.
    assert!(!workspace.path("a.svg").exists() && !workspace.path("good/plot.svg").exists());
}

/// 20 steps and 2.5 TFLOP in an hour and a half; the other run is of an earlier version. By FLOPs it cannot be drawn.
#[test]
fn runs_are_compared_by_what_they_cost() {
    let workspace = TestWorkspace::new();
    let cost = |step: u64| {
        let flops = 1.25e11 * step as f64;
        let values = [
            ("train/flops", json!(flops)),
            ("train/tokens", json!(100 * step)),
            ("train/hours", json!(0.075 * step as f64)),
        ];
        line(step, &[&values[..], &[("train/loss", json!(3.0))]].concat())
    };
    let eval = line(20, &[("eval/loss", json!(2.5)), ("eval/mlm_accuracy", json!(0.25))]);
    workspace.write("new", &(cost(10) + &cost(20) + &eval));
    workspace.write("old", &line(1000, &[("train/loss", json!(2.0))]));
    let output = workspace.plot(&["--runs", "new", "old", "--table", "--out", "picture.svg"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("| new | 20 | 2.00 k | 2.50 T | 1h 30m | 2.5000 | 25.00 % |\n"), "{printed}");
    assert!(printed.ends_with("| old | 1,000 | - | - | - | - | - |\n"), "{printed}");
    let svg = workspace.svg(&["--runs", "new", "--x", "flops"]);
    let has_tera = svg.lines().any(|line| line.starts_with(|at: char| at.is_ascii_digit()) && line.ends_with('T'));
    assert!(svg.contains("FLOPs") && has_tera, "{svg}");
    let refused = workspace.plot(&["--runs", "new", "old", "--x", "flops", "--out", "picture.svg"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        stderr(&refused).contains("the metrics of old do not have `train/flops` from the start"),
        "{}",
        stderr(&refused)
    );
}
