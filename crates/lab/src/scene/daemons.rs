//! The daemons of a lab's hosts.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::{Lab, NoSuchPlace, Process, RunError};

/// The port on which each host's daemon takes machines.
pub const PORT: u16 = 7070;
/// A daemon that has not opened its socket by then never will.
const START: Duration = Duration::from_secs(20);

/// Why the daemon of a host does not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// There is no such host.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] RunError),
    /// It was started but does not answer.
    #[error("the daemon of host {host} does not answer: {source}; see {}", log.display())]
    Silent {
        /// The host.
        host: String,
        /// What came of the last attempt to reach it.
        source: io::Error,
        /// What it printed.
        log: PathBuf,
    },
}

/// Starts `program`, the command `punctual`, as the daemon of a host that knows the other hosts by
/// name, and waits until it answers.
///
/// # Errors
/// It could not be started or does not answer. The lab stays as it is.
pub fn start_daemon(lab: &Lab, host: &str, program: &Path) -> Result<Process, DaemonError> {
    let host = lab.host(host)?;
    let mut command = Command::new(program);
    command.args(["host", "--name", host.name.as_str()]);
    command.args(["--listen", &format!("{}:{PORT}", host.address)]);
    command.arg("--socket").arg(&host.socket);
    command.arg("--runtime-dir").arg(host.run_dir.join("daemon"));
    command.arg("--state-dir").arg(host.run_dir.join("state"));
    command.arg("--ram-dir").arg(&host.ram_dir).arg("--mount-ram");
    for peer in lab.hosts().iter().filter(|peer| peer.name != host.name) {
        command.args(["--peer", &format!("{}={}:{PORT}", peer.name, peer.address)]);
    }
    let daemon = lab.spawn(host.name.as_str(), "punctual", command)?;
    wait_for(&host.socket, &daemon).map_err(|source| DaemonError::Silent {
        host: host.name.to_string(),
        source,
        log: daemon.record().log.clone(),
    })?;
    Ok(daemon)
}

fn wait_for(socket: &Path, daemon: &Process) -> io::Result<()> {
    let deadline = Instant::now() + START;
    while let Err(error) = UnixStream::connect(socket) {
        if !daemon.is_running() || Instant::now() > deadline {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
