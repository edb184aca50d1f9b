//! What a seed means: when what goes wrong with which move of which guest.

use std::fmt;
use std::time::Duration;

use punctual_engine::Phase;
use punctual_guest_protocol::Workload;
use punctual_model::{Mode, Policy};

use super::fault::{Fault, Side, Way};

/// The phases at whose beginnings something goes wrong.
pub const PHASES: [Phase; 8] = [
    Phase::Offering,
    Phase::Preparing,
    Phase::Copying,
    Phase::Stopping,
    Phase::FinalCopy,
    Phase::HandingOver,
    Phase::Committing,
    Phase::Committed,
];

/// What goes wrong.
pub const FAULTS: [Fault; 15] = [
    Fault::DaemonKilled(Side::Source),
    Fault::DaemonKilled(Side::Destination),
    Fault::BothDaemonsKilled,
    Fault::MachineKilled,
    Fault::Cut(Way::Both),
    Fault::Cut(Way::ToDestination),
    Fault::Cut(Way::ToSource),
    Fault::Stalled,
    Fault::DiskFull(Side::Source),
    Fault::DiskFull(Side::Destination),
    Fault::Corrupted,
    Fault::ClockSet { ahead: true },
    Fault::ClockSet { ahead: false },
    Fault::DaemonFrozen(Side::Source),
    Fault::DaemonFrozen(Side::Destination),
];

/// One case, all of which follows from its seed. The first [`Case::GRID`] seeds are each fault at
/// each phase once, in such an order that few seeds hold much of either; later ones are the same
/// with other guests and moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// When: the first time that the move is seen in this phase or, where that is over before it
    /// is seen, in a later one ...
    pub phase: Phase,
    /// ... and so long after that.
    pub delay: Duration,
    /// What.
    pub fault: Fault,
    /// How long, if that is over by itself.
    pub lasts: Duration,
    /// How the machine changes hosts.
    pub mode: Mode,
    /// How its memory is moved.
    pub policy: Policy,
    /// What the guest does meanwhile, and its units of work a second.
    pub load: (Workload, u64),
}

impl Case {
    /// How many seeds it takes for each fault to come at each phase.
    pub const GRID: u64 = (PHASES.len() * FAULTS.len()) as u64;

    /// What a seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let (phases, faults) = (PHASES.len() as u64, FAULTS.len() as u64);
        let (column, row) = (seed % phases, seed / phases);
        let fault = FAULTS[((row + column * 2) % faults) as usize];
        let phase = fault.latest(PHASES[column as usize]);
        let mut chance = Chance(seed);
        let delays = if fault == Fault::MachineKilled { 0 } else { 20_000 };
        Self {
            seed,
            phase,
            delay: Duration::from_micros(chance.below(delays + 1)),
            fault,
            // A connection is given up after 10 s without a sign of life.
            lasts: Duration::from_millis(match chance.below(6) {
                0 => 12_000,
                _ => 300 + chance.below(2500),
            }),
            mode: Mode::PreCopy,
            policy: Policy::ALL[chance.below(Policy::ALL.len() as u64) as usize],
            load: match chance.below(3) {
                0 => (Workload::Idle, 0),
                1 => (Workload::Uniform, 500),
                _ => (Workload::HotCold, 2000),
            },
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, phase, delay, fault, lasts, mode, policy, load: (workload, rate) } = self;
        write!(f, "seed {seed}: {fault}")?;
        if fault.passes() {
            write!(f, " for {:.1} s", lasts.as_secs_f64())?;
        }
        let delay = delay.as_secs_f64() * 1e3;
        write!(f, ", {delay:.1} ms into {phase}; {mode} by {policy}, guest: {workload} {rate}/s")
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_grid_holds_each_fault_at_each_phase() {
        let places = |seeds: std::ops::Range<u64>| -> BTreeSet<String> {
            let case = |seed| Case::of(seed);
            seeds.map(case).map(|it| format!("{} {}", it.fault, it.phase)).collect()
        };
        let mut all = BTreeSet::new();
        for fault in FAULTS {
            all.extend(PHASES.map(|phase| format!("{fault} {}", fault.latest(phase))));
        }
        assert_eq!(places(0..Case::GRID), all);
        let of = |cases: u64| -> (BTreeSet<Phase>, BTreeSet<String>) {
            let cases: Vec<_> = (0..cases).map(Case::of).collect();
            let phases = cases.iter().map(|case| case.phase).collect();
            (phases, cases.iter().map(|case| case.fault.to_string()).collect())
        };
        let (phases, faults) = of(48);
        assert_eq!((phases.len(), faults.len()), (PHASES.len(), FAULTS.len()));
    }
}
