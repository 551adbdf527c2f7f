//! Signs of life: which process is gone, when a collective fails or does not end.
//!
//! Every process counts up a key of its own in the store twice a second; rank 0 reads all of them and puts the name of one that
//! has stopped under another key, which every process reads. Who cannot reach the store any more says that instead. Cost: a
//! thread that waits, four messages of a few bytes a second to rank 0's host, there one more a process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::parallel::launch_env::LaunchEnv;
use crate::shim::Store;

/// Between two signs.
const BEAT: Duration = Duration::from_millis(500);
/// Once some process has seen a collective fail, one that gives no sign for so long is the reason.
const SUSPICION: Duration = Duration::from_secs(4);
/// How long a process has to end by itself after a failure; then it is ended.
const GRACE: Duration = Duration::from_secs(10);
/// The same for one that has seen a collective fail: it finishes the checkpoint that it was writing.
const LONG_GRACE: Duration = Duration::from_secs(600);

/// Under which a failure is told.
const FAILURE: &str = "failure";
/// Counts processes whose collective has failed.
const FAILED: &str = "failed";

fn beat_of(rank: usize) -> String {
    format!("beat/{rank}")
}

/// The threads that give signs of life and look for those of others.
#[derive(Debug)]
pub(super) struct Heartbeat {
    shared: Arc<Shared>,
    /// The one that talks to the store; it may wait for an answer that never comes.
    talker: Option<JoinHandle<()>>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    env: LaunchEnv,
    heartbeat: Duration,
    begin: Instant,
    ends: AtomicBool,
    has_failed: AtomicBool,
    /// Milliseconds since `begin` of the store's last answer.
    last_answer: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_failure(&self, words: &str) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| words.to_owned());
    }
}

impl Heartbeat {
    /// Watches over the processes of the run of `env` by a connection of its own, `store`.
    pub(super) fn start(env: LaunchEnv, store: Store, heartbeat: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            env,
            heartbeat,
            begin: Instant::now(),
            ends: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            last_answer: AtomicU64::new(0),
            failure: Mutex::new(None),
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let cannot = |error| Error::failed("cannot start a thread").caused_by(error);
            thread::Builder::new().name(name.into()).spawn(work).map_err(cannot)
        };
        let (talker, supervisor) = (shared.clone(), shared.clone());
        Ok(Self {
            talker: Some(spawn("signs of life", Box::new(move || talk(&talker, &store)))?),
            supervisor: Some(spawn("supervisor", Box::new(move || supervise(&supervisor)))?),
            shared,
        })
    }

    /// After a collective that failed: who is to blame, as soon as that is known.
    pub(super) fn explain(&self) -> Option<String> {
        self.shared.has_failed.store(true, Ordering::Relaxed);
        let patience = 2 * SUSPICION + 4 * BEAT;
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if let Some(failure) = self.shared.failure() {
                return Some(failure);
            }
            thread::sleep(BEAT / 5);
        }
        None
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        for thread in [self.supervisor.take(), self.talker.take()].into_iter().flatten() {
            while !thread.is_finished() && begin.elapsed() < 4 * BEAT {
                thread::sleep(BEAT / 50);
            }
            if thread.is_finished() {
                // Neither has anything to say.
                let _ = thread.join();
            }
        }
    }
}

/// Gives signs, and as rank 0 looks for those of the others, until the process ends or the store does not answer any more.
fn talk(shared: &Shared, store: &Store) {
    let LaunchEnv { rank, size, .. } = shared.env;
    // Count and time of the last new sign of every process; a process that is not there yet is waited for elsewhere.
    let mut signs = vec![(0, Instant::now()); size];
    let mut has_told = false;
    while !shared.ends.load(Ordering::Relaxed) {
        let answer = (|| -> Result<()> {
            store.add(&beat_of(rank), 1)?;
            if !has_told && shared.has_failed.load(Ordering::Relaxed) {
                store.add(FAILED, 1)?;
                has_told = true;
            }
            if rank == 0 {
                let someone_failed = store.add(FAILED, 0)? > 0;
                let limit = if someone_failed { SUSPICION.min(shared.heartbeat) } else { shared.heartbeat };
                for (other, (count, time)) in signs.iter_mut().enumerate() {
                    let now = store.add(&beat_of(other), 0)?;
                    if now != *count {
                        (*count, *time) = (now, Instant::now());
                    } else if now > 0 && time.elapsed() > limit && store.get(FAILURE)?.is_none() {
                        let seconds = time.elapsed().as_secs();
                        store.set(FAILURE, &format!("rank {other} has sent no heartbeat for {seconds} s"))?;
                    }
                }
            }
            if let Some(words) = store.get(FAILURE)? {
                shared.set_failure(&words);
            }
            Ok(())
        })();
        if answer.is_ok() {
            shared.last_answer.store(shared.begin.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
        for _ in 0..5 {
            if !shared.ends.load(Ordering::Relaxed) {
                thread::sleep(BEAT / 5);
            }
        }
    }
}

/// Ends this process where it knows of a failure and waits in a collective which will never be done.
fn supervise(shared: &Shared) {
    let LaunchEnv { rank, size, master: (host, port), .. } = &shared.env;
    let mut since = None;
    while !shared.ends.load(Ordering::Relaxed) {
        thread::sleep(BEAT / 5);
        let last = Duration::from_millis(shared.last_answer.load(Ordering::Relaxed));
        let silence = shared.begin.elapsed().saturating_sub(last);
        let is_suspected = shared.has_failed.load(Ordering::Relaxed);
        if silence > if is_suspected { SUSPICION.min(shared.heartbeat) } else { shared.heartbeat } {
            let seconds = silence.as_secs();
            shared.set_failure(&format!("rank 0's store at {host}:{port} has not answered for {seconds} s"));
        }
        let Some(failure) = shared.failure() else { continue };
        let grace = if is_suspected { LONG_GRACE } else { GRACE };
        if since.get_or_insert_with(Instant::now).elapsed() > grace {
            log::error!(
                "rank={rank} error: rank {rank} of {size} waits in vain: {failure}\nhint: checkpoints are as they were"
            );
            signal_hook::low_level::exit(1);
        }
    }
}

/// Tells the others through `store` why the process of `env` ends; the one that serves it waits until they have heard.
pub(super) fn tell(store: &Store, env: &LaunchEnv, words: &str) {
    // Where the store is gone, nobody can be told.
    let told = store.set(FAILURE, &format!("rank {} ended: {words}", env.rank));
    if told.is_ok() && env.serves && env.size > 1 {
        thread::sleep(3 * BEAT);
    }
}
