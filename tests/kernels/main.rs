//! Kernels: the fused ones against the composition of libtorch's operations, the memory that they say they hold, and forwards
//! that run again in the backward.
//! `make test` runs them at the levels DEFAULT, AVX2 and the CPU's best.

mod activation_checkpointing;
mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod cuda_kernels;
mod cuda_library;
mod fused;
#[path = "../common/own_process.rs"]
mod own_process;
#[path = "../common/runs.rs"]
mod runs;
