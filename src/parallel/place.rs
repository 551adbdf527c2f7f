//! Which of a run's processes this is, from the environment that its launcher made.
//!
//! Looked for in this order: torchrun's variables (also Kubernetes' PyTorchJob and `untie launch`), those of Slurm's srun, and
//! those of mpirun (Open MPI, and MPICH's Hydra).

use std::net::UdpSocket;

use crate::error::{Error, Result};

/// Where rendezvous takes place if nobody says otherwise: torchrun's own default.
const PORT: u16 = 29_500;

/// A process among those of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
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
}

impl Place {
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
        let known: [(&str, [&str; 4]); 4] = [
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
        let is_there = |(_, names): &(&str, [&str; 4])| variable(names[0]).is_some() && variable(names[1]).is_some();
        let Some((launcher, names)) = known.into_iter().find(is_there) else {
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
        let host = match variable("MASTER_ADDR") {
            Some(host) => host,
            None => match variable("SLURM_STEP_NODELIST").filter(|_| launcher == "srun") {
                Some(nodes) => first_node(&nodes),
                None if local_size >= size => "127.0.0.1".into(),
                None => {
                    return Err(Error::config(format!("{launcher} started this process: expected `MASTER_ADDR`")).hint(
                        "set it to the name or address of the host of rank 0, and `MASTER_PORT` to a free port there",
                    ))
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

    fn find(variables: &[(&str, &str)]) -> Result<Option<Place>> {
        Place::find(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn place(variables: &[(&str, &str)]) -> Place {
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
        let expected = Place {
            rank: 5,
            size: 8,
            local_rank: 1,
            local_size: 4,
            shares_cores: true,
            master: ("node1".into(), 1234),
            serves: false,
            attempt: "2".into(),
        };
        assert_eq!(place(&torchrun), expected);
        // Its agent serves the store, also beside rank 0.
        let first: Vec<_> = [("RANK", "0")].into_iter().chain(torchrun[1..].iter().copied()).collect();
        assert!(!place(&first).serves && place(&first[..6]).serves);
        let slurm = [
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "16"),
            ("SLURM_LOCALID", "3"),
            ("SLURM_STEP_TASKS_PER_NODE", "8(x2)"),
            ("SLURM_NODEID", "0"),
            ("SLURM_STEP_NODELIST", "gpu[07-08]"),
            ("SLURM_JOB_ID", "120042"),
        ];
        let found = place(&slurm);
        assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (3, 16, 3, 8));
        assert!(!found.shares_cores);
        assert_eq!([0, 2, 3, 4].map(|node| tasks_of_node("2(x3),1", node)), [Some(2), Some(2), Some(1), None]);
        assert_eq!(find(&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]).unwrap(), None);
        assert_eq!((found.master, found.serves), (("gpu07".into(), 29_542), false));
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")];
        assert_eq!(place(&mpi).master, ("127.0.0.1".into(), 29_500));
        // A shell in a job, where nothing was started with srun.
        assert_eq!(find(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
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
