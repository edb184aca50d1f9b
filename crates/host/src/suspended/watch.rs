//! Where saving or restoring stands, told while it goes on.

use std::time::{Duration, Instant};

use punctual_engine::Cancel;
use punctual_units::Bytes;

use crate::api::{SnapshotEvent, SnapshotPhase, SnapshotProgress};
use crate::listener::Teller;

/// Tells whoever asked where it stands, and knows whether it is to go on.
pub(super) struct Watch<'a> {
    teller: &'a Teller<SnapshotEvent>,
    cancel: &'a Cancel,
    machine: String,
    began: Instant,
    phase: Phase,
    told: Instant,
}

/// Between two words on one phase.
const PAUSE: Duration = Duration::from_millis(50);

struct Phase {
    name: SnapshotPhase,
    began: Instant,
    done: Bytes,
    total: Bytes,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(
        teller: &'a Teller<SnapshotEvent>,
        cancel: &'a Cancel,
        machine: &str,
    ) -> Self {
        let began = Instant::now();
        let none = Bytes::ZERO;
        let phase = Phase { name: SnapshotPhase::Copying, began, done: none, total: none };
        Self { teller, cancel, machine: machine.to_owned(), began, phase, told: began }
    }

    /// What follows is done with another machine.
    pub(super) fn turn_to(&mut self, machine: &str) {
        machine.clone_into(&mut self.machine);
    }

    /// What tells that it is not to go on.
    pub(super) fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Another phase begins, with so much to be done.
    pub(super) fn enter(&mut self, name: SnapshotPhase, total: Bytes) {
        self.phase = Phase { name, began: Instant::now(), done: Bytes::ZERO, total };
        self.tell();
    }

    /// There is more to be done than was known.
    pub(super) fn more(&mut self, bytes: Bytes) {
        self.phase.total += bytes;
    }

    /// So much more is done.
    pub(super) fn did(&mut self, bytes: Bytes) {
        self.phase.done += bytes;
        if self.told.elapsed() >= PAUSE {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        let Phase { name, began, done, total } = self.phase;
        let left = total.saturating_sub(done);
        let rate = done.per(began.elapsed()).filter(|rate| rate.get() > 0);
        self.teller.tell(SnapshotEvent::Progress(SnapshotProgress {
            machine: self.machine.clone(),
            phase: name,
            elapsed: self.began.elapsed(),
            done,
            total,
            ends_in: rate.map(|rate| rate.time_for(left)),
        }));
    }
}
