//! The processes of a run, and what they tell each other.

use std::cell::Cell;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::parallel::config::{BackendChoice, ParallelConfig, Wire};
use crate::parallel::heartbeat::{tell, Heartbeat};
use crate::parallel::launch_env::LaunchEnv;
use crate::parallel::waiting::Waiting;
use crate::shim::{Backend, Bucket, GradientReducer, ProcessGroups, Store};

/// The processes of a run as one of them sees them. Alone, every call returns at once.
#[derive(Debug)]
pub struct World(Option<Connected>);

#[derive(Debug)]
struct Connected {
    env: LaunchEnv,
    config: ParallelConfig,
    groups: ProcessGroups,
    store: Store,
    heartbeat: Heartbeat,
    has_failed: Cell<bool>,
}

impl World {
    /// A process of its own.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Meets the other processes of `env`, if there is one; gradients are on `device`.
    ///
    /// # Errors
    /// A master that does not answer, processes that do not come within `parallel.timeout`, and a backend that does not fit the
    /// device.
    pub fn connect(env: Option<LaunchEnv>, config: &ParallelConfig, device: Device) -> Result<Self> {
        let Some(env) = env else { return Ok(Self::alone()) };
        let backend = match (config.backend, device) {
            (BackendChoice::Auto | BackendChoice::Nccl, Device::Cuda(index)) => Backend::Nccl(index),
            (BackendChoice::Auto | BackendChoice::Gloo, Device::Cpu) => Backend::Gloo,
            (choice, _) => {
                let name = if choice == BackendChoice::Nccl { "nccl" } else { "gloo" };
                return Err(Error::config(format!(
                    "`parallel.backend` = \"{name}\" does not carry tensors on {device:?}"
                ))
                .hint("leave it at \"auto\": NCCL on CUDA, Gloo on the CPU"));
            }
        };
        // libtorch's sockets log every attempt to connect, and every loss of a connection with its stack.
        if std::env::var_os("TORCH_CPP_LOG_LEVEL").is_none() {
            std::env::set_var("TORCH_CPP_LOG_LEVEL", "ERROR");
        }
        let timeout = Duration::from_secs(config.timeout);
        let (host, port) = (env.master.0.clone(), env.master.1);
        let (rank, size) = (env.rank, env.size);
        let cannot = |what: &str, error| Error::failed(format!("rank {rank} of {size} {what}")).caused_by(error);
        let hint = &format!(
            "all {size} processes ({}) must be started, with the same `MASTER_ADDR` and `MASTER_PORT`, the latter free on that host{}",
            env.started_by.asked(size),
            env.started_by.advice()
        );
        let prefix = format!("untie/{}", env.attempt);
        let waiting = Waiting::begin(&env)?;
        let store = Store::connect(&host, port, env.serves, timeout, &prefix)
            .map_err(|error| cannot(&format!("cannot meet the others at {host}:{port}"), error).hint(hint))?;
        waiting.arrived(&store)?;
        let address = env.address()?;
        let interface = std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default();
        let is_loopback = |text: &str| text.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        // A name that means the loopback on its own host; who gives the loopback itself has all processes on one.
        let is_hidden = is_loopback(&address) && !is_loopback(&host) && host != "localhost";
        if is_hidden && interface.is_empty() && size > env.local_size {
            return Err(Error::config(format!(
                "`{host}`, where the processes of several hosts meet, is {address} on the host of rank {rank}, which the others cannot \
                 reach"
            ))
            .hint("give `MASTER_ADDR` an address of the network, or name the interface with `GLOO_SOCKET_IFNAME`"));
        }
        let groups = ProcessGroups::meet(&store, rank, size, timeout, (&address, &interface), backend)
            .map_err(|error| cannot("cannot connect to the others", error).hint(hint))?;
        let heartbeat = Heartbeat::start(env.clone(), store.another()?, Duration::from_secs(config.heartbeat))?;
        let world = Self(Some(Connected {
            env,
            config: config.clone(),
            groups,
            store,
            heartbeat,
            has_failed: Cell::new(false),
        }));
        world.barrier()?;
        drop(waiting);
        Ok(world)
    }

