//! The CUDA kernels' source without a GPU: over the emulator, against fp64 and the CPU's kernels.

#[path = "../cuda_kernels/emulated.rs"]
pub mod emulated;

#[test]
fn the_emulator_has_the_kernels() {
    assert!(!emulated::launch_pointer().is_null());
    emulated::set_seed(0);
}
