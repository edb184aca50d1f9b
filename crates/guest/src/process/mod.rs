//! The test machine: a plain process whose threads write shared memory.
//!
//! It is traced by the very same [`Tracer`](crate::trace::Tracer) as QEMU and moves by the same
//! contract, but it starts in milliseconds and knows what its memory must hold: every page has a
//! content given by a seed and one byte that counts the writes to it, and the process keeps the
//! same counters aside. So it finds every page that a move has lost ([`Process::check`]).
//!
//! Its program is `punctual-process`, a binary of this package ([`Process::worker`] finds it).

mod ends;
mod guest;
mod program;
mod state;
mod talk;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use punctual_units::MemoryLayout;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;

pub use ends::{ProcessDestination, ProcessSource};
pub use program::run as run_program;
pub use state::Workload;
use talk::Talk;

use crate::demand::{Demand, Paged, Record};
use crate::trace::Pid;
use crate::{MachineError, Ram, RamError};

/// How the machine comes to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name.
    pub name: String,
    /// Its memory.
    pub layout: MemoryLayout,
    /// Where its RAM files are made, one for each region: on a tmpfs.
    pub directory: PathBuf,
    /// The program, see [`Process::worker`].
    pub worker: PathBuf,
}

/// Why there is no such machine, or why it does not do as told.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// Its memory could not be made.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Its program did not start.
    #[error("cannot start {program}: {cause} (build it with `cargo build -p punctual-guest`)")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// It ended, or its pipes broke.
    #[error("the process does not answer: {0}")]
    Silent(#[from] io::Error),
    /// It answered with something else.
    #[error("the process was told `{order}` and answered `{answer}`")]
    Refused {
        /// What it was told.
        order: String,
        /// What it answered.
        answer: String,
    },
}

/// A process that is a machine. It ends, and its RAM files go, with the last hold on it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    /// To end it while somebody waits for its answer, and it for a page.
    pidfd: OwnedFd,
    ram: Arc<Ram>,
    paths: Vec<PathBuf>,
    /// Where it is written down which pages are missing.
    record: Record,
    talk: Mutex<Talk>,
}

impl Process {
    /// A machine that runs: its threads write from now on. `seed` gives the content of its memory
    /// and the order of its writes.
    ///
    /// # Errors
    /// Its memory cannot be made or its program does not start.
    pub fn run(setup: &Setup, seed: u64, workload: Workload) -> Result<Arc<Self>, ProcessError> {
        let process = Self::start(setup)?;
        let workload = serde_json::to_string(&workload).expect("a workload is plain data");
        process.talk().order(&format!("begin {seed} {workload}"))?;
        process.talk().order("run")?;
        Ok(process)
    }

    /// A machine that waits to be moved here.
    ///
    /// # Errors
    /// Its memory cannot be made or its program does not start.
    pub fn wait(setup: &Setup) -> Result<Arc<Self>, ProcessError> {
        Self::start(setup)
    }

    fn start(setup: &Setup) -> Result<Arc<Self>, ProcessError> {
        let paths: Vec<_> = (setup.layout.regions().iter())
            .map(|region| setup.directory.join(format!("{}.{}", setup.name, region.name)))
            .collect();
        let ram = Arc::new(Ram::create(setup.layout.clone(), &paths)?);
        let talk = Talk::start(&setup.worker, &paths);
        let talk = talk.inspect_err(|_| drop(remove(&paths)))?;
        let pidfd = pidfd_open(talk.pid(), PidfdFlags::empty()).map_err(io::Error::from)?;
        Ok(Arc::new(Self {
            name: setup.name.clone(),
            pid: talk.pid(),
            pidfd,
            ram,
            paths,
            record: Record::at(setup.directory.join(format!("{}.missing", setup.name))),
            talk: Mutex::new(talk),
        }))
    }

    /// The program beside the running test program, where Cargo puts it.
    ///
    /// # Errors
    /// It has not been built.
    pub fn worker() -> Result<PathBuf, ProcessError> {
        let program = std::env::current_exe().map_err(ProcessError::Silent)?;
        let candidates = program.ancestors().skip(1).take(2);
        candidates
            .map(|directory| directory.join("punctual-process"))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| ProcessError::Start {
                program: "punctual-process".into(),
                cause: io::ErrorKind::NotFound.into(),
            })
    }

    /// Its memory.
    #[must_use]
    pub fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Takes over its paging on demand where a former holder of it has ended before its time;
    /// `None`: it depends on nobody.
    ///
    /// # Errors
    /// Pages of it are missing, and it is gone or does not wait for them.
    pub fn depends(&self) -> Result<Option<Arc<dyn Demand>>, MachineError> {
        let paged = Paged::take_over(&self.name, self.pid, &self.ram, self.record.clone())?;
        Ok(paged.map(|paged| -> Arc<dyn Demand> { Arc::new(paged) }))
    }

    /// Whether the process exists.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.talk().is_alive()
    }

    /// How often its threads have written so far, here and before it was moved.
    ///
    /// # Errors
    /// It does not answer.
    pub fn writes(&self) -> Result<u64, ProcessError> {
        let answer = self.talk().ask("writes")?;
        answer.parse().map_err(|_| ProcessError::Refused { order: "writes".to_owned(), answer })
    }

    /// Has it compare all of its memory with what it wrote. Its threads pause meanwhile.
    ///
    /// # Errors
    /// It does not answer, or it found a wrong byte, which the answer names.
    pub fn check(&self) -> Result<(), ProcessError> {
        self.talk().order("check")
    }

    /// Ends the process and removes its RAM files.
    ///
    /// # Errors
    /// A file could not be removed; everything else is gone.
    pub fn end(&self) -> io::Result<()> {
        // It may have ended before.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.talk().end();
        let removed = remove(&self.paths);
        self.record.remove().map_err(io::Error::other).and(removed)
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(
        &self,
        action: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> MachineError {
        MachineError { machine: self.name.clone(), action, cause: cause.into() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Removes files; one that is not there is not missed.
fn remove<P: AsRef<Path>>(paths: &[P]) -> io::Result<()> {
    let mut first = Ok(());
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => first = first.and(Err(error)),
            _ => {}
        }
    }
    first
}
