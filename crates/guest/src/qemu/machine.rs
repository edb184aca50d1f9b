use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;

use super::belongings::{Belongings, Leftover};
use super::describe::{DescribeError, Description};
use super::launch::{LaunchError, Launched, launch};
use super::plan::Plan;
use super::process::Process;
use super::qmp::{Qmp, QmpError};
use super::source::Source;
use crate::throttle::ThrottleError;
use crate::{Ram, RamError};

/// How long QEMU may take to end when it is asked to.
const QUIT: Duration = Duration::from_secs(10);

/// A running QEMU machine of this host. Dropping it lets it run on.
#[derive(Debug)]
pub struct Machine {
    pub(super) description: Description,
    pub(super) qmp: Arc<Qmp>,
    pub(super) process: Process,
    pub(super) belongings: Belongings,
}

/// Why there is no machine to work with.
#[derive(Debug, Error)]
pub enum AttachError {
    /// It could not be described.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// Its monitor does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Its process could not be held.
    #[error("process {pid} of the machine: {cause}")]
    Process {
        /// The process.
        pid: u32,
        /// The cause.
        cause: io::Error,
    },
    /// It was left slowed down, and stays so.
    #[error("process {pid} of the machine, which was left slowed down: {cause}")]
    Slow {
        /// The process.
        pid: u32,
        /// The cause.
        cause: ThrottleError,
    },
    /// It could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// Why the RAM of a running machine could not be opened.
#[derive(Debug, Error)]
pub enum OpenRamError {
    /// A region is in no file that can be opened.
    #[error(
        "the memory `{0}` is in no named file: start the machine with -object memory-backend-file,share=on,mem-path=FILE"
    )]
    NoFile(String),
    /// A file could not be opened.
    #[error("the RAM file {}: {cause}; run as root", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The machine has no memory that makes a layout.
    #[error(transparent)]
    Layout(#[from] punctual_units::LayoutError),
    /// The files do not fit the machine.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// Why a machine could not be ended and removed.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// Its process does not end.
    #[error("its process does not end: {0}")]
    Process(io::Error),
    /// Its process has ended, but something else is left.
    #[error(transparent)]
    Leftover(#[from] Leftover),
}

impl Machine {
    /// Adopts a running machine by its monitor's socket. It runs on undisturbed.
    ///
    /// # Errors
    /// The monitor does not answer, or it is no QEMU's.
    pub fn attach(monitor: &Path) -> Result<Self, AttachError> {
        Self::behind(Arc::new(Qmp::connect(monitor)?))
    }

    fn behind(qmp: Arc<Qmp>) -> Result<Self, AttachError> {
        let description = Description::of(&qmp)?;
        let pid = description.program.pid;
        let process = Process::open(pid).map_err(|cause| AttachError::Process { pid, cause })?;
        let ram = description.memory.iter().filter_map(|backend| backend.path.clone()).collect();
        let belongings = Belongings::found(qmp.path(), ram);
        Ok(Self { description, qmp, process, belongings })
    }

    /// Starts the machine of a plan; it runs, and outlives this process.
    ///
    /// # Errors
    /// It did not start; nothing is left of it then.
    pub fn run(plan: &Plan) -> Result<Self, AttachError> {
        let Launched { qmp, process, belongings, .. } = launch(plan)?;
        Self::behind(qmp).inspect_err(|_| {
            // The first error is what the caller has to know.
            let _ = process.kill();
            let _ = belongings.remove();
        })
    }

    /// What it was when it was attached.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its monitor.
    #[must_use]
    pub fn qmp(&self) -> &Arc<Qmp> {
        &self.qmp
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Opens its memory.
    ///
    /// # Errors
    /// It is not in named files, or they may not be opened.
    pub fn open_ram(&self) -> Result<Ram, OpenRamError> {
        let open = |backend: &super::describe::Backend| {
            let path = backend.path.clone();
            let path = path.ok_or_else(|| OpenRamError::NoFile(backend.id.clone()))?;
            let file = File::options().read(true).write(true).open(&path);
            file.map_err(|cause| OpenRamError::File { path, cause })
        };
        let files = self.description.memory.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Ram::open(self.description.layout()?, files)?)
    }

    /// Makes it ready to be moved away.
    #[must_use]
    pub fn into_source(self, ram: Arc<Ram>) -> Source {
        Source::new(self, ram)
    }

    /// Ends it, and removes what it has on this host.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    pub fn quit(self) -> Result<(), RemoveError> {
        end(&self.qmp, &self.process)?;
        Ok(self.belongings.remove()?)
    }
}

/// Ends a QEMU: by asking, and where it does not answer, by force.
pub(super) fn end(qmp: &Qmp, process: &Process) -> Result<(), RemoveError> {
    // QEMU may close the monitor before it answers.
    let asked = qmp.execute("quit", json!({}));
    let ended = asked.is_ok() || asked.is_err_and(|error| error.is_lost());
    if ended && process.wait_end(QUIT).map_err(RemoveError::Process)? {
        return Ok(());
    }
    process.kill().map_err(RemoveError::Process)
}
