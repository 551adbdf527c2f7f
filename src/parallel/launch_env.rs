//! Which of a run's processes this is, from the environment that its launcher made.
//!
//! Looked for in this order: torchrun's variables (also Kubernetes' PyTorchJob and `untie launch`), those of Slurm's srun, and
//! those of mpirun (Open MPI, and MPICH's Hydra).

use std::net::UdpSocket;

use crate::error::{Error, Result};

/// Where rendezvous takes place if nobody says otherwise: torchrun's own default.
const PORT: u16 = 29_500;

/// What the environment of a process says: its number among those of a run, and how to meet them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchEnv {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number on its host, from 0: that of its GPU.
    pub local_rank: usize,
    /// How many there are on its host.
    pub local_size: usize,
    /// Whether the cores that it may use are those of all processes on its host; Slurm gives each its own.
    pub shares_cores: bool,
    /// Where the store is served: a host and a port.
    pub master: (String, u16),
    /// Whether this process serves the store; under torchrun its agent does.
    pub serves: bool,
    /// The number of the attempt, which keeps the keys of restarted processes apart.
    pub attempt: String,
    /// Who says that there are several.
    pub started_by: StartedBy,
}

/// Who started a process as one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedBy {
    /// The program's name, where it can be told; or nothing.
    pub launcher: &'static str,
    /// The variable that holds the number of processes.
    pub variable: &'static str,
    /// The variables without which a process is alone; none where it was started for this run alone.
    pub unset: Vec<&'static str>,
}

impl StartedBy {
    /// Who asked for `size` processes, and where.
    pub fn asked(&self, size: usize) -> String {
        let name = if self.launcher.is_empty() { String::new() } else { format!("{}: ", self.launcher) };
        format!("{name}{}={size}", self.variable)
    }

    /// How to train alone, as the end of a sentence.
    pub fn advice(&self) -> String {
        match self.unset.as_slice() {
            [] => String::new(),
            [only] if *only == self.variable => "; unset it to train alone".into(),
            names => format!("; unset {} to train alone", names.join(" and ")),
        }
    }
}

/// Set by `untie launch` for its processes.
pub const LAUNCHED: &str = "UNTIE_LAUNCHED";

