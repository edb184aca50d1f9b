//! What the daemon asks of whatever runs machines on its host.

mod qemu;

use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use punctual_guest::demand::Demand;
use punctual_guest::qemu::native;
use punctual_guest::{DestinationMachine, MachineError, SourceMachine, Surrendered};
use punctual_units::{Bytes, MemoryLayout};
use punctual_wire::{MigrationId, Offer, Refusal};

use crate::api::{MachineState, Problem, RamFile};

pub use qemu::QemuHypervisor;

pub use crate::native::choice::Choice;

/// What a hypervisor needs to find a machine again, also after the daemon was restarted. Only the
/// hypervisor knows its shape.
pub type Handle = serde_json::Value;

/// What never changes of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its process.
    pub pid: u32,
    /// Its RAM; zero where it is not known.
    pub memory: Bytes,
}

/// All that can be told of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// How its process was started.
    pub command_line: Vec<String>,
    /// Its QMP socket, if it has one.
    pub qmp: Option<PathBuf>,
    /// The files that hold its RAM.
    pub ram: Vec<RamFile>,
    /// What would move it where nobody says.
    pub choice: Choice,
    /// What is in the way of a migration by that.
    pub obstacles: Vec<Refusal>,
}

/// A machine about to leave.
pub struct Departure {
    /// The machine.
    pub machine: Box<dyn SourceMachine>,
    /// What the destination needs to make its like, in JSON.
    pub description: Vec<u8>,
    /// Its virtual processors.
    pub processors: NonZeroU32,
    /// Whether one of its disks is open with direct I/O.
    pub direct_io: bool,
}

/// A disk that is a file or device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the machine may write it.
    pub writable: bool,
}

/// What a machine shares with the world outside its memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    /// Its disks on this host, those that others lie upon too.
    pub disks: Vec<Disk>,
    /// How many of its network cards are connected to a network.
    pub links: usize,
}

/// Whether a machine begins to run with its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As it was.
    AsTheyWere,
    /// As if the cables of all its network cards were pulled.
    Down,
}

/// A machine about to leave by its own hypervisor.
#[derive(Debug)]
pub struct OwnDeparture {
    /// The machine.
    pub machine: native::Source,
    /// What the destination needs to make its like, in JSON.
    pub description: Vec<u8>,
    /// Its memory.
    pub layout: MemoryLayout,
}

/// A machine about to come in: its process waits for RAM and device state.
pub struct Arrival {
    /// The machine.
    pub machine: Box<dyn DestinationMachine>,
    /// What finds it again, should this daemon end before it runs.
    pub handle: Handle,
}

/// Starts the process of a machine; nothing is left of it on an error.
pub type StartArrival = Box<dyn FnOnce() -> Result<Arrival, MachineError> + Send>;

/// A machine about to change its process on this host, and to keep its memory where it is.
pub struct Succession {
    /// The machine, leaving its process.
    pub departure: Departure,
    /// The command line of the other process.
    pub command_line: Vec<String>,
    /// What finds the other process, or what there is of it, from before it is started.
    pub handle: Handle,
    /// Starts it, in the same memory: neither loses it when the other is removed.
    pub start: StartArrival,
}

/// Runs machines. The daemon knows their kind only by this.
///
/// All of it may block for as long as a machine's process takes to answer, and no longer.
pub trait Hypervisor: Send + Sync {
    /// The name in a specification.
    ///
    /// # Errors
    /// The specification is malformed.
    fn name_of(&self, spec: &str) -> Result<String, Problem>;

    /// Starts a machine; relative paths in `spec` start from `directory`. It runs on when the
    /// daemon ends.
    ///
    /// # Errors
    /// It cannot be started; nothing is left of it.
    fn run(&self, spec: &str, directory: &Path) -> Result<Handle, Problem>;

    /// Adopts a machine that something else started.
    ///
    /// # Errors
    /// There is none, or it cannot be reached.
    fn attach(&self, name: &str, qmp: &Path) -> Result<Handle, Problem>;

    /// What never changes of a machine. Asks nobody.
    fn identity(&self, handle: &Handle) -> Identity;

    /// How a machine is that is at home here and not on its way.
    fn state(&self, handle: &Handle) -> MachineState;

    /// Whether a machine's process has ended, so that it never runs again. Asks nobody: a machine
    /// that waits for a page does not answer.
    fn is_gone(&self, handle: &Handle) -> bool;

    /// All that can be told of a machine.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn examine(&self, handle: &Handle) -> Result<Examination, Problem>;

    /// Makes a machine ready to leave; it runs on, untouched.
    ///
    /// # Errors
    /// What is in the way.
    fn depart(&self, name: &str, handle: &Handle) -> Result<Departure, Vec<Refusal>>;

