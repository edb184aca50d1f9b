//! A machine's memory and device state out of a file, into a process that waits for them.

use std::fs::File;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::time::Duration;

use punctual_engine::PagesInto;
use punctual_guest::{DestinationMachine, MachineError, Ram, RamIoError};
use punctual_snapshot::{Content, Reader, SnapshotError};
use punctual_units::Bytes;
use punctual_wire::pages::{DecodeError, Decoder};
use thiserror::Error;

use super::watch::Watch;
use crate::api::SnapshotPhase;

/// How long a machine may take to load its device state.
const LOADING: Duration = Duration::from_secs(30);

/// A snapshot that is read.
pub(super) type Snapshot = Reader<BufReader<File>>;

/// Why a machine was not restored. It has not run.
#[derive(Debug, Error)]
pub(super) enum RestoreError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Ram(#[from] RamIoError),
    #[error(transparent)]
    File(#[from] SnapshotError),
    #[error("the snapshot is damaged: {0}; copy it again from where it is whole")]
    Pages(String),
    #[error(
        "the memory that the snapshot makes has the digest {found:032x}, the machine's had \
         {stated:032x}: it would not go on as it was, and is not run; use another snapshot of it"
    )]
    OtherMemory { found: u128, stated: u128 },
    #[error("its device state was not taken: {0}")]
    State(std::io::Error),
    #[error("it was not to go on")]
    Cancelled,
}

/// Fills the memory of a machine that waits, checks it, and loads the device state. The machine is
/// as it was then, and paused.
pub(super) fn load(
    snapshot: &mut Snapshot,
    machine: &mut dyn DestinationMachine,
    watch: &mut Watch<'_>,
) -> Result<(), RestoreError> {
    let ram = Arc::clone(machine.ram());
    watch.enter(SnapshotPhase::Loading, snapshot.length());
    let state = fill(snapshot, &ram, watch)?;
    watch.enter(SnapshotPhase::Checking, Bytes::ZERO);
    let (found, stated) = (ram.digest()?.get(), snapshot.ending().digest);
    if found != stated {
        return Err(RestoreError::OtherMemory { found, stated });
    }
    if watch.is_cancelled() {
        return Err(RestoreError::Cancelled);
    }
    let mut stream = machine.device_state()?;
    let written = stream.write_all(&state).and_then(|()| stream.flush());
    drop(stream);
    // Where it was refused, the machine knows why better than the stream.
    machine.wait_loaded(LOADING)?;
    written.map_err(RestoreError::State)
}

/// Puts the pages in place; returns the device state.
fn fill(
    snapshot: &mut Snapshot,
    ram: &Ram,
    watch: &mut Watch<'_>,
) -> Result<Vec<u8>, RestoreError> {
    let mut decoder = Decoder::new(ram.layout().clone());
    let mut state = Vec::new();
    loop {
        let before = snapshot.position();
        match snapshot.read_next()? {
            Some(Content::Pages(payload)) => {
                decoder.decode(payload, &mut PagesInto(ram)).map_err(|error| match error {
                    DecodeError::Malformed(malformed) => RestoreError::Pages(malformed.to_string()),
                    DecodeError::Sink(error) => RestoreError::Ram(error),
                })?
            }
            Some(Content::DeviceState(piece)) => state.extend_from_slice(piece),
            None => return Ok(state),
        }
        if watch.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        watch.did(snapshot.position() - before);
    }
}
