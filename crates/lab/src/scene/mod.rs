//! A lab in use: a daemon on each host, guests that check themselves, and the client that watches.
//!
//! The demonstration, the benchmark and the end-to-end tests all play on such a scene.

mod bare_metal;
mod daemons;
mod guest;
mod server;
mod witness;

use std::future::Future;
use std::path::{Path, PathBuf};

use punctual_host::api::{MachineDetails, MachineSummary, MigrateRequest, Migration, RunRequest};
use punctual_host::client::{Client, ClientError};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

pub use bare_metal::{BareMetal, BareMetalSpec};
pub use daemons::{DaemonError, PORT, start_daemon};
pub use guest::{Guest, GuestDisk, GuestSpec};
pub use server::{Server, ServerSpec, Service};
pub use witness::Witness;

use crate::{DownError, Lab, LabSpec, NoSuchPlace, Process, Removed, UpError};

/// A lab with a daemon on each host. Dropping it takes the lab down, with all that runs in it.
#[derive(Debug)]
pub struct Scene {
    lab: Option<Lab>,
    program: PathBuf,
    daemons: Vec<Process>,
    runtime: Runtime,
}

/// Why a scene did not do what was asked.
#[derive(Debug, Error)]
pub enum SceneError {
    /// The lab could not be made.
    #[error(transparent)]
    Up(#[from] UpError),
    /// The lab could not be removed.
    #[error(transparent)]
    Down(#[from] DownError),
    /// There is no such host.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// A daemon could not be started.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A daemon did not do what it was asked.
    #[error("host {host}: {source}")]
    Client {
        /// The host of the daemon.
        host: String,
        /// Why.
        source: ClientError,
    },
    /// Something that test guests need is missing.
    #[error(transparent)]
    Image(Box<dyn std::error::Error + Send + Sync>),
    /// The guest was started but is not heard.
    #[error("guest `{guest}` is not heard after {seconds} s: its serial console is in {console}")]
    Silent {
        /// The guest.
        guest: String,
        /// How long it was waited for.
        seconds: u64,
        /// What it printed.
        console: String,
    },
    /// The client of the lab cannot listen or speak.
    #[error("the lab's client: {0}")]
    Io(#[from] std::io::Error),
}

impl Scene {
    /// Makes the lab and starts `program`, the command `punctual`, as the daemon of each host.
    ///
    /// # Errors
    /// The lab could not be made or a daemon not be started; nothing is left behind then.
    pub fn set_up(spec: &LabSpec, program: &Path) -> Result<Self, SceneError> {
        Self::on(Lab::up(spec)?, program)
    }

    /// Starts `program` as the daemon of each host of a lab that is up.
    ///
    /// # Errors
    /// A daemon could not be started; the lab is taken down then.
    pub fn on(lab: Lab, program: &Path) -> Result<Self, SceneError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut scene =
            Self { lab: Some(lab), program: program.to_owned(), daemons: Vec::new(), runtime };
        let hosts: Vec<String> =
            scene.lab().hosts().iter().map(|host| host.name.to_string()).collect();
        for host in hosts {
            scene.start_daemon(&host)?;
        }
        Ok(scene)
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is there until the scene is taken down")
    }

    /// The command `punctual` that the daemons run.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the daemon of a host, for the first time or after it was killed.
    ///
    /// # Errors
    /// It does not answer.
    pub fn start_daemon(&mut self, host: &str) -> Result<(), SceneError> {
        let daemon = start_daemon(self.lab(), host, &self.program)?;
        self.adopt_daemon(daemon);
        Ok(())
    }

    /// Takes a daemon that somebody else started on a host for the one of that host.
    pub(crate) fn adopt_daemon(&mut self, daemon: Process) {
        self.daemons.retain(|other| other.record().place != daemon.record().place);
        self.daemons.push(daemon);
    }

    /// The daemon of a host.
    ///
    /// # Panics
    /// There is no such host.
    #[must_use]
    pub fn daemon(&self, host: &str) -> &Process {
        let daemon = self.daemons.iter().find(|daemon| daemon.record().place == host);
        daemon.expect("each host has a daemon")
    }

    /// Asks the daemon of a host something, and waits for the answer.
    ///
    /// # Errors
    /// There is no such host, or its daemon says no.
    pub fn ask<T, F>(&self, host: &str, question: impl FnOnce(Client) -> F) -> Result<T, SceneError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let client = Client::new(&self.lab().host(host)?.socket);
        let failed = |source| SceneError::Client { host: host.to_owned(), source };
        self.runtime.block_on(question(client)).map_err(failed)
    }

    /// Starts a machine from its specification in TOML.
    ///
    /// # Errors
    /// The daemon could not start it.
    pub fn run(&self, host: &str, spec: String) -> Result<MachineSummary, SceneError> {
        let request = RunRequest { spec, directory: "/".into() };
        self.ask(host, |client| async move { client.run(&request).await })
    }

    /// All that a host knows of a machine.
    ///
    /// # Errors
    /// It has no such machine.
    pub fn machine(&self, host: &str, name: &str) -> Result<MachineDetails, SceneError> {
        self.ask(host, |client| async move { client.machine(name).await })
    }

    /// Moves a machine and waits for the end, calling `watch` at each change. How it ended stands
    /// in the report.
    ///
    /// # Errors
    /// The daemon refused or ended.
    pub fn migrate(
        &self,
        from: &str,
        request: &MigrateRequest,
        mut watch: impl FnMut(&Migration),
    ) -> Result<Migration, SceneError> {
        self.ask(from, |client| async move {
            let begun = client.migrate(request).await?;
            let mut events = client.follow(begun.id).await?;
            let mut last = begun;
            while let Some(migration) = events.next().await? {
                watch(&migration);
                last = migration;
            }
            Ok(last)
        })
    }

    /// Removes the lab with all that runs in it.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    pub fn take_down(mut self) -> Result<Removed, SceneError> {
        let lab = self.lab.take().expect("the lab is there until the scene is taken down");
        Ok(lab.down()?)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take() {
            let name = lab.state().name.clone();
            if let Err(error) = lab.down() {
                eprintln!("lab {name}: {error}; `punctual lab down --name {name}` tries again");
            }
        }
    }
}
