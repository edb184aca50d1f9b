//! How faults are made in a lab, and mended.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use punctual_engine::Phase;
use rustix::process::Signal;

use super::ChaosError;
use super::disguise::Disguise;
use super::proxy::Proxy;
use crate::obstruction::Obstruction;
use crate::process::{ProcessId, end_all};
use crate::scene::Scene;

/// How far a clock is set.
const AN_HOUR: Duration = Duration::from_secs(3600);
/// A machine that is being started at the destination has a process by then.
const STARTED: Duration = Duration::from_secs(2);

/// One of the two hosts of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that has the machine.
    Source,
    /// The one that it goes to.
    Destination,
}

/// Which way of the link between the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the source sends.
    ToDestination,
    /// What the destination sends.
    ToSource,
    /// Either.
    Both,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A daemon is killed, and started again once the move has ended.
    DaemonKilled(Side),
    /// Both are.
    BothDaemonsKilled,
    /// The QEMU of the machine at the destination is killed, before the machine may be its own.
    MachineKilled,
    /// What one host sends the other is lost for a time.
    Cut(Way),
    /// What the hosts send each other waits for a time.
    Stalled,
    /// The disk under a log takes nothing more, until the move has ended.
    DiskFull(Side),
    /// One bit of what the source sends is turned.
    Corrupted,
    /// The wall clocks of both hosts jump by an hour.
    ClockSet {
        /// Forward, or back.
        ahead: bool,
    },
    /// A daemon is not let run for a time.
    DaemonFrozen(Side),
}

/// Who is who on a move, and what faults are made with.
pub(super) struct Stage<'a> {
    pub(super) scene: &'a Scene,
    pub(super) disguise: &'a Disguise,
    pub(super) proxy: &'a Proxy,
    pub(super) machine: &'a str,
    pub(super) source: &'a str,
    pub(super) destination: &'a str,
}

