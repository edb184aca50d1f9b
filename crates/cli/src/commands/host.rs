//! `punctual host`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use punctual_host::api::Peer;
use punctual_host::hypervisor::QemuHypervisor;
use punctual_host::{Caps, Daemon, DaemonError, HostConfig, RamMount};
use tracing_subscriber::EnvFilter;

use crate::arguments::{Global, Host};
use crate::failure::Failure;

pub(super) fn run(global: &Global, said: Host) -> Result<ExitCode, Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    // A directory that was chosen is used as it is, unless that is asked for too.
    let mount = said.mount_ram || said.ram_dir.is_none();
    let config = config(global, said);
    let _mount = mount.then(|| mounted(&config.ram_dir)).flatten();
    let hypervisor = Box::new(QemuHypervisor::new(&config));
    let daemon = Daemon::start(config, hypervisor).map_err(failure)?;
    daemon.serve().map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

/// Huge pages for the RAM of machines, where they can be had.
fn mounted(directory: &Path) -> Option<RamMount> {
    RamMount::over(directory).unwrap_or_else(|error| {
        let directory = directory.display();
        tracing::warn!(%directory, %error, "no huge pages for the RAM of machines: moves are slower");
        None
    })
}

/// What was said, completed by what follows from the host's name.
fn config(global: &Global, said: Host) -> HostConfig {
    let of_name = |parent: &str| PathBuf::from(parent).join(&said.name);
    let runtime_dir = said.runtime_dir.unwrap_or_else(|| of_name("/run/punctual"));
    let socket = global.socket.clone();
    let peers = said.peers.into_iter().map(|(name, address)| Peer { name, address });
    HostConfig {
        socket: socket.unwrap_or_else(|| runtime_dir.join(punctual_host::CONTROL_SOCKET)),
        state_dir: said.state_dir.unwrap_or_else(|| of_name("/var/lib/punctual")),
        ram_dir: said.ram_dir.unwrap_or_else(|| of_name("/dev/shm/punctual")),
        runtime_dir,
        advertise: said.advertise,
        listen: said.listen,
        peers: peers.collect(),
        caps: Caps {
            outgoing: said.max_outgoing.into(),
            incoming: said.max_incoming.into(),
            per_link: said.max_per_link.into(),
        },
        name: said.name,
    }
}

fn failure(error: DaemonError) -> Failure {
    Failure::failed(error, "")
}