    /// What would move a machine where nobody says.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn choice(&self, _handle: &Handle) -> Result<Choice, Problem> {
        Ok(Choice::default())
    }

    /// As [`Hypervisor::depart`], for a machine that its own hypervisor moves.
    ///
    /// # Errors
    /// What is in the way.
    fn depart_by_itself(&self, name: &str, _handle: &Handle) -> Result<OwnDeparture, Vec<Refusal>> {
        Err(vec![Refusal {
            code: "no-engine-of-its-own".to_owned(),
            reason: format!("machine `{name}` cannot be moved by its own hypervisor"),
            remedy: "migrate with --engine external".to_owned(),
        }])
    }

    /// Where the stream goes, and comes from, by which the hypervisor of a machine that is arriving
    /// by this attempt speaks with its like; once.
    fn take_stream(&self, _migration: MigrationId) -> Option<UnixStream> {
        None
    }

    /// Makes a machine ready to be started anew at another host: it is stopped by being shut down,
    /// which its guest may take `patience` for. With `insist` one that takes longer is cut off; without,
    /// it runs on. Until then it runs untouched.
    ///
    /// # Errors
    /// What is in the way.
    fn shut_down(
        &self,
        name: &str,
        _handle: &Handle,
        _patience: Duration,
        _insist: bool,
    ) -> Result<Departure, Vec<Refusal>> {
        Err(vec![Refusal {
            code: "no-restart".to_owned(),
            reason: format!("machine `{name}` is of a kind that cannot be shut down"),
            remedy: "move it in another mode".to_owned(),
        }])
    }

    /// Whether this host could take the machine that is offered, and with which command line.
    /// Starts nothing.
    ///
    /// # Errors
    /// What is in the way.
    fn consider(&self, offer: &Offer) -> Result<Vec<String>, Vec<Refusal>>;

    /// Starts the process of a machine that was considered.
    ///
    /// # Errors
    /// It could not be started; nothing is left of it.
    fn receive(&self, offer: &Offer) -> Result<Arrival, MachineError>;

    /// Takes over the paging on demand of a machine that runs here, or is to, while pages of it are
    /// elsewhere, where a daemon that was killed has left it; `None`: it depends on nobody.
    ///
    /// It does not ask the machine, which may be waiting for a page. Nobody else may hold its
    /// paging.
    ///
    /// # Errors
    /// Pages of it are missing, and it is gone or does not wait for them.
    fn depends(&self, name: &str, handle: &Handle) -> Result<Option<Arc<dyn Demand>>, Problem>;

    /// A hold on what is left of a machine that was committed away and whose pages are still to be
    /// served, where a daemon that was killed has left it; `None`: its memory and its process are gone,
    /// as by one that was killed while it removed them. It cannot run the machine.
    ///
    /// # Errors
    /// Its memory cannot be opened, or it runs.
    fn remains(&self, name: &str, handle: &Handle)
    -> Result<Option<Box<dyn Surrendered>>, Problem>;

    /// Makes a machine ready to change its process on this host: to what `program` is, or to the
    /// program that it runs. Starts nothing; it runs on, untouched.
    ///
    /// # Errors
    /// What is in the way.
    fn succeed(
        &self,
        name: &str,
        handle: &Handle,
        program: Option<&Path>,
    ) -> Result<Succession, Vec<Refusal>>;

    /// What the machine of a description, from [`Departure`], shares with the world.
    ///
    /// # Errors
    /// The description is not understood.
    fn ties(&self, description: &[u8]) -> Result<Ties, Problem>;

    /// The same description for a machine of another name.
    ///
    /// # Errors
    /// The description is not understood.
    fn renamed(&self, description: &[u8], name: &str) -> Result<Vec<u8>, Problem>;

    /// As [`Hypervisor::receive`], for a machine that comes from a file.
    ///
    /// # Errors
    /// It could not be started; nothing is left of it.
    fn restore(&self, offer: &Offer, links: Links) -> Result<Arrival, MachineError>;

    /// Makes a machine run that an attempt left paused, in whatever state: one that was to leave,
    /// or one that has arrived. One that runs is left alone.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn recover(&self, handle: &Handle) -> Result<(), Problem>;

    /// What finds a machine that came in by `handle` and runs now.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn arrived(&self, handle: &Handle) -> Result<Handle, Problem> {
        Ok(handle.clone())
    }

    /// Ends a machine, or what is left of it, and removes all that it has: process, RAM, sockets,
    /// taps.
    /// Memory that it shares with another process is that one's then.
    ///
    /// Without a handle, whatever bears its name in this host's directories. Nothing left is no
    /// error.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    fn discard(&self, name: &str, handle: Option<&Handle>) -> Result<(), Problem>;
}
