//! Compiles the shim (csrc/) against the libtorch that torch-sys found, and makes the binary find that libtorch at run
//! time (rpath). Fails with one sentence and a hint when libtorch is missing.

use std::path::{Path, PathBuf};
use std::{env, process};

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    // torch-sys publishes the folder it links against to its direct dependents.
    let lib = match env::var("DEP_TCH_LIBTORCH_LIB") {
        Ok(folder) => PathBuf::from(folder),
        Err(_) => stop("torch-sys did not say where libtorch is"),
    };
    if !lib.join("libtorch_cpu.so").exists() {
        stop(&format!("`{}` has no libtorch_cpu.so", lib.display()));
    }
    let nccl = compile_shim(&include_folder(&lib), &lib);
    // DT_RPATH, not DT_RUNPATH: it also serves the libraries that libtorch itself loads.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{}", lib.display());
    if lib.join("libtorch_cuda.so").exists() {
        // Nothing refers to a symbol of libtorch_cuda; without this the linker drops it and CUDA silently is absent.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-L{},-ltorch_cuda,--as-needed", lib.display());
    }
    if nccl {
        // What libtorch's inline functions may call; CUDA's under its versioned name, as the wheels bring it.
        for library in
            ["libc10_cuda.so", "libcudart.so.13"].map(|name| lib.join(name)).iter().filter(|path| path.exists())
        {
            println!("cargo:rustc-link-arg={}", library.display());
        }
    }
    // c10d's classes refer to Gloo's, which are inside libtorch and not exported.
    println!("cargo:rustc-link-arg=-Wl,--allow-shlib-undefined");
}

fn include_folder(lib: &Path) -> PathBuf {
    let beside = lib.with_file_name("include");
    let root = env::var_os("LIBTORCH_INCLUDE").map_or(beside, |folder| PathBuf::from(folder).join("include"));
    if !root.join("ATen/ATen.h").exists() {
        stop(&format!("`{}` has no ATen/ATen.h", root.display()));
    }
    root
}

/// Whether NCCL is among what was compiled.
fn compile_shim(include: &Path, lib: &Path) -> bool {
    let avx512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"];
    compile_kernels("default", &[]);
    compile_kernels("avx2", &["-mavx2", "-mfma"]);
    compile_kernels("avx512", &avx512);
    compile_kernels("avx512bf16", &[&avx512[..], &["-mavx512bf16"]].concat());
    let has_cuda = lib.join("libtorch_cuda.so").exists();
    let nccl = if has_cuda { nccl_headers(include) } else { None };
    if has_cuda && nccl.is_none() {
        println!("cargo:warning=nccl.h and cuda_runtime_api.h are not found: without NCCL, for one GPU only");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .opt_level(3)
        .warnings(false)
        // at::parallel_for is a template over OpenMP: without this flag it would quietly run on one thread.
        .flag("-fopenmp")
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .include("csrc/gloo")
        .includes(nccl.iter().flatten())
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .files([
            "csrc/errors.cpp",
            "csrc/autograd.cpp",
            "csrc/recompute.cpp",
            "csrc/heap.cpp",
            "csrc/device_step.cpp",
            "csrc/random.cpp",
            "csrc/profile.cpp",
            "csrc/context.cpp",
            "csrc/fused/levels.cpp",
            "csrc/fused/workspace.cpp",
            "csrc/fused/weights.cpp",
            "csrc/fused/optimizer.cpp",
            "csrc/fused/layer.cpp",
            "csrc/fused/node.cpp",
            "csrc/fused/head.cpp",
            "csrc/fused/head_node.cpp",
            "csrc/fused/dropout.cpp",
            "csrc/fused/embeddings.cpp",
            "csrc/parallel/world.cpp",
            "csrc/parallel/reducer.cpp",
            if nccl.is_some() { "csrc/parallel/nccl.cpp" } else { "csrc/parallel/no_nccl.cpp" },
        ])
        .compile("untie_shim");
    // By name the same libgomp.so.1 that libtorch loads, so that both share their threads.
    println!("cargo:rustc-link-lib=dylib=gomp");
    nccl.is_some()
}

/// Where headers of NCCL and of the CUDA runtime are: beside libtorch's, as `make setup` puts them, or the system's; before them
/// what stands for the rest of CUDA's.
fn nccl_headers(include: &Path) -> Option<Vec<PathBuf>> {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let home = env::var_os("CUDA_HOME").map_or("/usr/local/cuda".into(), PathBuf::from);
    let folders = [include.join("nvidia"), home.join("include"), "/usr/include".into()];
    let has = |name: &str| folders.iter().find(|folder| folder.join(name).exists()).cloned();
    Some(vec!["csrc/cuda".into(), has("cuda_runtime_api.h")?, has("nccl.h")?])
}

/// The vector kernels for one level of x86 instructions. Only these files get its flags: they include nothing of libtorch,
/// whose inline functions would otherwise be compiled with them too and be linked in everywhere.
fn compile_kernels(level: &str, flags: &[&str]) {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .opt_level(3)
        .warnings(false)
        .flag("-fno-math-errno")
        .flag("-fno-trapping-math")
        .flag("-Wno-psabi")
        .define("LEVEL", level.to_uppercase().as_str())
        .define("TABLE", format!("kernels_{level}").as_str())
        .file("csrc/kernels/level.cpp");
    for flag in flags {
        build.flag(flag);
    }
    build.compile(&format!("untie_kernels_{level}"));
}

fn stop(problem: &str) -> ! {
    eprintln!("error: {problem}");
    eprintln!("hint: run `make setup`, or set LIBTORCH to a folder with libtorch 2.11.0");
    process::exit(1);
}