impl LaunchEnv {
    /// That of this process; `None` where it was started alone.
    ///
    /// # Errors
    /// Variables that are incomplete or contradict each other.
    pub fn from_environment() -> Result<Option<Self>> {
        Self::find(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn find(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            variable(name).map(|text| text.parse().map_err(|_| unreadable(name, &text))).transpose()
        };
        // Name of the launcher; variables of rank, size, rank on the host, processes on the host.
        let known: [(&'static str, [&'static str; 4]); 4] = [
            ("torchrun", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]),
            ("srun", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"]),
            (
                "Open MPI",
                [
                    "OMPI_COMM_WORLD_RANK",
                    "OMPI_COMM_WORLD_SIZE",
                    "OMPI_COMM_WORLD_LOCAL_RANK",
                    "OMPI_COMM_WORLD_LOCAL_SIZE",
                ],
            ),
            ("Hydra", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]),
        ];
        // A shell inside a Slurm job has SLURM_PROCID too, but no step of its own.
        let is_there = |(_, names): &(&'static str, [&'static str; 4])| {
            variable(names[0]).is_some() && variable(names[1]).is_some()
        };
        let Some(&(launcher, names)) = known.iter().find(|kind| is_there(kind)) else {
            return match variable("RANK").or(variable("WORLD_SIZE")) {
                Some(_) => {
                    Err(Error::config("expected both `RANK` and `WORLD_SIZE` in the environment, got one of them")
                        .hint("set both, or none of them"))
                }
                None => Ok(None),
            };
        };
        let [rank, size, local_rank, local_size] = names.map(number);
        let (rank, size) = (rank?.unwrap_or(0), size?.unwrap_or(1));
        let local_rank = local_rank?.unwrap_or(0);
        let of_slurm = variable("SLURM_STEP_TASKS_PER_NODE").filter(|_| launcher == "srun");
        let of_slurm = of_slurm.and_then(|list| tasks_of_node(&list, number("SLURM_NODEID").ok()??));
        let local_size = of_slurm.or(local_size?).unwrap_or(local_rank + 1).max(local_rank + 1);
        if size == 1 && launcher != "torchrun" {
            // A shell started with srun is no run of several.
            return Ok(None);
        }
        if rank >= size {
            return Err(Error::config(format!("`{}` must be below `{}` = {size}, got {rank}", names[0], names[1])));
        }
        let started_by = StartedBy {
            launcher: match launcher {
                // The same variables are Kubernetes' PyTorchJob's, or set by hand.
                "torchrun" if variable(LAUNCHED).is_some() => "untie launch",
                "torchrun" if variable("TORCHELASTIC_RUN_ID").is_none() => "",
                other => other,
            },
            variable: names[1],
            unset: match variable(LAUNCHED) {
                Some(_) => Vec::new(),
                // Slurm with PMI sets two kinds.
                None => known.iter().filter(|kind| is_there(kind)).flat_map(alone_without).collect(),
            },
        };
        let host = match variable("MASTER_ADDR") {
            Some(host) => host,
            None => match variable("SLURM_STEP_NODELIST").filter(|_| launcher == "srun") {
                Some(nodes) => first_node(&nodes),
                None if local_size >= size => "127.0.0.1".into(),
                None => {
                    let (asked, advice) = (started_by.asked(size), started_by.advice());
                    return Err(Error::config(format!("one of several processes ({asked}): expected `MASTER_ADDR`")).hint(
                        format!(
                            "set it to the name or address of the host of rank 0, and `MASTER_PORT` to a free port there{advice}"
                        ),
                    ));
                }
            },
        };
        let port = match (variable("MASTER_PORT"), number("SLURM_JOB_ID")?.filter(|_| launcher == "srun")) {
            (Some(text), _) => text.parse().map_err(|_| unreadable("MASTER_PORT", &text))?,
            // Two jobs on one host must not meet.
            (None, Some(job)) => PORT + (job % 10_000) as u16,
            (None, None) => PORT,
        };
        let has_agent =
            variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let attempt = variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into());
        Ok(Some(Self {
            rank,
            size,
            local_rank,
            local_size,
            shares_cores: launcher != "srun",
            master: (host, port),
            serves: rank == 0 && !has_agent,
            attempt,
            started_by,
        }))
    }

    /// The address of this host that the master can be reached from.
    ///
    /// # Errors
    /// A master whose name means nothing here, and a host without a network.
    pub fn address(&self) -> Result<String> {
        let (host, port) = (self.master.0.as_str(), self.master.1);
        let unreachable = |error: std::io::Error| {
            Error::failed(format!("rank {}: there is no way to the master `{host}`", self.rank))
                .caused_by(error)
                .hint("`MASTER_ADDR` must be a name or an address that this host knows")
        };
        // Nothing is sent: the system only chooses the address it would send from.
        let choose = |any: &str| -> std::io::Result<String> {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((host, port))?;
            Ok(socket.local_addr()?.ip().to_string())
        };
        choose("0.0.0.0").or_else(|_| choose("::")).map_err(unreachable)
    }
}

/// Of the variables of a launcher those without which it is not there.
fn alone_without((launcher, names): &(&'static str, [&'static str; 4])) -> Vec<&'static str> {
    // Half of torchrun's would be an error.
    if *launcher == "torchrun" {
        names[..2].to_vec()
    } else {
        vec![names[1]]
    }
}

fn unreadable(name: &str, text: &str) -> Error {
    Error::config(format!("`{name}` in the environment: expected a number, got `{text}`"))
}

/// Of Slurm's `2(x3),1`, two tasks on each of three nodes and one on a fourth, those of node `node`.
fn tasks_of_node(list: &str, node: usize) -> Option<usize> {
    let mut nodes = 0;
    for part in list.split(',') {
        let (tasks, times) = match part.split_once("(x") {
            Some((tasks, times)) => (tasks, times.trim_end_matches(')').parse().ok()?),
            None => (part, 1),
        };
        nodes += times;
        if node < nodes {
            return tasks.parse().ok();
        }
    }
    None
}

