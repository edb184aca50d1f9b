//! The contract between a machine and the engine that moves it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{PageSet, Probability};
use thiserror::Error;

use crate::Ram;
use crate::demand::Demand;

/// Which host may run a machine after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The machine is, or can be made, running at the source.
    Source,
    /// The machine runs at the destination.
    Destination,
    /// Nobody here knows: the machine stays paused until someone who knows answers.
    Unknown,
}

/// Why a machine did not do what the engine asked of it.
#[derive(Debug, Error)]
#[error("machine `{machine}`: {action}: {cause}")]
pub struct MachineError {
    /// The machine's name.
    pub machine: String,
    /// What was being done, such as `stop` or `load device state`.
    pub action: &'static str,
    /// What went wrong, and what to do about it.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// How it became certain that no disk data is on its way into the machine's RAM unseen.
///
/// With direct I/O the kernel pins a page when the read is submitted; data that arrive after a
/// scan of the page tables make no fault. So a page once written may go on changing until the disk
/// requests that were in flight have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The machine has no disk with direct I/O.
    NoDirectIo,
    /// At some moment during the call no request was in flight.
    SeenIdle,
    /// The requests were waited for, with the machine paused for this long.
    Paused(Duration),
}

/// A machine that has been stopped, with its requests to disks ended.
pub struct Stopped {
    /// When its processors stopped, on this host's monotonic clock.
    pub at: Instant,
    /// The stream of device state; it ends when all of it has been read. It begins to flow at
    /// once, its last part after [`SourceMachine::save_device_state`]. Whoever holds it reads it
    /// without pause, on a thread of its own, since QEMU blocks when nobody reads.
    pub device_state: Box<dyn Read + Send>,
}

/// A machine at the source. It may run here until [`SourceMachine::surrender`].
///
/// Dropping a machine that is being traced ends the tracing and leaves no trace in it.
pub trait SourceMachine: Send {
    /// The machine's memory.
    fn ram(&self) -> &Arc<Ram>;

    /// Begins to trace page writes: every page written from now on is found by
    /// [`SourceMachine::collect_written`]. A machine that is traced already begins anew: what was
    /// written before is forgotten.
    ///
    /// # Errors
    /// The kernel or the machine does not allow it; nothing has changed in it then.
    fn start_tracing(&mut self) -> Result<(), MachineError>;

    /// Adds to `written` the pages written since the last call, and begins anew.
    ///
    /// # Errors
    /// The machine is gone. What was found before the error is in `written` all the same.
    fn collect_written(&mut self, written: &mut PageSet) -> Result<(), MachineError>;

    /// Does the same for `pages` alone: adds to `written` those of them that were written since
    /// they were last reported, and begins anew for what is reported. Pages around them may be
    /// reported, too; what is not reported now will be later. A page of `pages` that is read
    /// behind this call, and not reported by a later one, is known as it is.
    ///
    /// It costs little if the pages are few or lie together.
    ///
    /// # Errors
    /// As [`SourceMachine::collect_written`].
    fn collect_written_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), MachineError>;

    /// Returns once every disk request that was in flight at the call has ended, so that pages
    /// found written before the call, and copied after it, can no longer change unseen.
    ///
    /// # Errors
    /// The machine does not answer.
    fn settle(&mut self) -> Result<Settled, MachineError>;

    /// Leaves each processor of the guest this share of the time of one of the host's, or a little
    /// more where so little cannot be dealt out; returns the share as it is. 1 undoes it, and so
    /// does everything that ends the attempt: [`SourceMachine::resume`],
    /// [`SourceMachine::surrender`], dropping the machine. [`SourceMachine::stop`] lifts it, too,
    /// once the guest has been told to stop: a slow one would take long to hear of it.
    ///
    /// # Errors
    /// It cannot be slowed down here; it runs as before.
    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError>;

    /// Makes ready what does not need the guest stopped, so that [`SourceMachine::stop`] is short.
    ///
    /// # Errors
    /// The machine does not answer or cannot be handed over; it runs on.
    fn prepare_stop(&mut self) -> Result<(), MachineError>;

    /// Stops the guest. Its disks are quiet when this returns.
    ///
    /// # Errors
    /// It did not stop in time; [`SourceMachine::resume`] makes sure that it runs.
    fn stop(&mut self) -> Result<Stopped, MachineError>;

    /// Lets the rest of the device state flow. It may be called while the last pages are still
    /// being sent; pages that saving the state wrote are found by one more
    /// [`SourceMachine::collect_written`] after the end of the stream.
    ///
    /// # Errors
    /// The machine does not answer.
    fn save_device_state(&mut self) -> Result<(), MachineError>;

    /// Makes the guest run on here, from any state: running, stopped, or with its state saved.
    /// Also takes back what [`SourceMachine::prepare_stop`] did, and has the network relearn where
    /// the guest is.
    ///
    /// # Errors
    /// The machine is gone.
    fn resume(&mut self) -> Result<(), MachineError>;

    /// Gives up the right to run the machine. What is returned can no longer run it.
    fn surrender(self: Box<Self>) -> Box<dyn Surrendered>;
}

/// What is left at the source of a machine that now runs elsewhere.
pub trait Surrendered: Send {
    /// The memory as it was when the machine stopped.
    fn ram(&self) -> &Arc<Ram>;

    /// Ends the process and removes what the machine had on this host: RAM files, sockets, taps.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    fn remove(self: Box<Self>) -> Result<(), MachineError>;
}

/// A machine at the destination: its process waits for device state and has never run.
///
/// Dropping it discards it, unless [`DestinationMachine::resume`] has been called: from then on the
/// machine belongs to this host, and only [`DestinationMachine::discard`] ends it.
pub trait DestinationMachine: Send {
    /// The machine's memory, all zero at first.
    fn ram(&self) -> &Arc<Ram>;

    /// Takes away what the memory has of `pages`, which are out of date: they will be among those of
    /// [`DestinationMachine::page_on_demand`], which has the less to do. Nobody writes them by
    /// [`Ram`] any more. May be called often; takes some 2 to 5 µs for each run of pages.
    ///
    /// # Errors
    /// They cannot be taken away.
    fn forget(&mut self, pages: &PageSet) -> Result<(), MachineError>;

    /// Lets the machine do without `missing` for now: who touches one of these pages waits until it
    /// is filled. What the memory has of them, which is out of date, is taken away. All others must
    /// be in place.
    ///
    /// Called at most once, before [`DestinationMachine::device_state`]. From then on loading the
    /// device state, resuming, and whatever is asked of the machine, may wait for a page: somebody
    /// has to answer faults all the time. Nobody may write the missing pages by [`Ram`].
    ///
    /// What is missing is written down among what the machine has on this host, so that the next
    /// daemon can go on. Discarding the machine kills its process, which also ends who waits.
    ///
    /// # Errors
    /// The machine cannot be paged on demand. Pages may have been taken away: discard it.
    fn page_on_demand(&mut self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError>;

    /// Where the device state goes. Called once, when every page is in place or paged on demand,
    /// since devices read the RAM while they load.
    ///
    /// # Errors
    /// The machine is gone.
    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError>;

    /// Waits until all device state has been loaded, after its end has been written and the
    /// writer dropped. The machine is still paused then.
    ///
    /// # Errors
    /// The state was not accepted, or not in time.
    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError>;

    /// Lets the guest run, and has the network learn where it is.
    ///
    /// # Errors
    /// The machine did not start to run.
    fn resume(&mut self) -> Result<Instant, MachineError>;

    /// Ends the process and removes what it had on this host.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    fn discard(self: Box<Self>) -> Result<(), MachineError>;
}
