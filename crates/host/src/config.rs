//! What a daemon is told, and the directories that it lives in.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use thiserror::Error;

use crate::api::{Peer, Problem};
use crate::registry;

/// What a daemon is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// The host's name.
    pub name: String,
    /// Where other hosts connect to.
    pub listen: SocketAddr,
    /// Where other hosts are told to connect to; `None` where it is the same.
    pub advertise: Option<String>,
    /// The control socket.
    pub socket: PathBuf,
    /// For the journal and the machine records; outlives a reboot.
    pub state_dir: PathBuf,
    /// For QMP sockets and pid files.
    pub runtime_dir: PathBuf,
    /// For the RAM of machines.
    pub ram_dir: PathBuf,
    /// The hosts that are known by name.
    pub peers: Vec<Peer>,
    /// How many machines move at a time.
    pub caps: Caps,
}

/// How many machines move at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// From this host; the others wait for their turn.
    pub outgoing: usize,
    /// To this host; the sources of others try again later.
    pub incoming: usize,
    /// From this host to any one other: they would share a link, and neither would take the time that
    /// was foretold for it alone.
    pub per_link: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { outgoing: 2, incoming: 2, per_link: 1 }
    }
}

/// Why a daemon's directories could not be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The name cannot be that of a host.
    #[error("`{0}` cannot be the name of a host: use 1 to 64 of a-z, A-Z, 0-9, `_`, `.` and `-`")]
    Name(String),
    /// Other hosts could not be told where to ask this one.
    #[error(
        "{0} is every address of this host: name one that others reach, with --listen or --advertise"
    )]
    Nowhere(SocketAddr),
    /// A directory could not be made or read.
    #[error("{path}: {source}: run the daemon as root, or choose directories of your own")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon is at work there.
    #[error("another daemon uses {0}: stop it, or choose another --name or --state-dir")]
    InUse(PathBuf),
}

/// The directories of a daemon, made and locked against another daemon until this is dropped.
#[derive(Debug)]
pub(crate) struct Directories {
    _lock: File,
}

impl HostConfig {
    /// Makes the directories, for the owner alone, and locks the state.
    pub(crate) fn prepare(&self) -> Result<Directories, ConfigError> {
        // Labs keep their files where a host called `lab` would.
        if registry::check_name(&self.name).is_err() || self.name == "lab" {
            return Err(ConfigError::Name(self.name.clone()));
        }
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(ConfigError::Nowhere(self.listen));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ConfigError::Directory { path, source }
        };
        let of_socket = self.socket.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directories = [&self.state_dir, &self.runtime_dir, &self.ram_dir];
        for directory in directories.into_iter().map(PathBuf::as_path).chain(of_socket) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed(directory))?;
        }
        let path = self.state_dir.join("lock");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = file.map_err(failed(&path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| ConfigError::InUse(self.state_dir.clone()))?;
        Ok(Directories { _lock: lock })
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.state_dir.join("journal")
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.state_dir.join("machines")
    }

    pub(crate) fn traces(&self) -> PathBuf {
        self.state_dir.join("traces")
    }

    /// What is being done with machines and files.
    pub(crate) fn suspending(&self) -> PathBuf {
        self.state_dir.join("suspending")
    }

    /// Files of clones, while they are made.
    pub(crate) fn clones(&self) -> PathBuf {
        self.state_dir.join("clones")
    }

    pub(crate) fn experience(&self) -> PathBuf {
        self.state_dir.join("experience.json")
    }

    /// The address of another host: a peer's by its name, or what already is one.
    pub(crate) fn address_of(&self, host: &str) -> Result<String, Problem> {
        if let Some(peer) = self.peers.iter().find(|peer| peer.name == host) {
            return Ok(peer.address.clone());
        }
        let is_address = host.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty() && port.parse().is_ok_and(|port: u16| port != 0)
        });
        if is_address {
            return Ok(host.to_owned());
        }
        let known: Vec<_> = self.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Problem::usage(
            format!("host `{host}` is not known to the daemon of `{}`", self.name),
            format!(
                "write ADDRESS:PORT, or start the daemon with --peer {host}=ADDRESS:PORT \
                 (known: {known})"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path) -> HostConfig {
        HostConfig {
            name: "a".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            socket: directory.join("control.sock"),
            state_dir: directory.join("state"),
            runtime_dir: directory.join("run"),
            ram_dir: directory.join("ram"),
            peers: vec![Peer { name: "b".to_owned(), address: "10.0.0.2:7070".to_owned() }],
            caps: Caps::default(),
        }
    }

    #[test]
    fn two_daemons_do_not_share_a_state() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let held = config.prepare().unwrap();
        assert!(matches!(config.prepare(), Err(ConfigError::InUse(_))));
        drop(held);
        config.prepare().unwrap();
    }

    #[test]
    fn who_can_be_asked_must_be_reachable() {
        let directory = tempfile::tempdir().unwrap();
        let everywhere = "0.0.0.0:7070".parse().unwrap();
        let config = HostConfig { listen: everywhere, ..config(directory.path()) };
        assert!(matches!(config.prepare(), Err(ConfigError::Nowhere(_))));
        let advertise = Some("a.example:7070".to_owned());
        HostConfig { advertise, ..config }.prepare().unwrap();
    }

    #[test]
    fn hosts_by_name_and_by_address() {
        let config = config(Path::new("/nowhere"));
        assert_eq!(config.address_of("b"), Ok("10.0.0.2:7070".to_owned()));
        assert_eq!(config.address_of("[::1]:7070"), Ok("[::1]:7070".to_owned()));
        for unknown in ["c", "c:", "c:0", ":7070", "c:port"] {
            let problem = config.address_of(unknown).unwrap_err();
            assert!(problem.remedy.contains("(known: b)"), "{problem:?}");
        }
    }
}
