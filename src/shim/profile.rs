//! Time by op of libtorch: every op's own, without that of the ops it calls, on every thread.

use std::ffi::{c_char, CStr};
use std::time::Duration;

use super::ffi::{check, untie_free_message, untie_profile_start, untie_profile_stop};
use crate::error::Result;

/// What one op took in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpTime {
    /// Its name, e.g. `aten::addmm`; a node of the backward has autograd's, e.g. `AddmmBackward0`.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// Time in it, not in ops that it called.
    pub own: Duration,
}

/// What `work` returns, and the ops it ran, by name. On a GPU the times are those of starting the kernels.
///
/// # Errors
/// `work`'s own, and when another profile is being taken.
pub fn profile<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<OpTime>)> {
    // SAFETY: no pointers are passed; C++ guards its state.
    check(unsafe { untie_profile_start() })?;
    let recording = Recording(true);
    let done = work()?;
    Ok((done, recording.stop()?))
}

/// A profile that is being taken; dropped, it is thrown away.
struct Recording(bool);

impl Recording {
    fn stop(mut self) -> Result<Vec<OpTime>> {
        self.0 = false;
        Ok(parse(&stop()?))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.0 {
            // The error of the work matters more.
            let _ = stop();
        }
    }
}

/// Lines of calls, nanoseconds and name, with tabs between.
fn stop() -> Result<String> {
    let mut table: *mut c_char = std::ptr::null_mut();
    // SAFETY: C++ fills the pointer with a terminated string of its own or fails; it is copied and given back.
    unsafe {
        check(untie_profile_stop(&mut table))?;
        let text = CStr::from_ptr(table).to_string_lossy().into_owned();
        untie_free_message(table);
        Ok(text)
    }
}

fn parse(table: &str) -> Vec<OpTime> {
    let op = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let (calls, nanoseconds, name) = (fields.next()?, fields.next()?, fields.next()?);
        let own = Duration::from_nanos(nanoseconds.parse().ok()?);
        Some(OpTime { name: name.into(), calls: calls.parse().ok()?, own })
    };
    table.lines().filter_map(op).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::time::Instant;
    use tch::{Device, Kind, Tensor};

    /// One test: profiles of one process come one after the other.
    #[test]
    fn forward_and_backward_are_counted_once() {
        let weight = Tensor::ones([64, 64], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let begin = Instant::now();
        let ((), ops) = profile(|| {
            let product = weight.f_mm(&weight)?.f_mm(&weight)?;
            Ok(product.f_sum(Kind::Float)?.f_backward()?)
        })
        .unwrap();
        let all = begin.elapsed();
        let calls = |name: &str| ops.iter().find(|op| op.name == name).map_or(0, |op| op.calls);
        // Other tests' threads may run ops at the same time.
        assert!(calls("aten::mm") >= 6, "two forward and four backward products: {ops:?}");
        assert!(calls("MmBackward0") >= 2, "{ops:?}");
        assert!(ops.iter().all(|op| op.own < all * 64), "{ops:?}");

        let failed = profile(|| -> Result<()> { Err(Error::failed("work")) });
        assert_eq!(failed.unwrap_err().to_string(), "work");
        profile(|| Ok(())).unwrap();
    }
}