/// The first of Slurm's list: `node[03-07,12],other` → `node03`.
fn first_node(nodes: &str) -> String {
    let Some((prefix, rest)) = nodes.split_once('[').filter(|(prefix, _)| !prefix.contains(',')) else {
        return nodes.split(',').next().unwrap_or(nodes).into();
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let suffix = rest.split_once(']').map_or("", |(_, after)| after.split(',').next().unwrap_or(""));
    format!("{prefix}{digits}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<Option<LaunchEnv>> {
        LaunchEnv::find(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn launch_env(variables: &[(&str, &str)]) -> LaunchEnv {
        find(variables).unwrap().unwrap()
    }

    #[test]
    fn launchers_say_where_a_process_stands() {
        assert_eq!(find(&[]).unwrap(), None);
        let torchrun = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("MASTER_ADDR", "node1"),
            ("MASTER_PORT", "1234"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ];
        let expected = LaunchEnv {
            rank: 5,
            size: 8,
            local_rank: 1,
            local_size: 4,
            shares_cores: true,
            master: ("node1".into(), 1234),
            serves: false,
            attempt: "2".into(),
            started_by: StartedBy { launcher: "", variable: "WORLD_SIZE", unset: vec!["RANK", "WORLD_SIZE"] },
        };
        assert_eq!(launch_env(&torchrun), expected);
        // Its agent serves the store, also beside rank 0.
        let first: Vec<_> = [("RANK", "0")].into_iter().chain(torchrun[1..].iter().copied()).collect();
        assert!(!launch_env(&first).serves && launch_env(&first[..6]).serves);
        let slurm = [
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "16"),
            ("SLURM_LOCALID", "3"),
            ("SLURM_STEP_TASKS_PER_NODE", "8(x2)"),
            ("SLURM_NODEID", "0"),
            ("SLURM_STEP_NODELIST", "gpu[07-08]"),
            ("SLURM_JOB_ID", "120042"),
        ];
        let found = launch_env(&slurm);
        assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (3, 16, 3, 8));
        assert!(!found.shares_cores);
        assert_eq!([0, 2, 3, 4].map(|node| tasks_of_node("2(x3),1", node)), [Some(2), Some(2), Some(1), None]);
        assert_eq!(find(&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]).unwrap(), None);
        assert_eq!((found.master, found.serves), (("gpu07".into(), 29_542), false));
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")];
        assert_eq!(launch_env(&mpi).master, ("127.0.0.1".into(), 29_500));
        // A shell in a job, where nothing was started with srun.
        assert_eq!(find(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
    }

    /// And without the variables that are to be unset nobody started it.
    #[test]
    fn who_asked_is_known_and_how_to_be_alone() {
        let torchrun = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")];
        let elastic = [&torchrun[..], &[("TORCHELASTIC_RUN_ID", "none")]].concat();
        let launched = [&torchrun[..], &[(LAUNCHED, "1")]].concat();
        let srun = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_STEP_NODELIST", "a")];
        let with_pmi = [&srun[..], &[("PMI_RANK", "0"), ("PMI_SIZE", "2")]].concat();
        let mpi = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2"), ("MASTER_ADDR", "a")];
        let hydra = [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "1")];
        for (variables, asked, advice) in [
            (torchrun.to_vec(), "WORLD_SIZE=2", "; unset RANK and WORLD_SIZE to train alone"),
            (elastic, "torchrun: WORLD_SIZE=2", "; unset RANK and WORLD_SIZE to train alone"),
            (launched, "untie launch: WORLD_SIZE=2", ""),
            (srun.to_vec(), "srun: SLURM_STEP_NUM_TASKS=2", "; unset it to train alone"),
            (with_pmi, "srun: SLURM_STEP_NUM_TASKS=2", "; unset SLURM_STEP_NUM_TASKS and PMI_SIZE to train alone"),
            (mpi.to_vec(), "Open MPI: OMPI_COMM_WORLD_SIZE=2", "; unset it to train alone"),
            (hydra.to_vec(), "Hydra: PMI_SIZE=2", "; unset it to train alone"),
        ] {
            let started_by = launch_env(&variables).started_by;
            assert_eq!((started_by.asked(2).as_str(), started_by.advice().as_str()), (asked, advice));
            let rest: Vec<_> = variables.into_iter().filter(|(name, _)| !started_by.unset.contains(name)).collect();
            assert!(started_by.unset.is_empty() || find(&rest).unwrap().is_none(), "{asked}");
        }
    }

    #[test]
    fn environments_that_cannot_be_are_refused() {
        for (variables, words) in [
            (vec![("RANK", "0")], "expected both `RANK` and `WORLD_SIZE`"),
            (vec![("RANK", "2"), ("WORLD_SIZE", "2")], "`RANK` must be below `WORLD_SIZE` = 2, got 2"),
            (vec![("RANK", "x"), ("WORLD_SIZE", "2")], "`RANK` in the environment: expected a number, got `x`"),
            (
                vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "70000")],
                "`MASTER_PORT` in the environment: expected a number, got `70000`",
            ),
            (vec![("RANK", "0"), ("WORLD_SIZE", "2")], "expected `MASTER_ADDR`"),
        ] {
            let message = find(&variables).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn the_first_node_of_a_list_is_found() {
        for (nodes, first) in
            [("node1", "node1"), ("a,b[1-2]", "a"), ("node[03-07,12],other", "node03"), ("r[1-2]-ib,x", "r1-ib")]
        {
            assert_eq!(first_node(nodes), first, "{nodes}");
        }
    }
}