impl Fault {
    /// Whether it is over by itself, some time later.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Stalled | Self::DaemonFrozen(_))
    }

    /// The last phase up to this one at which it is a fault of the move. A QEMU that is killed when
    /// the machine is its own is the end of the machine, wherever that was.
    pub(super) fn latest(self, phase: Phase) -> Phase {
        if self == Self::MachineKilled { phase.min(Phase::FinalCopy) } else { phase }
    }

    /// The daemons that are killed.
    fn victims(self) -> &'static [Side] {
        match self {
            Self::DaemonKilled(Side::Source) => &[Side::Source],
            Self::DaemonKilled(Side::Destination) => &[Side::Destination],
            Self::BothDaemonsKilled => &[Side::Source, Side::Destination],
            _ => &[],
        }
    }

    /// The ways that are obstructed, by who sends.
    fn obstructed(self) -> &'static [Side] {
        match self {
            Self::Cut(Way::ToDestination) => &[Side::Source],
            Self::Cut(Way::ToSource) => &[Side::Destination],
            Self::Cut(Way::Both) | Self::Stalled => &[Side::Source, Side::Destination],
            _ => &[],
        }
    }

    /// Makes it.
    pub(super) fn strike(self, stage: &Stage<'_>) -> Result<(), ChaosError> {
        for side in self.victims() {
            stage.scene.daemon(stage.host(*side)).kill()?;
        }
        let obstruction = if self == Self::Stalled { Obstruction::Stall } else { Obstruction::Cut };
        for side in self.obstructed() {
            let (from, to) = (stage.host(*side), stage.host(side.other()));
            stage.scene.lab().obstruct(from, to, obstruction)?;
        }
        match self {
            Self::MachineKilled => stage.kill_machine()?,
            Self::DiskFull(side) => stage.set_disk(side, true)?,
            Self::Corrupted => stage.proxy.turn_a_bit(),
            Self::ClockSet { ahead } => stage.set_clocks(ahead, AN_HOUR)?,
            Self::DaemonFrozen(side) => stage.signal(side, Signal::STOP)?,
            _ => {}
        }
        Ok(())
    }

    /// Ends what passes by itself. It may be called from another thread than the move is
    /// watched from.
    pub(super) fn pass(self, stage: &Passing) -> Result<(), ChaosError> {
        for side in self.obstructed() {
            stage.lab.clear(stage.host(*side))?;
        }
        if let Self::DaemonFrozen(side) = self {
            stage.daemon(side).send(Signal::CONT)?;
        }
        Ok(())
    }

    /// Puts in order what does not pass by itself.
    pub(super) fn mend(self, stage: &Stage<'_>) -> Result<(), ChaosError> {
        match self {
            Self::DiskFull(side) => stage.set_disk(side, false),
            Self::Corrupted => {
                stage.proxy.disarm();
                Ok(())
            }
            Self::ClockSet { ahead } => stage.set_clocks(ahead, Duration::ZERO),
            _ => Ok(()),
        }
    }

    /// The daemons that are to be started again.
    pub(super) fn to_be_started(self) -> &'static [Side] {
        match self {
            // What a daemon could not write down it puts in order when it has read its log anew.
            Self::DiskFull(Side::Source) => &[Side::Source],
            Self::DiskFull(Side::Destination) => &[Side::Destination],
            _ => self.victims(),
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// What ends a fault that passes, on a thread of its own.
pub(super) struct Passing {
    lab: crate::Lab,
    source: (String, ProcessId),
    destination: (String, ProcessId),
}

impl Passing {
    fn host(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source.0,
            Side::Destination => &self.destination.0,
        }
    }

    fn daemon(&self, side: Side) -> ProcessId {
        match side {
            Side::Source => self.source.1,
            Side::Destination => self.destination.1,
        }
    }
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
        let lab = crate::Lab::open(&self.scene.lab().state().name)?;
        Ok(Passing { lab, source: daemon(self.source), destination: daemon(self.destination) })
    }

    fn signal(&self, side: Side, signal: Signal) -> Result<(), ChaosError> {
        self.scene.daemon(self.host(side)).record().id.send(signal)?;
        Ok(())
    }

    fn set_disk(&self, side: Side, full: bool) -> Result<(), ChaosError> {
        let host = self.scene.lab().host(self.host(side))?;
        Ok(self.disguise.set_disk(host, full)?)
    }

    fn set_clocks(&self, ahead: bool, by: Duration) -> Result<(), ChaosError> {
        for host in self.scene.lab().hosts() {
            self.disguise.set_clock(host, ahead, by)?;
        }
        Ok(())
    }

    /// Kills the machine's process at the destination, once there is one.
    fn kill_machine(&self) -> Result<(), ChaosError> {
        let run_dir = &self.scene.lab().host(self.destination)?.run_dir;
        let file = run_dir.join("daemon/machines").join(self.machine).join("pid");
        let deadline = Instant::now() + STARTED;
        while Instant::now() < deadline {
            let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(process) = pid.and_then(ProcessId::of) {
                end_all(&[process], Duration::ZERO)?;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Destination => "the destination",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaemonKilled(side) => write!(f, "daemon of {side} killed"),
            Self::BothDaemonsKilled => f.write_str("both daemons killed"),
            Self::MachineKilled => f.write_str("QEMU of the destination killed"),
            Self::Cut(Way::ToDestination) => f.write_str("link to the destination cut"),
            Self::Cut(Way::ToSource) => f.write_str("link to the source cut"),
            Self::Cut(Way::Both) => f.write_str("link cut both ways"),
            Self::Stalled => f.write_str("link stalled"),
            Self::DiskFull(side) => write!(f, "disk under the log of {side} full"),
            Self::Corrupted => f.write_str("one bit turned"),
            Self::ClockSet { ahead: true } => f.write_str("clocks an hour ahead"),
            Self::ClockSet { ahead: false } => f.write_str("clocks an hour back"),
            Self::DaemonFrozen(side) => write!(f, "daemon of {side} frozen"),
        }
    }
}
