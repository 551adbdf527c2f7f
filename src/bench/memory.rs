//! The resident size of this process, as Linux counts it: program and libraries, and what has been allocated and touched.

use crate::train::memory::machine::from_status;

/// Forgets the largest resident size so far; whether that was possible.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The largest resident size since, in bytes.
pub fn peak_bytes() -> Option<u64> {
    from_status("VmHWM:")
}

/// In MiB, to one decimal.
pub fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}
