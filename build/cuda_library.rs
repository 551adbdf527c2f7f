//! libuntie_cuda.so: what calls the CUDA runtime and NCCL (csrc/cuda/library.h). The program contains it, and loads it where there is a driver.

use std::env;
use std::path::{Path, PathBuf};

use crate::{cuda_home, library_folders, torch_compiler};

/// Builds the library; `None`: this libtorch is one for CPUs, or CUDA's headers are not here. `lib` is libtorch's folder.
pub fn build(include: &Path, lib: &Path) -> Option<PathBuf> {
    if !lib.join("libtorch_cuda.so").exists() {
        return None;
    }
    let Some(runtime) = headers(include, "cuda_runtime_api.h") else {
        println!("cargo:warning=cuda_runtime_api.h is not found: without CUDA kernels and NCCL, for one GPU only");
        return None;
    };
    let nccl = headers(include, "nccl.h");
    let mut build = torch_compiler(include);
    // Before NVIDIA's headers what stands for those that are not needed.
    build.include("csrc/cuda").include(runtime).includes(&nccl).flag("-fvisibility=hidden");
    build.files(["csrc/cuda/launcher.cpp", "csrc/cuda/exports.cpp"]);
    if nccl.is_some() {
        build.file("csrc/cuda/nccl.cpp").define("UNTIE_WITH_NCCL", None);
    } else {
        println!("cargo:warning=nccl.h is not found: without NCCL, for one GPU only");
    }
    Some(link(&build, lib))
}

fn link(build: &cc::Build, lib: &Path) -> PathBuf {
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("libuntie_cuda.so");
    let mut linker = build.get_compiler().to_command();
    linker.arg("-shared").arg("-o").arg(&path).args(build.compile_intermediates());
    linker.args(["libtorch_cuda.so", "libc10_cuda.so", "libtorch_cpu.so", "libc10.so"].map(|name| lib.join(name)));
    // CUDA's under its versioned name, as the wheels bring it.
    linker.args(library_folders(lib).iter().map(|folder| folder.join("libcudart.so.13")).find(|path| path.exists()));
    // No search path: libtorch_cuda.so and what it needs are loaded before.
    linker.args(["-Wl,-z,now", "-Wl,-s", "-Wl,--as-needed"]);
    let linked = linker.status().unwrap_or_else(|error| panic!("`{linker:?}`: {error}"));
    assert!(linked.success(), "`{linker:?}`: {linked}");
    path
}

/// The folder of a header of CUDA's or NCCL's: beside libtorch's, as `make setup` puts them, or the system's.
fn headers(include: &Path, name: &str) -> Option<PathBuf> {
    let folders = [include.join("nvidia"), cuda_home().join("include"), "/usr/include".into()];
    folders.into_iter().find(|folder| folder.join(name).exists())
}
