//! The statistics, the report and the figure of scripts/study.py. Skipped, with a message, where there is no python3.

use std::path::Path;
use std::process::Command;

#[test]
fn numbers_report_and_figure_of_the_study_are_right() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/study/test_study.py");
    match Command::new("python3").arg("-B").arg(tests).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("skipped: no python3: {error}"),
    }
}
