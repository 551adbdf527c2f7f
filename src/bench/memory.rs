//! The resident size of this process, as Linux counts it: program and libraries, and what has been allocated and touched.

/// Forgets the largest resident size so far; whether that was possible.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The largest resident size since, in bytes.
pub fn peak_bytes() -> Option<u64> {
    read("VmHWM:")
}

/// The resident size now, in bytes.
pub fn resident_bytes() -> Option<u64> {
    read("VmRSS:")
}

fn read(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// In MiB, to one decimal.
pub fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}
