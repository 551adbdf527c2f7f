//! The CUDA kernels' source without a GPU: over the emulator, against fp64 and the CPU's kernels (tests/cuda_kernels/checks.cpp). Bugs
//! that are put into a copy of the source must be found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../cuda_kernels/emulated.rs"]
pub mod emulated;

use emulated::{build, build_library, kernels, source};

const SANITIZED: &[&str] = &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// The program of the checks, once compiled, linked with `flags`.
fn checks(name: &str, flags: &[&str]) -> PathBuf {
    let object = build("checks", &source("checks.cpp"), &kernels(), &["-O2", "-c"]);
    build(name, &object, &kernels(), flags)
}

/// Whether all checks passed, and what they printed.
fn run(checks: &Path, library: &Path, sizes: &str) -> (bool, String) {
    // Where a process may not trace another, LeakSanitizer is an error.
    let output = Command::new(checks).arg(library).arg(sizes).env("ASAN_OPTIONS", "detect_leaks=0").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn kernels_equal_fp64_and_the_cpus_in_any_order_of_threads() {
    let (passed, text) = run(&checks("checks-plain", &[]), &build_library("emulated", &kernels(), &["-O2"]), "all");
    println!("{text}");
    assert!(passed);
}

#[test]
fn kernels_stay_in_their_buffers() {
    // The program's buffers are poisoned behind their ends by the sanitizer's allocator.
    let program = checks("checks-sanitized", &["-fsanitize=address,undefined"]);
    let (passed, text) = run(&program, &build_library("emulated-sanitized", &kernels(), SANITIZED), "few");
    println!("{text}");
    assert!(passed);
}

/// A bug: in `file`, `from` becomes `to`; the line of output that tells it begins with `found_by`.
struct Bug {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    found_by: &'static str,
}

/// A copy of the kernels with bugs, each in a part of its own. A bug that does not fit the text any more is an error.
fn planted(bugs: &[Bug]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(kernels()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    for bug in bugs {
        let path = folder.path().join(bug.file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(bug.from).count(), 1, "{}: `{}` is once in {}", bug.name, bug.from, bug.file);
        fs::write(path, text.replace(bug.from, bug.to)).unwrap();
    }
    folder
}

fn expect_found(bugs: &[Bug], library: &Path, checks: &Path) {
    let (passed, text) = run(checks, library, "few");
    assert!(!passed, "{text}");
    for bug in bugs {
        let line = text.lines().find(|line| line.contains(bug.found_by));
        println!("{}: {}", bug.name, line.unwrap_or_else(|| panic!("not found: {}\n{text}", bug.name)));
    }
}

#[test]
fn planted_bugs_are_found() {
    for bugs in [&IN_ONE_KERNEL[..], &IN_SHARED_PARTS[..]] {
        let folder = planted(bugs);
        let library = build_library("emulated-planted", folder.path(), &["-O1"]);
        expect_found(bugs, &library, &checks("checks-plain", &[]));
    }
}

#[test]
fn a_planted_store_behind_a_buffer_is_found() {
    let bugs = [Bug {
        name: "one column too many",
        file: "sums.h",
        from: "  if (column < width) {\n    float total",
        to: "  if (column <= width) {\n    float total",
        found_by: "heap-buffer-overflow",
    }];
    let folder = planted(&bugs);
    let library = build_library("emulated-planted-sanitized", folder.path(), &["-O0", "-fsanitize=address"]);
    expect_found(&bugs, &library, &checks("checks-sanitized", &["-fsanitize=address,undefined"]));
}

/// Each in another kernel or result, so that the failed checks tell them apart.
const IN_ONE_KERNEL: [Bug; 10] = [
    Bug {
        name: "no barrier between the warps' turns",
        file: "norm.h",
        from: "    __syncthreads();\n  }\n  for (u32 i = threadIdx.x; i < 3 * C;",
        to: "  }\n  for (u32 i = threadIdx.x; i < 3 * C;",
        found_by: "FAIL norm_backward_768_bf16 d_weight",
    },
    Bug {
        name: "statistics of what was not rounded",
        file: "norm.h",
        from: "  store(sum, stored);\n  widen<T>(stored, x);",
        to: "  store(sum, stored);",
        found_by: "FAIL norm_forward_768_bf16 inverse",
    },
    Bug {
        name: "another row of a key",
        file: "dropout.h",
        from: "place = row - sequence * dropout.rows_of_a_key;",
        to: "place = row;",
        found_by: "FAIL norm_forward_1024_fp16 sum, masks of the CPU",
    },
    Bug {
        name: "sums in each other's place",
        file: "norm_any.h",
        from: "write_sums(of_weight, width, to);\n  write_sums(of_bias, width, to + width);",
        to: "write_sums(of_bias, width, to);\n  write_sums(of_weight, width, to + width);",
        found_by: "FAIL norm_sums_any_fp16 d_weight",
    },
    Bug {
        name: "sums of what was not rounded",
        file: "gelu.h",
        from: "      widen<T>(stored, d);\n",
        to: "",
        found_by: "FAIL gelu_backward_bf16 sums of what was stored",
    },
    Bug {
        name: "without the last block",
        file: "sums.h",
        from: "block < blocks; block += WALKERS",
        to: "block + 1 < blocks; block += WALKERS",
        found_by: "FAIL add_up sums",
    },
    Bug {
        name: "queries and keys by each other's strides",
        file: "qkv.h",
        from: "which == 0 ? of_query : which == 1 ? of_key :",
        to: "which == 1 ? of_query : which == 0 ? of_key :",
        found_by: "FAIL pack_qkv_bf16 d_qkv",
    },
    Bug {
        name: "positions of another order",
        file: "embeddings.h",
        from: ": row % tables.length;",
        to: ": row / tables.length;",
        found_by: "FAIL embeddings_forward_fp16 mean",
    },
    Bug {
        name: "the last of equal logits",
        file: "loss.h",
        from: "a.place < b.place",
        to: "a.place > b.place",
        found_by: "FAIL cross_entropy_bf16 correct",
    },
    Bug {
        name: "the first moment's bias correction for the second",
        file: "adamw.h",
        from: "sqrt(1.0 - power(beta2,",
        to: "sqrt(1.0 - power(beta1,",
        found_by: "FAIL adamw_fp16 weight",
    },
];

const IN_SHARED_PARTS: [Bug; 5] = [
    Bug {
        name: "a mask from another lane's ballot",
        file: "dropout.h",
        from: "lane % 16 / 2 == k",
        to: "lane % 8 == k",
        found_by: "FAIL norm_forward_any_bf16 sum, masks of the CPU",
    },
    Bug {
        name: "a shuffle that leaves half the lanes out",
        file: "lane.h",
        from: "int distance = 16; distance > 0; distance /= 2) {\n    value +=",
        to: "int distance = 8; distance > 0; distance /= 2) {\n    value +=",
        found_by: "FAIL norm_forward_any_bf16 mean",
    },
    Bug {
        name: "no barrier before the columns are added up",
        file: "sums.h",
        from: "  __syncthreads();\n  const u32 column",
        to: "  const u32 column",
        found_by: "FAIL column_sums_fp16 sums",
    },
    Bug {
        name: "a barrier in a branch",
        file: "loss.h",
        from: "    of_warps[threadIdx.x / 32] = all;\n  }\n  __syncthreads();",
        to: "    of_warps[threadIdx.x / 32] = all;\n    __syncthreads();\n  }",
        found_by: "FAIL cross_entropy_bf16 runs",
    },
    Bug {
        name: "vectors from addresses that are not aligned",
        file: "adamw.h",
        from: "(pointer) % bytes == 0;",
        to: "(pointer) % bytes < 16;",
        found_by: "FAIL adamw_bf16 runs",
    },
];
