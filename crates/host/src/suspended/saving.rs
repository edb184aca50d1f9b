//! A machine's memory and device state into a file, most of it while the machine runs.
//!
//! ```text
//!  trace ─► settle ─► copy all ─► look, settle, copy what was written ─► … ─► stop ─► the rest ─► digest
//!                                 └── again, as long as each time there is much less
//! ```
//! What is copied later replaces what was copied before. A page that was found written is copied
//! only after the disk requests that were under way then have ended (direct I/O writes unseen).

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use punctual_guest::{MachineError, Ram, RamDigest, RamIoError, SourceMachine};
use punctual_snapshot::Writer;
use punctual_units::{Bytes, PageSet, Pages};
use punctual_wire::pages::Encoder;
use thiserror::Error;

use super::watch::Watch;
use crate::api::SnapshotPhase;

/// At most so many passes over what was written, and none for fewer pages than that.
const MOST_PASSES: usize = 12;
const FEW: Pages = Pages::new(512);
/// What fingerprints may take, so that of a page written again only the changes are copied.
const FINGERPRINTS: Bytes = Bytes::mib(16);
/// More device state than any machine has.
const MOST_STATE: u64 = 64 << 20;

/// Why a machine was not saved. It may stand: whoever called lets it run on.
#[derive(Debug, Error)]
pub(super) enum SaveError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Ram(#[from] RamIoError),
    #[error("{0}")]
    File(#[source] io::Error),
    #[error("its device state cannot be read: {0}")]
    State(String),
    #[error("it was not to go on")]
    Cancelled,
}

/// A machine that stands, with all of it in the file but the ending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stood {
    /// Since when.
    pub(super) since: Instant,
    /// Its memory, read once more.
    pub(super) digest: RamDigest,
    /// How much of that held anything.
    pub(super) populated: Bytes,
    /// How long its device state is.
    pub(super) device_state: Bytes,
}

/// Saves a machine, which runs until little is left and stands when this returns.
///
/// Blocks for as long as the disk takes. In the time that the machine stands, its memory is read
/// for the digest (some 0.1 s for a GiB).
pub(super) fn save(
    machine: &mut dyn SourceMachine,
    writer: &mut Writer<File>,
    watch: &mut Watch<'_>,
) -> Result<Stood, SaveError> {
    let ram = Arc::clone(machine.ram());
    machine.start_tracing()?;
    machine.settle()?;
    let mut copier = Copier::new(&ram, writer, watch);
    copier.first_pass()?;
    copier.passes(machine)?;
    // What is written now need not be waited for when the machine stands.
    copier.writer.file().sync_data().map_err(SaveError::File)?;
    machine.prepare_stop()?;
    copier.last_pass(machine)
}

struct Copier<'a, 'w> {
    ram: &'a Ram,
    encoder: Encoder,
    writer: &'a mut Writer<File>,
    watch: &'a mut Watch<'w>,
    /// What the file has.
    copied: PageSet,
}

impl<'a, 'w> Copier<'a, 'w> {
    fn new(ram: &'a Ram, writer: &'a mut Writer<File>, watch: &'a mut Watch<'w>) -> Self {
        let layout = ram.layout().clone();
        let copied = PageSet::empty(layout.pages());
        let encoder = Encoder::new(layout, rand::random(), FINGERPRINTS);
        Self { ram, encoder, writer, watch, copied }
    }

    fn first_pass(&mut self) -> Result<(), SaveError> {
        let populated = self.ram.populated()?;
        self.watch.enter(SnapshotPhase::Copying, populated.len().bytes());
        self.copy(&populated)
    }

    /// Copies what was written meanwhile, as long as that is worth it.
    fn passes(&mut self, machine: &mut dyn SourceMachine) -> Result<(), SaveError> {
        let mut before = Pages::new(u64::MAX);
        let mut written = PageSet::empty(self.copied.capacity());
        for _ in 0..MOST_PASSES {
            written.clear();
            machine.collect_written(&mut written)?;
            machine.settle()?;
            self.watch.more(written.len().bytes());
            self.copy(&written)?;
            // Else the machine writes about as fast as the disk takes it.
            let shrinks = written.len().get() <= before.get() / 10 * 7;
            if written.len() <= FEW || !shrinks {
                break;
            }
            before = written.len();
        }
        Ok(())
    }

    /// Stops the machine, whose disks are quiet then, and copies all that is left.
    fn last_pass(&mut self, machine: &mut dyn SourceMachine) -> Result<Stood, SaveError> {
        if self.watch.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        let stopped = machine.stop()?;
        let since = stopped.at;
        let state = read_beside(stopped.device_state)?;
        let mut written = PageSet::empty(self.copied.capacity());
        machine.collect_written(&mut written)?;
        self.watch.enter(SnapshotPhase::Finishing, written.len().bytes());
        self.copy(&written)?;
        machine.save_device_state()?;
        let state = state.join().map_err(|_| SaveError::State("its reader ended".to_owned()))?;
        let state = state.map_err(|error| SaveError::State(error.to_string()))?;
        // To save devices writes memory, too.
        written.clear();
        machine.collect_written(&mut written)?;
        let populated = self.ram.populated()?;
        // What the guest gave back is a hole by now, which no tracer has seen.
        let mut vanished = self.copied.clone();
        vanished.subtract(&populated);
        written.union(&vanished);
        self.copy(&written)?;
        let digest = self.ram.digest()?;
        self.writer.device_state(&state).map_err(SaveError::File)?;
        let device_state = Bytes::new(state.len() as u64);
        Ok(Stood { since, digest, populated: populated.len().bytes(), device_state })
    }

    fn copy(&mut self, pages: &PageSet) -> Result<(), SaveError> {
        let Self { ram, encoder, writer, watch, copied } = self;
        let cancel = watch.cancel();
        encoder.encode(
            pages.ranges(),
            |pages, copies| {
                watch.did(pages.len().bytes());
                ram.read(pages, copies).map_err(SaveError::Ram)
            },
            |payload| {
                if cancel.is_cancelled() {
                    return Err(SaveError::Cancelled);
                }
                writer.pages(payload).map_err(SaveError::File)
            },
        )?;
        copied.union(pages);
        Ok(())
    }
}

/// Reads a stream to its end on a thread of its own, since QEMU waits where nobody reads.
fn read_beside(
    stream: Box<dyn Read + Send>,
) -> Result<thread::JoinHandle<io::Result<Vec<u8>>>, SaveError> {
    let read = move || {
        let mut state = Vec::new();
        stream.take(MOST_STATE + 1).read_to_end(&mut state)?;
        if state.len() as u64 > MOST_STATE {
            return Err(io::Error::other(format!(
                "it is longer than {}; remove devices with memory of their own, such as graphics \
                 cards",
                Bytes::new(MOST_STATE)
            )));
        }
        Ok(state)
    };
    let thread = thread::Builder::new().name("device-state".to_owned()).spawn(read);
    thread.map_err(|error| SaveError::State(error.to_string()))
}
