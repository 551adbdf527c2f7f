//! What bit-equal results depend on beside the configuration; recorded with every checkpoint, compared at resume.

use std::collections::BTreeMap;

use tch::{Device, Kind};

use crate::error::Result;
use crate::shim::{cpu_capability, cuda_kernels_version, kernel_level, libtorch_version, multiplies};

/// Version of untie, of libtorch and, where a GPU runs them, of our CUDA kernels; device, CPU capability and thread count of this
/// process.
///
/// # Errors
/// libtorch's own.
pub fn environment(device: Device) -> Result<BTreeMap<String, String>> {
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: String| facts.insert(name.into(), value);
    add("untie", env!("CARGO_PKG_VERSION").into());
    add("libtorch", libtorch_version()?);
    add("device", format!("{device:?}"));
    add("cpu_capability", cpu_capability()?);
    add("kernel_level", kernel_level());
    if device.is_cuda() {
        let is_loaded = multiplies(Kind::BFloat16, device);
        add("cuda_kernels", if is_loaded { cuda_kernels_version() } else { "none" }.into());
    }
    add("cpu", cpu_name());
    add("threads", tch::get_num_threads().to_string());
    Ok(facts)
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".into(), |(_, name)| name.trim().into())
}

/// The facts that differ, as `name: before → now`.
pub fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value = |facts: &BTreeMap<String, String>, name: &String| facts.get(name).map_or("none".into(), Clone::clone);
    names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| format!("{name}: {} → {}", value(before, name), value(now, name)))
        .collect()
}
