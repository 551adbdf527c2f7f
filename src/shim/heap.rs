//! The heap of this process, where glibc manages it.

use super::ffi::{untie_keep_heap, untie_trim_heap};

/// From now on memory that a step frees stays with the process for the next step.
pub fn keep_heap() {
    // SAFETY: no arguments; it sets two numbers of the allocator.
    unsafe { untie_keep_heap() }
}

/// Gives back what is free now: after the work that happens once, which leaves holes.
pub fn trim_heap() {
    // SAFETY: no arguments; it returns free pages only.
    unsafe { untie_trim_heap() }
}
