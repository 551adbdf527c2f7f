//! The CUDA kernels of csrc/cuda_kernels: NVRTC compiles them for each GPU architecture, and the binary embeds what it made.
//!
//! A build without CUDA, or without NVRTC, embeds none; the version of the kernels' text is there in each.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use xxhash_rust::xxh3::xxh3_64;

use crate::nvrtc::{Nvrtc, Source, Target};

const FOLDER: &str = "csrc/cuda_kernels";
const MAIN: &str = "kernels.cu";
const OPTIONS: [&str; 1] = ["--std=c++17"];
/// Level of zstd; a cubin becomes a seventh.
const COMPRESSION: i32 = 19;
/// The PTX first: its warnings are those of all.
const TARGETS: [Target; 7] = [
    Target::Ptx(80),
    Target::Cubin(80),
    Target::Cubin(86),
    Target::Cubin(89),
    Target::Cubin(90),
    Target::Cubin(100),
    Target::Cubin(120),
];

/// Writes OUT_DIR/cuda_kernels: an image for each target and `embedded.rs`, which src/shim/cuda_kernels.rs includes. `libraries`
/// are the folders where NVRTC may lie; `None`: this build has no CUDA.
///
/// The error is a text that the kernels' author can act on.
pub fn build(libraries: Option<&[PathBuf]>) -> Result<(), String> {
    let source = read(Path::new(FOLDER))?;
    let version = version(&source);
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("cuda_kernels");
    fs::create_dir_all(&folder).expect("OUT_DIR can be written");
    let nvrtc = libraries.and_then(Nvrtc::open);
    if libraries.is_some() && nvrtc.is_none() {
        println!("cargo:warning=NVRTC (libnvrtc.so.13) is not found: without CUDA kernels, layers run as libtorch's operations");
    }
    if let Some(nvrtc) = &nvrtc {
        compile_all(nvrtc, &source, &version, &folder)?;
    }
    let targets: &[Target] = if nvrtc.is_some() { &TARGETS } else { &[] };
    write(&folder.join("embedded.rs"), embedded(&version, targets).as_bytes());
    Ok(())
}

fn read(folder: &Path) -> Result<Source, String> {
    let text = |path: &Path| fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()));
    let entries = fs::read_dir(folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    let mut headers = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == "h") {
            headers.push((path.file_name().expect("a file").to_string_lossy().into_owned(), text(&path)?));
        }
    }
    headers.sort();
    Ok(Source { name: MAIN.into(), text: text(&folder.join(MAIN))?, headers })
}

/// A hash of all of the text.
fn version(source: &Source) -> String {
    let main = [(&source.name, &source.text)].into_iter();
    let parts = main.chain(source.headers.iter().map(|(name, text)| (name, text)));
    let all: Vec<&str> = parts.flat_map(|(name, text)| [name.as_str(), "\0", text.as_str(), "\0"]).collect();
    format!("{:016x}", xxh3_64(all.concat().as_bytes()))
}

fn file_name(target: Target) -> String {
    match target {
        Target::Cubin(_) => format!("{target}.cubin"),
        Target::Ptx(_) => format!("{target}.ptx"),
    }
}

fn packed_name(target: Target) -> String {
    file_name(target) + ".zst"
}

/// Compiles for every target, several at a time; not again what a former build made of the same text.
fn compile_all(nvrtc: &Nvrtc, source: &Source, version: &str, folder: &Path) -> Result<(), String> {
    let stamp = format!("kernels {version}, NVRTC {}, {OPTIONS:?}\n", nvrtc.version());
    let stamp_path = folder.join("stamp");
    let is_there = |target: &Target| folder.join(packed_name(*target)).exists();
    if fs::read_to_string(&stamp_path).is_ok_and(|before| before == stamp) && TARGETS.iter().all(is_there) {
        return Ok(());
    }
    let _ = fs::remove_file(&stamp_path);
    let jobs = env::var("NUM_JOBS").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), String> {
        while let Some(&target) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let compiled = nvrtc
                .compile(source, target, &OPTIONS)
                .map_err(|error| format!("NVRTC cannot compile `{FOLDER}/{MAIN}` for {target}: {error}"))?;
            if matches!(target, Target::Ptx(_)) {
                for line in compiled.log.lines() {
                    println!("cargo:warning={line}");
                }
            }
            write(&folder.join(file_name(target)), &compiled.image);
            let packed = zstd::bulk::compress(&compiled.image, COMPRESSION).map_err(|error| error.to_string())?;
            write(&folder.join(packed_name(target)), &packed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..TARGETS.len().min(jobs)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    write(&stamp_path, stamp.as_bytes());
    Ok(())
}

/// The Rust text that embeds the images.
fn embedded(version: &str, targets: &[Target]) -> String {
    let image = |target: &Target| {
        let (form, number) = match target {
            Target::Cubin(number) => ("Cubin", number),
            Target::Ptx(number) => ("Ptx", number),
        };
        format!(
            "    Image {{ form: Form::{form}, number: {number}, packed: include_bytes!(\"{}\") }},\n",
            packed_name(*target)
        )
    };
    let images: String = targets.iter().map(image).collect();
    format!("const VERSION: &str = \"{version}\";\n\nstatic IMAGES: &[Image] = &[\n{images}];\n")
}

fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).map_or(true, |before| before != bytes) {
        fs::write(path, bytes).expect("OUT_DIR can be written");
    }
}
