//! Memory of this machine: what the process has, and what is left for it.

use std::fs;
use std::path::{Path, PathBuf};

use tch::Device;

use crate::error::Result;
use crate::shim::free_cuda_memory;

/// The part of free memory that is not counted on: other programs want some, and a prediction is not exact.
const MARGIN: f64 = 0.1;

/// The resident size of this process now, in bytes, without mapped files: what has been allocated and touched, and what the
/// loader changed of program and libraries.
///
/// Pages of mapped files, the code of libtorch among them, are not counted. The system takes them back where it needs memory, and how
/// many are there depends on how each file came into its cache: 70 MiB or 180 MiB for the same program.
pub fn resident_bytes() -> Option<u64> {
    without_files("VmRSS:")
}

/// The largest resident size so far, less the mapped files that are resident now.
pub fn peak_resident_bytes() -> Option<u64> {
    without_files("VmHWM:")
}

/// A line of /proc/self/status in bytes, less the mapped files.
fn without_files(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(kibibytes(&status, name)?.saturating_sub(kibibytes(&status, "RssFile:")?))
}

/// Bytes that tensors on `device` may have in all, with a margin; on the CPU with what the process has already. `None` where the
/// system does not tell.
///
/// # Errors
/// A CUDA device that does not answer.
pub fn budget(device: Device) -> Result<Option<f64>> {
    let (free, already) = match device {
        Device::Cuda(index) => (Some(free_cuda_memory(index)?), 0),
        _ => (available_bytes(), resident_bytes().unwrap_or(0)),
    };
    Ok(free.map(|free| free as f64 * (1.0 - MARGIN) + already as f64))
}

/// What a process can have without swapping: the system's own estimate, and what its control groups leave.
fn available_bytes() -> Option<u64> {
    let system = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let roots = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/memory")];
    let left = roots.into_iter().flat_map(|root| folders(root, &groups)).filter_map(|folder| left_in(&folder));
    Some(left.fold(system, u64::min))
}

/// The folders below `root` of the process's control groups and of those around them, `root` itself last.
fn folders(root: &Path, groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let inside = Path::new(path.trim_start_matches('/'));
        found.extend(inside.ancestors().map(|part| root.join(part)));
    }
    found.push(root.into());
    found
}

/// What the limit of a control group leaves, its cached files counted as free; `None` without a limit.
fn left_in(folder: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

/// The line `name` of a table in kB, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_are_walked_upwards() {
        let found = folders(Path::new("/c"), "0::/a/b\n");
        assert_eq!(found, ["/c/a/b", "/c/a", "/c/", "/c"].map(PathBuf::from));
    }

    #[test]
    fn a_limit_leaves_what_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(left_in(folder.path()), None);
        write("memory.current", "700\n");
        write("memory.max", "max\n");
        assert_eq!(left_in(folder.path()), None);
        write("memory.max", "1000\n");
        write("memory.stat", "anon 5\ninactive_file 200\n");
        assert_eq!(left_in(folder.path()), Some(500));
    }

    #[test]
    fn this_process_has_memory_and_may_have_more() {
        let (resident, budget) = (resident_bytes().unwrap(), budget(Device::Cpu).unwrap().unwrap());
        assert!(resident > 0 && budget > resident as f64, "{resident} {budget}");
    }
}
