//! Says who is waited for, while the processes of a run meet.
//!
//! In: the environment of this process, and the store once it is reached. Out: a logged line after ten seconds, again at growing
//! intervals; after two where nobody else has come at all, as in a shell of `srun --pty`, which has the variables of several
//! processes and is one. Cost: a thread until all have met.

use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::parallel::launch_env::LaunchEnv;
use crate::shim::Store;

/// After which a process that is the only one speaks. Launchers start all of them together.
const ALONE: Duration = Duration::from_secs(2);
/// After which any process speaks that still waits.
const FIRST: Duration = Duration::from_secs(10);
/// The second time; from then on it doubles.
const SECOND: Duration = Duration::from_secs(30);

/// Ranks that are named.
const MOST_NAMED: usize = 8;

fn arrival_of(rank: usize) -> String {
    format!("arrived/{rank}")
}

/// Speaks until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    store: Arc<OnceLock<Store>>,
    rank: usize,
    _ends: Sender<()>,
}

impl Waiting {
    /// Waits from now on for the other processes of the run of `env`.
    pub(super) fn begin(env: &LaunchEnv) -> Result<Self> {
        let store = Arc::new(OnceLock::new());
        let (ends, ended) = channel();
        let (env, seen, rank) = (env.clone(), store.clone(), env.rank);
        let spoken = thread::Builder::new().name("waiting".into()).spawn(move || speak(&env, &seen, &ended));
        // Not joined: it may be in the middle of a question to a store that does not answer.
        drop(spoken.map_err(|error| Error::failed("cannot start a thread").caused_by(error))?);
        Ok(Self { store, rank, _ends: ends })
    }

    /// This process has reached `store`, where it is counted.
    pub(super) fn arrived(&self, store: &Store) -> Result<()> {
        store.add(&arrival_of(self.rank), 1)?;
        // Set once; nobody else does.
        let _ = self.store.set(store.another()?);
        Ok(())
    }
}

fn speak(env: &LaunchEnv, store: &OnceLock<Store>, ended: &Receiver<()>) {
    let begin = Instant::now();
    let mut at = ALONE;
    while ended.recv_timeout(at.saturating_sub(begin.elapsed())) == Err(RecvTimeoutError::Timeout) {
        let missing = store.get().and_then(|store| missing(env, store));
        let is_alone = env.size > 1 && missing.as_ref().is_some_and(|missing| missing.len() + 1 == env.size);
        if at > ALONE || is_alone {
            let who = if env.rank == 0 { String::new() } else { format!("rank={} ", env.rank) };
            log::warn!("{who}{}", words(env, missing.as_deref(), at));
        }
        at = match at {
            ALONE => FIRST,
            FIRST => SECOND,
            _ => 2 * at,
        };
    }
}

/// The ranks of the processes that have not come; none where the store does not say.
fn missing(env: &LaunchEnv, store: &Store) -> Option<Vec<usize>> {
    let has_come = |rank| store.add(&arrival_of(rank), 0).map(|times| times > 0);
    let come: Result<Vec<bool>> = (0..env.size).map(has_come).collect();
    Some(come.ok()?.into_iter().enumerate().filter(|(_, come)| !come).map(|(rank, _)| rank).collect())
}

/// What a process of `env` says that waits for `time`; `missing`: for whom, where it has reached the store.
fn words(env: &LaunchEnv, missing: Option<&[usize]>, time: Duration) -> String {
    let LaunchEnv { size, master: (host, port), started_by, .. } = env;
    let begins =
        if time > FIRST { format!("still waiting after {} s for", time.as_secs()) } else { "waiting for".into() };
    let asked = started_by.asked(*size);
    let advice = started_by.advice();
    match missing {
        None => format!("{begins} rank 0 at {host}:{port}, 1 of {size} processes ({asked}){advice}"),
        Some([]) => format!(
            "{begins} the connections of all {size} processes with each other ({asked}); `GLOO_SOCKET_IFNAME` names the \
             interface of their network"
        ),
        Some(missing) => {
            let named: Vec<String> = missing.iter().take(MOST_NAMED).map(usize::to_string).collect();
            let more = if missing.len() > MOST_NAMED { " ..." } else { "" };
            let ranks = if time > FIRST { format!(", of ranks {}{more}", named.join(" ")) } else { String::new() };
            format!("{begins} {} of {size} processes ({asked}){ranks}{advice}", missing.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::launch_env::StartedBy;

    #[test]
    fn lines_say_who_asked_for_how_many_and_what_to_do() {
        let env = |launcher, variable, unset: &[&'static str]| LaunchEnv {
            rank: 0,
            size: 4,
            local_rank: 0,
            local_size: 4,
            shares_cores: true,
            master: ("node1".into(), 29_577),
            serves: true,
            attempt: "0".into(),
            started_by: StartedBy { launcher, variable, unset: unset.to_vec() },
        };
        let srun = env("srun", "SLURM_STEP_NUM_TASKS", &["SLURM_STEP_NUM_TASKS"]);
        let said =
            |env: &LaunchEnv, missing: Option<&[usize]>, seconds| words(env, missing, Duration::from_secs(seconds));
        assert_eq!(
            said(&srun, Some(&[1, 2, 3]), 2),
            "waiting for 3 of 4 processes (srun: SLURM_STEP_NUM_TASKS=4); unset it to train alone"
        );
        assert_eq!(
            said(&srun, Some(&[2, 3]), 60),
            "still waiting after 60 s for 2 of 4 processes (srun: SLURM_STEP_NUM_TASKS=4), of ranks 2 3; unset it to train alone"
        );
        let both = env("", "WORLD_SIZE", &["RANK", "WORLD_SIZE"]);
        assert_eq!(
            said(&both, None, 10),
            "waiting for rank 0 at node1:29577, 1 of 4 processes (WORLD_SIZE=4); unset RANK and WORLD_SIZE to train alone"
        );
        let launch = env("untie launch", "WORLD_SIZE", &[]);
        assert_eq!(said(&launch, Some(&[1]), 10), "waiting for 1 of 4 processes (untie launch: WORLD_SIZE=4)");
        assert!(said(&launch, Some(&[]), 10).starts_with("waiting for the connections of all 4 processes"));
        let many: Vec<usize> = (1..40).collect();
        assert!(said(&srun, Some(&many), 30).contains(", of ranks 1 2 3 4 5 6 7 8 ...; unset it"));
    }
}
