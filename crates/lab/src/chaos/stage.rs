//! Who is who on a move, and what faults are made with.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use punctual_simulation::Side;
use rustix::process::Signal;

use super::ChaosError;
use super::disguise::Disguise;
use super::proxy::Proxy;
use crate::process::{Process, ProcessId, end_all};
use crate::scene::{Scene, SceneError, start_daemon};
use crate::{Lab, LabHost};

/// A machine that is being started at the destination has a process by then.
const STARTED: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Who is who on a move, and what faults are made with.
pub(super) struct Stage<'a> {
    pub(super) scene: &'a Scene,
    pub(super) disguise: &'a Disguise,
    pub(super) proxy: &'a Proxy,
    pub(super) machine: &'a str,
    pub(super) source: &'a str,
    pub(super) destination: &'a str,
}

/// What ends a fault that passes, on a thread of its own.
pub(super) struct Passing {
    lab: Lab,
    program: PathBuf,
    source: (String, ProcessId),
    destination: (String, ProcessId),
}

impl Stage<'_> {
    pub(super) fn host(&self, side: Side) -> &str {
        match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        }
    }

    pub(super) fn passing(&self) -> Result<Passing, ChaosError> {
        let daemon = |host: &str| (host.to_owned(), self.scene.daemon(host).record().id);
        Ok(Passing {
            lab: Lab::open(&self.scene.lab().state().name)?,
            program: self.scene.program().to_owned(),
            source: daemon(self.source),
            destination: daemon(self.destination),
        })
    }

    pub(super) fn signal(&self, side: Side, signal: Signal) -> Result<(), ChaosError> {
        self.scene.daemon(self.host(side)).record().id.send(signal)?;
        Ok(())
    }

    pub(super) fn set_disk(&self, side: Side, full: bool) -> Result<(), ChaosError> {
        Ok(self.disguise.set_disk(self.place(side)?, full)?)
    }

    pub(super) fn set_clocks(&self, ahead: bool, by: Duration) -> Result<(), ChaosError> {
        for host in self.scene.lab().hosts() {
            self.disguise.set_clock(host, ahead, by)?;
        }
        Ok(())
    }

    /// Kills the machine's process on the side that does not own the machine; whether there was
    /// one, and it did not.
    pub(super) fn kill_machine(&self, side: Side) -> Result<bool, ChaosError> {
        let process = match side {
            Side::Source => self.process(side)?,
            Side::Destination => self.awaited_process(side)?,
        };
        // Nothing is committed while the source stands still.
        self.signal(Side::Source, Signal::STOP)?;
        let killed = self.is_committed().and_then(|committed| match (committed, side) {
            (true, Side::Source) | (false, Side::Destination) => self.end(process),
            _ => Ok(false),
        });
        self.signal(Side::Source, Signal::CONT)?;
        killed
    }

    fn end(&self, process: Option<ProcessId>) -> Result<bool, ChaosError> {
        Ok(!end_all(process.as_slice(), Duration::ZERO)?.is_empty())
    }

    /// The machine's process on one side, once there is one.
    fn awaited_process(&self, side: Side) -> Result<Option<ProcessId>, ChaosError> {
        let deadline = Instant::now() + STARTED;
        loop {
            match self.process(side)? {
                None if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                process => return Ok(process),
            }
        }
    }

    fn process(&self, side: Side) -> Result<Option<ProcessId>, ChaosError> {
        let machines = self.place(side)?.run_dir.join("daemon/machines");
        let pid = fs::read_to_string(machines.join(self.machine).join("pid"));
        Ok(pid.ok().and_then(|text| text.trim().parse().ok()).and_then(ProcessId::of))
    }

    /// Whether the log of the source says that the machine has gone by its newest attempt. It is
    /// read as text, since a log is opened by its daemon alone.
    fn is_committed(&self) -> Result<bool, ChaosError> {
        let journal = fs::read(self.place(Side::Source)?.run_dir.join("state/journal"))?;
        let last = |record: &str| {
            journal.windows(record.len()).rposition(|bytes| bytes == record.as_bytes())
        };
        Ok(last(r#"{"committed":"#) > last(r#"{"offered":"#))
    }

    fn place(&self, side: Side) -> Result<&LabHost, ChaosError> {
        Ok(self.scene.lab().host(self.host(side))?)
    }
}

impl Passing {
    pub(super) fn clear(&self, side: Side) -> Result<(), ChaosError> {
        Ok(self.lab.clear(&self.of(side).0)?)
    }

    pub(super) fn let_go_on(&self, side: Side) -> Result<(), ChaosError> {
        self.of(side).1.send(Signal::CONT)?;
        Ok(())
    }

    pub(super) fn start(&self, side: Side) -> Result<Process, ChaosError> {
        Ok(start_daemon(&self.lab, &self.of(side).0, &self.program).map_err(SceneError::from)?)
    }

    fn of(&self, side: Side) -> &(String, ProcessId) {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}