    /// Whether nobody started it as one of several.
    pub fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |world| world.env.rank)
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |world| world.env.size)
    }

    /// How many of them are on this host.
    pub fn local_size(&self) -> usize {
        self.0.as_ref().map_or(1, |world| world.env.local_size)
    }

    /// Whether this is the process that writes.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Sums each of `values` over the processes.
    ///
    /// # Errors
    /// A process that is gone, by its number.
    pub fn sum(&self, values: &mut [f64]) -> Result<()> {
        self.combine(values, false)
    }

    /// The largest of each of `values` among the processes.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn largest(&self, values: &mut [f64]) -> Result<()> {
        self.combine(values, true)
    }

    fn combine(&self, values: &mut [f64], largest: bool) -> Result<()> {
        let Some(world) = &self.0 else { return Ok(()) };
        let tensor = Tensor::f_from_slice(values)?;
        world.done(world.groups.all_reduce(&tensor, largest))?;
        values.copy_from_slice(&Vec::<f64>::try_from(&tensor)?);
        Ok(())
    }

    /// Sums `tensor` over the processes, in place.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |world| world.done(world.groups.all_reduce(tensor, false)))
    }

    /// Overwrites `tensor` with rank 0's.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn broadcast(&self, tensor: &Tensor) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |world| world.done(world.groups.broadcast(tensor)))
    }

    /// Rank 0's `bytes`.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let Some(world) = &self.0 else { return Ok(bytes) };
        let length = Tensor::f_from_slice(&[bytes.len() as i64])?;
        world.done(world.groups.broadcast(&length))?;
        let length = i64::try_from(&length)?;
        let content = match world.env.rank {
            0 => Tensor::f_from_slice(&bytes)?,
            _ => Tensor::f_zeros([length], (Kind::Uint8, Device::Cpu))?,
        };
        world.done(world.groups.broadcast(&content))?;
        Ok(Vec::<u8>::try_from(&content)?)
    }

    /// What rank 0's `make` makes, or its error on every process.
    ///
    /// # Errors
    /// `make`'s own, and as [`Self::sum`].
    pub fn from_first(&self, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        if self.0.is_none() {
            return make();
        }
        let made = if self.is_first() { make() } else { Ok(Vec::new()) };
        let mut code = [made.as_ref().err().map_or(0.0, |error| f64::from(error.exit_code()))];
        self.sum(&mut code)?;
        let says_why = "rank 0 has failed and says why";
        match (made, code[0] as u8) {
            (made, 0) => self.broadcast_bytes(made?),
            (Err(error), _) => Err(error),
            (Ok(_), 2) => Err(Error::config(says_why)),
            (Ok(_), 3) => Err(Error::data(says_why)),
            (Ok(_), _) => Err(Error::failed(says_why)),
        }
    }

    /// Waits for all processes.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn barrier(&self) -> Result<()> {
        self.sum(&mut [0.0])
    }

    /// Compares `hashes` of `what`, each by the name that `name` gives it, with those of rank 0.
    ///
    /// # Errors
    /// Where they differ, on every process: which ranks, and the first that differs there. And as [`Self::sum`].
    pub fn check_same(&self, what: &str, hashes: &[u64], name: impl Fn(usize) -> String) -> Result<()> {
        let Some(world) = &self.0 else { return Ok(()) };
        let bytes = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let first = self.broadcast_bytes(bytes)?;
        let mut first = first.chunks_exact(8);
        // Also where one of them has fewer.
        let mut mine = hashes.iter().map(|hash| hash.to_le_bytes());
        let at = (0..=hashes.len()).find(|_| first.next() != mine.next().as_ref().map(<[u8; 8]>::as_slice));
        // One more than the place of the first that differs.
        let mut found = vec![0.0; world.env.size];
        found[world.env.rank] = at.map_or(0.0, |at| at as f64 + 1.0);
        self.sum(&mut found)?;
        let Some((rank, &at)) = found.iter().enumerate().find(|(_, &at)| at > 0.0) else { return Ok(()) };
        Err(Error::failed(format!(
            "rank {rank} has another {what} than rank 0: the first that differs is {}",
            if at as usize <= hashes.len() { name(at as usize - 1) } else { "their number".into() }
        ))
        .hint("all processes must run the same program with the same configuration on the same kind of machine"))
    }

    /// Sums the gradients of `buckets` from now on, and carries `num_values` numbers of each process: see [`GradientReducer`].
    /// `None` alone.
    ///
    /// # Errors
    /// As [`GradientReducer::new`].
    pub fn reducer(&self, buckets: &[Bucket<'_>], num_values: usize) -> Result<Option<GradientReducer>> {
        let Some(world) = &self.0 else { return Ok(None) };
        Ok(Some(GradientReducer::new(&world.groups, buckets, world.config.wire == Wire::Bf16, num_values)?))
    }

    /// Whether gradients travel while the backward goes on.
    pub fn overlaps(&self) -> bool {
        self.0.as_ref().is_some_and(|world| world.config.overlap)
    }

    /// What a collective returned, its error with the rank that is to blame.
    ///
    /// # Errors
    /// That of `result`.
    pub fn done<T>(&self, result: Result<T>) -> Result<T> {
        match &self.0 {
            Some(world) => world.done(result),
            None => result,
        }
    }

    /// Tells the other processes why this one ends.
    pub fn tell(&self, error: &Error) {
        if let Some(world) = self.0.as_ref().filter(|world| !world.has_failed.get()) {
            tell(&world.store, &world.env, error.report().trim_start_matches("error: "));
        }
    }
}

impl Connected {
    fn done<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.has_failed.set(true);
            let LaunchEnv { rank, size, .. } = self.env;
            let why = self.heartbeat.explain().unwrap_or_else(|| "every process still sends heartbeats".into());
            Error::failed(format!("rank {rank} of {size}: a collective failed, {why}"))
                .caused_by(error)
                .hint("checkpoints are as they were: start all processes again with `--resume`")
        })
    }
}
