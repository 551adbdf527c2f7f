//! Tests of what a process has once: libtorch's generator and number of threads.

use std::env;
use std::process::Command;

const CHILD: &str = "UNTIE_TEST_IN_A_PROCESS_OF_ITS_OWN";

/// Runs `test` where no other test runs beside it: this program again, for the test `name` in `module` (`module_path!()`) alone.
/// There the same call runs the body.
pub fn in_own_process(module: &str, name: &str, test: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        return test();
    }
    let (_, inside) = module.split_once("::").expect("a module of a test binary");
    let path = format!("{inside}::{name}");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &path, "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success() && out.contains("test result: ok. 1 passed"), "{path}:\n{out}\n{errors}");
}
