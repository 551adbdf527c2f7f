//! When a run stops before its end: a signal, or a limit on its time. The first signal asks the loop to save and stop after the
//! present step, another one, a second or more later, ends the process at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Signals within this time are one.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

/// Why a run stops before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT, SIGTERM or SIGUSR1, by its number.
    Signal(i32),
    /// The end of its time is near.
    WallTime,
}

impl Stop {
    /// 130 and 143 as shells give them; 75 (try again later) for the warning that queues send before a limit, and for the limit.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Signal(SIGINT) => 130,
            Self::Signal(SIGTERM) => 143,
            Self::Signal(_) | Self::WallTime => 75,
        }
    }

    /// A number above 0 for it, and the higher the less it leaves to choose.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::WallTime => 1,
            Self::Signal(signal) => 1 + signal.unsigned_abs(),
        }
    }

    /// [`Self::number`] of a request, 0 for none.
    pub(super) fn number_of(stop: Option<Self>) -> u32 {
        stop.map_or(0, Self::number)
    }

    /// What [`Self::number`] stands for; 0: nothing.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::WallTime),
            signal => Some(Self::Signal(signal as i32 - 1)),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(SIGINT) => formatter.write_str("SIGINT"),
            Self::Signal(SIGTERM) => formatter.write_str("SIGTERM"),
            Self::Signal(SIGUSR1) => formatter.write_str("SIGUSR1"),
            Self::Signal(number) => write!(formatter, "signal {number}"),
            Self::WallTime => formatter.write_str("`--max-wall-time`"),
        }
    }
}

/// Whether something has asked the run to stop.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
    deadline: Option<Instant>,
}

impl StopFlag {
    /// A flag that SIGINT, SIGTERM and SIGUSR1 set.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let is_armed = Arc::new(AtomicBool::new(false));
        let cannot = |error| Error::failed("cannot install signal handlers").caused_by(error);
        // One that manages processes may signal each of them, and what started them too, which passes the signal on.
        let (signal, armed) = (stop.signal.clone(), is_armed.clone());
        let arm = move || {
            while signal.load(Ordering::Relaxed) == 0 {
                thread::sleep(ONE_SIGNAL / 10);
            }
            thread::sleep(ONE_SIGNAL);
            armed.store(true, Ordering::Relaxed);
        };
        thread::Builder::new().name("signals".into()).spawn(arm).map_err(cannot)?;
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            let status = i32::from(Stop::Signal(signal).exit_code());
            flag::register_conditional_shutdown(signal, status, is_armed.clone())
                .and_then(|_| flag::register_usize(signal, stop.signal.clone(), signal as usize))
                .map_err(cannot)?;
        }
        Ok(stop)
    }

    /// The same with an end of time; one too far away to be counted is none.
    pub fn until(self, begin: Instant, limit: Option<Duration>) -> Self {
        Self { deadline: limit.and_then(|limit| begin.checked_add(limit)), ..self }
    }

    /// What asks for a stop now: a signal, or a deadline that is less than `needed` away.
    pub fn requested(&self, needed: Duration) -> Option<Stop> {
        let is_late = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) <= needed;
        match self.signal.load(Ordering::Relaxed) {
            0 => self.deadline.filter(|&deadline| is_late(deadline)).map(|_| Stop::WallTime),
            signal => Some(Stop::Signal(signal as i32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_asks_in_time() {
        let begin = Instant::now();
        let stop = StopFlag::default().until(begin, Some(Duration::from_secs(3600)));
        assert_eq!(stop.requested(Duration::from_secs(60)), None);
        assert_eq!(stop.requested(Duration::from_secs(3600)), Some(Stop::WallTime));
        assert_eq!(StopFlag::default().until(begin, None).requested(Duration::MAX), None);
        assert_eq!(Stop::WallTime.exit_code(), 75);
        for stop in [Stop::WallTime, Stop::Signal(SIGINT), Stop::Signal(SIGTERM), Stop::Signal(SIGUSR1)] {
            assert_eq!(Stop::from_number(stop.number()), Some(stop));
        }
        assert_eq!(Stop::from_number(0), None);
    }
}
