//! Compiles the shim (csrc/) against the libtorch that torch-sys found, and makes the binary find that libtorch at run
//! time (rpath). Fails with one sentence and a hint when libtorch is missing.

#[path = "build/cuda_kernels.rs"]
mod cuda_kernels;
#[path = "build/cuda_library.rs"]
mod cuda_library;
#[path = "build/nvrtc.rs"]
mod nvrtc;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
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
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|name| name == "x86_64");
    compile_kernels("default", &[]);
    if is_x86 {
        compile_kernels("avx2", &["-mavx2", "-mfma"]);
        compile_kernels("avx512", &AVX512);
        compile_kernels("avx512bf16", &[&AVX512[..], &["-mavx512bf16"]].concat());
    }
    let include = include_folder(&lib);
    let cuda = cuda_library::build(&include, &lib);
    compile_shim(&include, cuda.as_deref());
    if let Err(problem) = cuda_kernels::build(cuda.is_some().then(|| library_folders(&lib)).as_deref()) {
        eprintln!("error: {problem}");
        process::exit(1);
    }
    // DT_RPATH, not DT_RUNPATH: it also serves the libraries that libtorch itself loads.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{}", lib.display());
    if is_x86 {
        // To csrc/hypot.cpp, which says why.
        println!("cargo:rustc-link-arg=-Wl,--wrap=hypot,--wrap=hypotf");
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

const AVX512: [&str; 6] = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"];

/// What is compiled together: libtorch's headers take ten seconds each time they are read, our own code little.
const UNITS: [(&str, &[&str]); 2] = [
    (
        "host",
        &[
            "errors",
            "autograd",
            "recompute",
            "heap",
            "hypot",
            "device_step",
            "random",
            "profile",
            "context",
            "parallel/world",
            "parallel/reducer",
        ],
    ),
    (
        "fused",
        &[
            "fused/levels",
            "fused/workspace",
            "fused/weights",
            "fused/optimizer",
            "fused/layer",
            "fused/node",
            "fused/head",
            "fused/head_node",
            "fused/dropout",
            "fused/embeddings",
            "device/launch",
            "device/attention",
            "device/kernels",
            "device/weights",
            "device/layer",
            "device/head",
            "device/embeddings",
            "device/optimizer",
        ],
    ),
];

/// A file in OUT_DIR that includes these files of csrc/.
fn unit(name: &str, sources: &[&str]) -> PathBuf {
    let folder = env::current_dir().expect("cargo runs this in the crate's folder").join("csrc");
    let line = |source: &&str| format!("#include \"{}\"\n", folder.join(source).with_extension("cpp").display());
    let text: String = sources.iter().map(line).collect();
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(name).with_extension("cpp");
    if fs::read_to_string(&path).map_or(true, |before| before != text) {
        fs::write(&path, text).expect("OUT_DIR can be written");
    }
    path
}

/// What all of csrc/ is compiled with.
fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).opt_level(3).warnings(true).extra_warnings(true);
    // Debug information would bring every type of libtorch along: twice the time and ten times the space.
    build.debug(false);
    build
}

/// What includes headers of libtorch.
fn torch_compiler(include: &Path) -> cc::Build {
    let mut build = compiler();
    // at::parallel_for is a template over OpenMP: without this flag it would quietly run on one thread.
    build.flag("-fopenmp").define("_GLIBCXX_USE_CXX11_ABI", "1");
    for folder in [include, &include.join("torch/csrc/api/include")] {
        // Not `-I`: warnings are for our own code.
        build.flag("-isystem").flag(folder);
    }
    build
}

/// `cuda`: the library that the program shall contain.
fn compile_shim(include: &Path, cuda: Option<&Path>) {
    // Of its own, because ccache keeps no file that contains another one.
    let mut loader = compiler();
    if let Some(library) = cuda {
        loader.define("UNTIE_CUDA_LIBRARY", format!("\"{}\"", library.display()).as_str());
    }
    loader.file("csrc/cuda/library.cpp");
    let mut build = torch_compiler(include);
    build.include("csrc/gloo").objects(loader.compile_intermediates());
    for (name, sources) in UNITS {
        build.file(unit(name, sources));
    }
    build.compile("untie_shim");
    // By name the same libgomp.so.1 that libtorch loads, so that both share their threads.
    println!("cargo:rustc-link-lib=dylib=gomp");
}

/// Where CUDA's libraries may lie: beside libtorch's, in the packages of PyPI beside torch's, in the system's CUDA.
fn library_folders(lib: &Path) -> Vec<PathBuf> {
    vec![lib.into(), lib.join("../../nvidia/cu13/lib"), cuda_home().join("lib64")]
}

fn cuda_home() -> PathBuf {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    env::var_os("CUDA_HOME").map_or("/usr/local/cuda".into(), PathBuf::from)
}

/// The vector kernels for one level of instructions. Only these files get its flags: they include nothing of libtorch,
/// whose inline functions would otherwise be compiled with them too and be linked in everywhere.
fn compile_kernels(level: &str, flags: &[&str]) {
    let mut build = compiler();
    build
        .flag("-fno-math-errno")
        .flag("-fno-trapping-math")
        .flag("-Wno-psabi")
        // What GCC 12 says of its own AVX-512 header.
        .flag("-Wno-maybe-uninitialized")
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
