//! `untie launch`: the processes of a run on this machine, alone or as one of several machines that each call it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::error::{Error, Result};
use crate::parallel::LAUNCHED;

/// How long the others have to end by themselves once one has failed, which they find out; then they are asked to, and after as
/// long again they are ended.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Arguments of `untie launch`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// Number of processes on this machine: one for each GPU; on the CPU they share the cores
    #[arg(long, value_name = "N")]
    nproc: usize,
    /// Number of machines; each starts the same number of processes
    #[arg(long, value_name = "N", default_value_t = 1)]
    nnodes: usize,
    /// Number of this machine, counted from 0
    #[arg(long, value_name = "R", default_value_t = 0)]
    node_rank: usize,
    /// Address of machine 0 and a free port on it, where all processes connect [default with one machine: a free port]
    #[arg(long, value_name = "HOST:PORT")]
    master: Option<String>,
    /// The command of each process, without `untie`: train --config ... or finetune --task ...
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl LaunchArgs {
    /// Starts the processes and waits for them; the exit code is that of the first which failed.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub fn run(&self) -> Result<u8> {
        if self.nproc == 0 {
            return Err(Error::config("`--nproc` must be at least 1, got 0"));
        }
        if !["train", "finetune"].contains(&self.command[0].as_str()) {
            let got = &self.command[0];
            return Err(Error::config(format!("`untie launch` starts `train` or `finetune`, got `{got}`")));
        }
        if self.node_rank >= self.nnodes {
            let (rank, nodes) = (self.node_rank, self.nnodes);
            return Err(Error::config(format!("`--node-rank` must be below `--nnodes` = {nodes}, got {rank}")));
        }
        let (host, port) = self.meeting_place()?;
        let asked = Arc::new(AtomicUsize::new(0));
        // A terminal that hangs up asks for the end too.
        for (signal, passed) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM), (SIGUSR1, SIGUSR1), (SIGHUP, SIGTERM)] {
            signal_hook::flag::register_usize(signal, asked.clone(), passed as usize)
                .map_err(|error| Error::failed("cannot install signal handlers").caused_by(error))?;
        }
        let (mut children, mut relays) = (Vec::new(), Vec::new());
        for rank in 0..self.nproc {
            match self.start(rank, &host, port, &mut relays) {
                Ok(child) => children.push(child),
                Err(error) => {
                    children.iter_mut().for_each(|child: &mut Child| drop(child.kill()));
                    return Err(error);
                }
            }
        }
        let code = wait(&mut children, &asked);
        // What they wrote last.
        relays.into_iter().for_each(|relay| drop(relay.join()));
        Ok(code)
    }

    fn meeting_place(&self) -> Result<(String, u16)> {
        let Some(master) = &self.master else {
            return match self.nnodes {
                1 => Ok(("127.0.0.1".into(), free_port()?)),
                _ => Err(Error::config("several machines need one address to meet at: expected `--master HOST:PORT`")),
            };
        };
        let parts = master.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        parts.ok_or_else(|| Error::config(format!("`--master`: expected `HOST:PORT`, got `{master}`")))
    }

    fn start(&self, rank: usize, host: &str, port: u16, relays: &mut Vec<JoinHandle<()>>) -> Result<Child> {
        let cannot = |error: std::io::Error| Error::failed(format!("cannot start process {rank}")).caused_by(error);
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.args(&self.command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in [
            ("RANK", (self.node_rank * self.nproc + rank).to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("WORLD_SIZE", (self.nnodes * self.nproc).to_string()),
            ("LOCAL_WORLD_SIZE", self.nproc.to_string()),
            ("MASTER_ADDR", host.to_owned()),
            ("MASTER_PORT", port.to_string()),
            (LAUNCHED, "1".to_owned()),
        ] {
            command.env(name, value);
        }
        // A group of its own: a signal of the terminal comes once, from here.
        let mut child = command.process_group(0).spawn().map_err(cannot)?;
        if let Some(stdout) = child.stdout.take() {
            relays.push(relay(self.node_rank * self.nproc + rank, stdout, std::io::stdout()));
        }
        if let Some(stderr) = child.stderr.take() {
            relays.push(relay(self.node_rank * self.nproc + rank, stderr, std::io::stderr()));
        }
        Ok(child)
    }
}

/// A port that nobody listens at now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| {
        Error::failed("cannot find a free port").caused_by(error).hint("name one with `--master 127.0.0.1:PORT`")
    })
}

/// Passes lines on with the rank of the process before them.
fn relay(rank: usize, from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(std::result::Result::ok) {
            // One write a line, so that lines do not mix. Nobody may be left to read them.
            let line = [format!("[{rank}] ").as_bytes(), &line, b"\n"].concat();
            let _ = to.write_all(&line).and_then(|()| to.flush());
        }
    })
}

/// Passes signals on and waits for all; the first exit code that is not 0.
fn wait(children: &mut [Child], asked: &AtomicUsize) -> u8 {
    let mut codes: Vec<Option<u8>> = vec![None; children.len()];
    let mut failed: Option<(u8, Instant)> = None;
    let mut has_asked = false;
    while codes.iter().any(Option::is_none) {
        let signal = asked.swap(0, Ordering::Relaxed) as i32;
        if signal != 0 {
            send(children, &codes, signal);
        }
        for (rank, child) in children.iter_mut().enumerate() {
            if codes[rank].is_some() {
                continue;
            }
            if let Ok(Some(status)) = child.try_wait() {
                let code = status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1));
                codes[rank] = Some(code);
                if code != 0 && failed.is_none() {
                    eprintln!("process {rank} ended: {status}");
                    failed = Some((code, Instant::now()));
                }
            }
        }
        if let Some((_, since)) = failed {
            if !has_asked && since.elapsed() > GRACE {
                send(children, &codes, SIGTERM);
                has_asked = true;
            }
            if since.elapsed() > 2 * GRACE {
                children.iter_mut().for_each(|child| drop(child.kill()));
            }
        }
        thread::sleep(PAUSE);
    }
    failed.map_or(0, |(code, _)| code)
}

fn send(children: &[Child], codes: &[Option<u8>], signal: i32) {
    for (child, _) in children.iter().zip(codes).filter(|(_, code)| code.is_none()) {
        // The shell's own `kill`: small images have no program of that name.
        let kill = format!("kill -{signal} {}", child.id());
        if let Err(error) = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status() {
            eprintln!("cannot pass a signal on: {error}");
        }
    }
}
