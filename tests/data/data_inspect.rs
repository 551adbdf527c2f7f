//! `untie data inspect` shows the samples that a run reads.

use crate::common::{stderr, Workshop};

#[test]
fn samples_are_those_of_a_run_with_their_masks() {
    let workshop = Workshop::new();
    let output = workshop.untie(&["data", "inspect", "data", "--sequence-length", "32", "--verify"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let samples: Vec<&str> = text.split("samples ([seen|to predict])\n").nth(1).unwrap().lines().collect();
    assert_eq!(samples.len(), 10);
    for sample in samples {
        assert!(sample.contains("[CLS]") && sample.ends_with("[SEP]"), "{sample}");
        // 15 % of 30 tokens are 4.5: five, unless documents end within the sample, whose [SEP] cannot be masked.
        let targets = sample.matches('|').count();
        assert!(targets == 5 || (targets == 4 && sample.matches("[SEP]").count() > 1), "{sample}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let workshop = Workshop::new();
    for (arguments, code, words) in [
        (&["--objective", "nsp"][..], 2, "unknown variant `nsp`"),
        (&["--sequence-length", "2"], 2, "`data.sequence_length` must be at least 3"),
        (&["--objective", "mlm+nsp"], 3, "--sentences"),
    ] {
        let output = workshop.untie(&[&["data", "inspect", "data"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}
