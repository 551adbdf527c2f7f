//! Signals: the first one asks the loop to save and stop after the present step, a second one ends the process at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Whether a signal has asked the run to stop.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
}

impl StopFlag {
    /// A flag that SIGINT, SIGTERM and SIGUSR1 set.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            let status = i32::from(exit_code(signal));
            // In this order: the shutdown looks at what an earlier signal has set.
            flag::register_conditional_shutdown(signal, status, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()))
                .and_then(|_| flag::register_usize(signal, stop.signal.clone(), signal as usize))
                .map_err(|error| Error::failed("cannot install signal handlers").caused_by(error))?;
        }
        Ok(stop)
    }

    /// The exit code of the signal that asked, if one did.
    pub fn requested(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(exit_code(signal as i32)),
        }
    }
}

/// 130 and 143 as shells give them; 75 (try again later) for the warning that queues send before a limit.
fn exit_code(signal: i32) -> u8 {
    match signal {
        SIGINT => 130,
        SIGTERM => 143,
        _ => 75,
    }
}
