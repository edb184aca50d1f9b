//! The guests: one for each workload, of which only the one whose turn it is runs.
//!
//! The others are frozen by a signal, so that the two processors of a small machine serve one move
//! at a time. To a guest that is thawed, time has made a leap; what it did not do meanwhile it does
//! not make up for.

use std::thread;
use std::time::{Duration, Instant};

use punctual_images::Qemu;
use punctual_units::Bytes;
use rustix::process::Signal;

use super::{Occupation, PredictError};
use crate::client::Window;
use crate::process::ProcessId;
use crate::scene::{Guest, GuestSpec, Scene};

/// RAM of each guest, of which some 120 MiB hold anything.
const MEMORY: Bytes = Bytes::mib(256);
/// How long a guest may take to be heard again.
const THAW: Duration = Duration::from_secs(30);
/// How long a guest that was thawed does its work before anything is measured.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it is then watched undisturbed.
const BASELINE: Duration = Duration::from_secs(1);

/// One guest, and where it is.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) occupation: Occupation,
    pub(super) guest: Guest,
    /// The host it runs on, and the one it goes to next.
    pub(super) way: [&'static str; 2],
    process: ProcessId,
}

impl Player {
    /// Boots a guest on host `a`, waits until its memory is filled, and freezes it.
    pub(super) fn start(
        scene: &Scene,
        qemu: &Qemu,
        index: usize,
        occupation: Occupation,
    ) -> Result<Self, PredictError> {
        let mut spec = GuestSpec::new(occupation.name(), qemu.clone(), occupation.options());
        (spec.index, spec.memory) = (index, MEMORY);
        // Boots faster than the default.
        spec.more.insert("cpu".to_owned(), "qemu64".into());
        let guest = scene.start_guest("a", &spec)?;
        scene.control(&guest)?.status()?;
        let process = process_of(scene, "a", &guest.name)?;
        let player = Self { occupation, guest, way: ["a", "b"], process };
        player.freeze()?;
        Ok(player)
    }

    /// Stops the guest's process where it is.
    pub(super) fn freeze(&self) -> Result<(), PredictError> {
        self.send(Signal::STOP)
    }

    /// Lets it go on, and watches it for a second when it has come to itself. Returns the longest
    /// silence in that second.
    pub(super) fn thaw(&self) -> Result<Duration, PredictError> {
        self.send(Signal::CONT)?;
        if !self.guest.beacon.wait(THAW) {
            return Err(PredictError::Silent { guest: self.guest.name.clone() });
        }
        thread::sleep(SETTLE);
        let begun = Instant::now();
        thread::sleep(BASELINE);
        Ok(self.longest_silence(begun..Instant::now()).unwrap_or_default())
    }

    /// Notes that the guest has come to the other host.
    pub(super) fn arrived(&mut self, scene: &Scene) -> Result<(), PredictError> {
        self.way.reverse();
        self.process = process_of(scene, self.way[0], &self.guest.name)?;
        Ok(())
    }

    pub(super) fn longest_silence(&self, window: Window) -> Option<Duration> {
        let reception = self.guest.beacon.arrivals(|arrivals| arrivals.reception(window))?;
        Some(reception.largest.length())
    }

    /// Has the guest compare every byte of its memory with what it ought to be.
    pub(super) fn check(&self, scene: &Scene) -> Result<(), PredictError> {
        let guest = self.guest.name.clone();
        if self.guest.beacon.signs().restarted.is_some() {
            return Err(PredictError::Restarted { guest });
        }
        match scene.control(&self.guest)?.check()?.wrong {
            None => Ok(()),
            Some(wrong) => Err(PredictError::WrongByte { guest, found: wrong.to_string() }),
        }
    }

    fn send(&self, signal: Signal) -> Result<(), PredictError> {
        let guest = || self.guest.name.clone();
        let failed = |source| PredictError::Signal { guest: guest(), source };
        match self.process.send(signal).map_err(failed)? {
            true => Ok(()),
            false => Err(PredictError::Gone { guest: guest() }),
        }
    }
}

fn process_of(scene: &Scene, host: &str, guest: &str) -> Result<ProcessId, PredictError> {
    let pid = scene.machine(host, guest)?.summary.pid;
    ProcessId::of(pid).ok_or_else(|| PredictError::Gone { guest: guest.to_owned() })
}
