//! Whole daemons in this process, over real sockets, with machines that are not QEMU's.

mod answers;
mod fakes;
mod following;
mod moves;
mod planning;
mod processes;
mod queue;
mod recovery;
mod suspended;
mod tracing;
mod upgrades;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use punctual_engine::Report;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::api::{Id, MachineState, MigrateRequest, Migration, RunRequest};
use crate::client::{Client, ClientError};
use crate::hypervisor::Hypervisor;
use crate::{Daemon, HostConfig};

/// A daemon that runs in a thread, and a client of it.
struct Site {
    client: Client,
    address: String,
    runtime: Runtime,
    end: Option<oneshot::Sender<()>>,
    daemon: Option<JoinHandle<()>>,
}

fn config(name: &str, directory: &Path) -> HostConfig {
    let of = |part: &str| directory.join(format!("{name}-{part}"));
    HostConfig {
        name: name.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        socket: of("control.sock"),
        state_dir: of("state"),
        runtime_dir: of("run"),
        ram_dir: of("ram"),
        peers: vec![],
        caps: crate::Caps::default(),
    }
}

impl Site {
    fn start(config: HostConfig, hypervisor: impl Hypervisor + 'static) -> Self {
        let client = Client::new(&config.socket);
        let daemon = Daemon::start(config, Box::new(hypervisor)).unwrap();
        let address = daemon.address().to_owned();
        let (end, ended) = oneshot::channel();
        let daemon = thread::spawn(move || {
            daemon.serve_until(async { drop(ended.await) }).unwrap();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { client, address, runtime, end: Some(end), daemon: Some(daemon) }
    }

    fn ask<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, ClientError> {
        self.runtime.block_on(question(self.client.clone()))
    }

    fn run(&self, spec: &str) {
        let request = RunRequest { spec: spec.to_owned(), directory: "/".into() };
        let machine = self.ask(|client| async move { client.run(&request).await }).unwrap();
        assert_eq!(machine.state, MachineState::Running);
    }

    /// The machines, each with its state.
    fn machines(&self) -> Vec<(String, MachineState)> {
        let machines = self.ask(|client| async move { client.machines().await }).unwrap();
        machines.into_iter().map(|machine| (machine.name, machine.state)).collect()
    }

    fn migrate(&self, request: &MigrateRequest) -> Migration {
        self.ask(|client| async move { client.migrate(request).await }).unwrap()
    }

    fn cancel(&self, id: Id) {
        self.ask(|client| async move { client.cancel(id).await }).unwrap();
    }

    /// Follows a migration to the first state that `wanted` accepts.
    fn follow(&self, id: Id, wanted: impl Fn(&Migration) -> bool) -> Migration {
        let follow = |client: Client| async move {
            let mut events = client.follow(id).await?;
            while let Some(migration) = events.next().await? {
                if wanted(&migration) {
                    return Ok(migration);
                }
            }
            panic!("the stream ended before")
        };
        self.ask(follow).unwrap()
    }

    /// Moves a machine and returns how that ended.
    fn moves(&self, request: &MigrateRequest) -> Report {
        let id = self.migrate(request).id;
        self.follow(id, Migration::has_ended).report.unwrap()
    }
}

/// Ends the daemon as SIGTERM would.
impl Drop for Site {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.daemon.take().expect("it is dropped once").join();
        assert!(thread::panicking() || ended.is_ok(), "the daemon panicked");
    }
}

/// A daemon and the machines of its host.
type Host = (Site, Arc<fakes::Fakes>);

/// Two hosts without machines, and where they keep their state.
fn two_hosts() -> (TempDir, Host, Host) {
    two_hosts_with(crate::Caps::default())
}

/// The same, where so many moves may be under way at once.
fn two_hosts_with(caps: crate::Caps) -> (TempDir, Host, Host) {
    let directory = tempfile::tempdir().unwrap();
    let host = |name| {
        let fakes = Arc::new(fakes::Fakes::default());
        let config = HostConfig { caps, ..config(name, directory.path()) };
        (Site::start(config, Arc::clone(&fakes)), fakes)
    };
    let (a, b) = (host("a"), host("b"));
    (directory, a, b)
}

/// Moves a machine without a look at it.
fn request(machine: &str, to: &Site) -> MigrateRequest {
    let (downtime, within) = (Duration::from_secs(2), Duration::from_secs(60));
    let look = Some(Duration::ZERO);
    let request = MigrateRequest::new(machine, &to.address, downtime, within);
    MigrateRequest { verify: true, look, ..request }
}
