//! A guest under the eyes of the client: whether it goes on, whole, once, and within reach.

use std::time::{Duration, Instant};

use punctual_guest_protocol::Workload;
use punctual_guest_protocol::control::Status;

use super::{Guest, Scene, SceneError};
use crate::client::{Control, ControlError, Kind, StreamReader};

/// A guest that must not be silent for longer, its moves and what TCP waits behind them included.
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest, its beacon, and two TCP connections to it that must outlive each move: a stream, and
/// one for questions.
#[derive(Debug)]
pub struct Witness {
    guest: Guest,
    stream: StreamReader,
    control: Control,
}

impl Witness {
    /// Connects to a guest; blocks until its memory is filled.
    ///
    /// # Errors
    /// It does not answer.
    pub fn new(scene: &Scene, guest: Guest) -> Result<Self, SceneError> {
        // Opens when the guest's memory is filled.
        let control = scene.control(&guest).map_err(std::io::Error::other)?;
        let stream = scene.stream(&guest)?;
        Ok(Self { guest, stream, control })
    }

    /// Has the guest do something else.
    ///
    /// # Errors
    /// It does not answer.
    pub fn set(&mut self, workload: Workload, rate: u64) -> Result<(), ControlError> {
        self.control.workload(workload, Some(rate), None)
    }

    /// How things stand in the guest.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&mut self) -> Result<Status, ControlError> {
        self.control.status()
    }

    /// What is not well, in words; nothing if the guest goes on, all of its memory is as it should
    /// be, and its client has noticed nothing but pauses. Blocks while the guest compares its
    /// memory, and for up to 30 s where it is silent.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut complaints = self.of_memory().unwrap_or_else(|error| vec![error.to_string()]);
        complaints.extend(self.of_beacon());
        complaints.extend(self.of_stream());
        complaints
    }

    /// The longest time since `from` in which the client heard nothing of the guest.
    #[must_use]
    pub fn longest_silence(&self, from: Instant) -> Option<Duration> {
        let window = from..Instant::now();
        let reception = self.guest.beacon.arrivals(|arrivals| arrivals.reception(window));
        reception.map(|seen| seen.largest.length())
    }

    fn of_memory(&mut self) -> Result<Vec<String>, ControlError> {
        let mut complaints = vec![];
        let check = self.control.check()?;
        if !check.ok {
            complaints.push(format!("its memory is not as it should be: {check:?}"));
        }
        let status = self.control.status()?;
        if status.check_failures != 0 || status.first_failure.is_some() {
            complaints.push(format!("it has found wrong bytes: {status:?}"));
        }
        if status.stream_clients != 1 {
            complaints.push(format!("{} clients have its stream, not 1", status.stream_clients));
        }
        Ok(complaints)
    }

    fn of_beacon(&self) -> Vec<String> {
        let mut complaints = vec![];
        if !self.guest.beacon.wait(PATIENCE) {
            complaints.push("it has fallen silent".to_owned());
        }
        let signs = self.guest.beacon.signs();
        if signs.restarted.is_some() {
            complaints.push("it was started anew".to_owned());
        }
        if (signs.check_failures, signs.foreign, &signs.failed) != (0, 0, &None) {
            complaints.push(format!("its beacon: {signs:?}"));
        }
        let twice = self.guest.beacon.arrivals(|arrivals| {
            arrivals.iter().filter(|arrival| arrival.kind == Kind::Duplicate).count()
        });
        if twice != 0 {
            complaints.push(format!("{twice} beacons came twice: it ran twice"));
        }
        complaints
    }

    fn of_stream(&self) -> Option<String> {
        let now = Instant::now();
        let newer = || {
            self.stream.arrivals(|arrivals| arrivals.newest().is_some_and(|frame| frame.at > now))
        };
        while now.elapsed() < PATIENCE {
            if let Some(end) = self.stream.end() {
                return Some(format!("the client's connection broke: {end:?}"));
            }
            if newer() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some("the client's connection stands still".to_owned())
    }
}
