//! Scripts in namespaces of their own, where they may mount disks and lay cables.

use std::process::Command;

use crate::common::TestWorkspace;

/// `script` by a shell in the workspace's folder, as root of a user namespace and of `namespaces`, with the binary in `$UNTIE`.
pub fn unshared(workspace: &TestWorkspace, namespaces: &[&str], script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).args(namespaces).args(["sh", "-c", script]);
    command.current_dir(workspace.root()).env("OMP_NUM_THREADS", "1").env("UNTIE", env!("CARGO_BIN_EXE_untie"));
    command
}

/// Whether the system lets a test do what `script` does there; says so where it does not.
pub fn is_allowed(workspace: &TestWorkspace, namespaces: &[&str], script: &str) -> bool {
    let is_allowed = unshared(workspace, namespaces, script).output().is_ok_and(|output| output.status.success());
    if !is_allowed {
        println!("skipped: this system does not let a test make namespaces: {namespaces:?}");
    }
    is_allowed
}
