//! Builds tests/cuda_kernels/emulated.cpp with the C++ compiler and loads it: the kernels of csrc/cuda_kernels, run by the emulator.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use xxhash_rust::xxh3::Xxh3Default;

#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}
const RTLD_NOW: c_int = 2;

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a build reads: the kernels (from their own folder, or from a patched copy), the tests, and the CPU's kernels.
fn hash_of_sources(kernels: &Path, arguments: &[&str]) -> u64 {
    let mut hash = Xxh3Default::new();
    for folder in [kernels, &repository().join("tests/cuda_kernels"), &repository().join("csrc/kernels")] {
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        // Python keeps a folder there.
        files.retain(|path| path.is_file());
        files.sort();
        for file in files {
            hash.update(file.file_name().unwrap().as_encoded_bytes());
            hash.update(&fs::read(file).unwrap());
        }
    }
    for argument in arguments {
        hash.update(argument.as_bytes());
        hash.update(&[0]);
    }
    hash.digest()
}

/// Compiles or links `name` from `input`, over the kernels in `kernels`; the file is kept for later runs, under a hash of what it is
/// made from. One at a time: other tests have the other processors.
pub fn build(name: &str, input: &Path, kernels: &Path, flags: &[&str]) -> PathBuf {
    static COMPILER: Mutex<()> = Mutex::new(());
    let _alone = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let always = ["-std=c++17", "-g1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fPIC", "-fvisibility=hidden"];
    let hash = hash_of_sources(kernels, &[&[name, &compiler], &always[..], flags].concat());
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{hash:016x}.o"));
    if !built.exists() {
        let unfinished = built.with_extension(std::process::id().to_string());
        let mut command = Command::new(&compiler);
        command.args(always).arg("-I").arg(kernels).arg("-I").arg(repository().join("tests/cuda_kernels"));
        command.arg(input).args(flags).arg("-ldl").arg("-o").arg(&unfinished);
        let output = command.output().unwrap_or_else(|error| panic!("cannot run `{compiler}`: {error}"));
        assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(unfinished, &built).unwrap();
    }
    built
}

pub fn source(name: &str) -> PathBuf {
    repository().join("tests/cuda_kernels").join(name)
}

/// The folder of the kernels.
pub fn kernels() -> PathBuf {
    repository().join("csrc/cuda_kernels")
}

/// The kernels in `kernels` as a shared object.
pub fn build_library(name: &str, kernels: &Path, flags: &[&str]) -> PathBuf {
    build(name, &source("emulated.cpp"), kernels, &[&["-shared"], flags].concat())
}

fn symbol(name: &str) -> *const c_void {
    static LIBRARY: OnceLock<usize> = OnceLock::new();
    let last_error = || unsafe { CStr::from_ptr(dlerror()) }.to_string_lossy().into_owned();
    let library = *LIBRARY.get_or_init(|| {
        let path = CString::new(build_library("emulated", &kernels(), &["-O2"]).into_os_string().into_encoded_bytes())
            .unwrap();
        let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        assert!(!library.is_null(), "{}", last_error());
        library as usize
    });
    let name = CString::new(name).unwrap();
    let found = unsafe { dlsym(library as *mut c_void, name.as_ptr()) };
    assert!(!found.is_null(), "{}", last_error());
    found
}

/// `emulated_launch`: (name, grid x, grid y, threads, pointers to the arguments) to null or a message.
pub fn launch_pointer() -> *const c_void {
    symbol("emulated_launch")
}

/// The order of threads in later launches: 0 as they are numbered, else random.
pub fn set_seed(seed: u64) {
    let set: extern "C" fn(u64) = unsafe { std::mem::transmute(symbol("emulated_seed")) };
    set(seed);
}
