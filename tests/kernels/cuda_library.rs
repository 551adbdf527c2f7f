//! CUDA's libraries are loaded where there is a driver, and only there. The driver is an empty library here, so that this needs no GPU.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use untie::shim::{check_cuda_libraries, load_cuda_kernels, Backend, ProcessGroups, Store};

const CHILD: &str = "UNTIE_TEST_WITH_A_DRIVER";

/// A library with the driver's name, in a folder of its own.
fn write_driver(folder: &Path) {
    let source = folder.join("driver.c");
    fs::write(&source, "int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }\n").unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(folder.join("libcuda.so.1")).arg(source);
    assert!(command.status().unwrap().success());
}

/// What loading our kernels, and meeting over NCCL, say of a machine without a GPU.
fn refusals() -> (String, String) {
    let kernels = load_cuda_kernels(0).unwrap_err().to_string();
    let second = Duration::from_secs(1);
    let store = Store::connect("127.0.0.1", 0, true, second, "").unwrap();
    let nccl = ProcessGroups::meet(&store, 0, 1, second, ("127.0.0.1", ""), Backend::Nccl(0)).map(drop);
    (kernels, nccl.unwrap_err().to_string())
}

#[test]
fn with_a_driver_the_programs_own_library_is_loaded() {
    if env::var_os(CHILD).is_some() {
        check_cuda_libraries().unwrap();
        let (kernels, nccl) = refusals();
        println!("{kernels}\n{nccl}");
        assert!(kernels.contains("driver version is insufficient"), "{kernels}");
        assert!(nccl.contains("no GPUs found"), "{nccl}");
        return;
    }
    let (kernels, nccl) = match tch::Cuda::device_count() {
        0 => refusals(),
        _ => return println!("skipped: this machine has a GPU"),
    };
    if kernels == "this build has no CUDA kernels" {
        return println!("skipped: {kernels}");
    }
    for text in [kernels, nccl] {
        assert!(text.contains("no NVIDIA driver") || text.contains("driver version is insufficient"), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    write_driver(folder.path());
    let (_, name) = module_path!().split_once("::").unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{name}::with_a_driver_the_programs_own_library_is_loaded"), "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{errors}");
}
