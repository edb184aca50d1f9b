//! How faults are made in a lab, and mended.

use std::fmt;
use std::time::Duration;

use punctual_engine::Phase;
use punctual_simulation::{Side, Way};
use rustix::process::Signal;

use super::ChaosError;
use super::stage::{Passing, Stage};
use crate::obstruction::Obstruction;
use crate::process::Process;

/// How far a clock is set.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A daemon is killed, and started again after a time.
    DaemonKilled(Side),
    /// Both are.
    BothDaemonsKilled,
    /// The machine's QEMU on one side is killed: at the destination before the machine may be its
    /// own, at the source once it is not any more. There it is paused for good, and the pages that
    /// are still needed are in its RAM file, which outlives it. (The process that *is* the machine is
    /// never killed: that would be the end of the machine, as it is at home.)
    MachineKilled(Side),
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

impl Fault {
    /// Whether it is over some time later, whatever becomes of the move.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Stalled | Self::DaemonFrozen(_)) || self.kills_daemons()
    }

    pub(super) fn kills_daemons(self) -> bool {
        !self.victims().is_empty()
    }

    /// The phase closest to this one at which it is a fault of the move.
    pub(super) fn moment(self, phase: Phase) -> Phase {
        match self {
            Self::MachineKilled(Side::Destination) => phase.min(Phase::FinalCopy),
            Self::MachineKilled(Side::Source) => phase.max(Phase::Committed),
            _ => phase,
        }
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

    /// Makes it; whether there still was something to strike.
    pub(super) fn strike(self, stage: &Stage<'_>) -> Result<bool, ChaosError> {
        for side in self.victims() {
            stage.scene.daemon(stage.host(*side)).kill()?;
        }
        let obstruction = if self == Self::Stalled { Obstruction::Stall } else { Obstruction::Cut };
        for side in self.obstructed() {
            let (from, to) = (stage.host(*side), stage.host(side.other()));
            stage.scene.lab().obstruct(from, to, obstruction)?;
        }
        match self {
            Self::MachineKilled(side) => return stage.kill_machine(side),
            Self::DiskFull(side) => stage.set_disk(side, true)?,
            Self::Corrupted => stage.proxy.turn_a_bit(),
            Self::ClockSet { ahead } => stage.set_clocks(ahead, AN_HOUR)?,
            Self::DaemonFrozen(side) => stage.signal(side, Signal::STOP)?,
            _ => {}
        }
        Ok(true)
    }

    /// Ends what passes, and returns the daemons that were started for it. It may be called from
    /// another thread than the move is watched from.
    pub(super) fn pass(self, stage: &Passing) -> Result<Vec<Process>, ChaosError> {
        for side in self.obstructed() {
            stage.clear(*side)?;
        }
        if let Self::DaemonFrozen(side) = self {
            stage.let_go_on(side)?;
        }
        self.victims().iter().map(|side| stage.start(*side)).collect()
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

    /// The daemon that is to be started anew when the move has ended: what it could not write down
    /// it puts in order when it has read its log again.
    pub(super) fn to_be_restarted(self) -> Option<Side> {
        match self {
            Self::DiskFull(side) => Some(side),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaemonKilled(side) => write!(f, "daemon of {side} killed"),
            Self::BothDaemonsKilled => f.write_str("both daemons killed"),
            Self::MachineKilled(side) => write!(f, "QEMU of {side} killed"),
            Self::Cut(way) => write!(f, "link cut {way}"),
            Self::Stalled => f.write_str("link stalled"),
            Self::DiskFull(side) => write!(f, "disk under the log of {side} full"),
            Self::Corrupted => f.write_str("one bit turned"),
            Self::ClockSet { ahead: true } => f.write_str("clocks an hour ahead"),
            Self::ClockSet { ahead: false } => f.write_str("clocks an hour back"),
            Self::DaemonFrozen(side) => write!(f, "daemon of {side} frozen"),
        }
    }
}
