//! What a seed means: when what goes wrong with which move of which guest.

use std::fmt;
use std::time::Duration;

use punctual_engine::Phase;
use punctual_guest_protocol::Workload;
use punctual_model::{Mode, Policy};
use punctual_simulation::{Chance, Side, Way};
use punctual_units::BytesPerSecond;

use super::fault::Fault;

/// Moves of whole machines, and the phases of them at whose beginnings something goes wrong.
pub const WHOLE: [(Mode, Phase); 8] = [
    (Mode::PreCopy, Phase::Offering),
    (Mode::PreCopy, Phase::Preparing),
    (Mode::PreCopy, Phase::Copying),
    (Mode::PreCopy, Phase::Stopping),
    (Mode::PreCopy, Phase::FinalCopy),
    (Mode::PreCopy, Phase::HandingOver),
    (Mode::PreCopy, Phase::Committing),
    (Mode::PreCopy, Phase::Committed),
];

/// The same of machines that run before their pages have come.
pub const FOLLOWED: [(Mode, Phase); 19] = [
    (Mode::PostCopy, Phase::PostCopy),
    (Mode::Hybrid, Phase::PostCopy),
    (Mode::PostCopy, Phase::Offering),
    (Mode::PostCopy, Phase::Preparing),
    (Mode::PostCopy, Phase::Opening),
    (Mode::PostCopy, Phase::Stopping),
    (Mode::PostCopy, Phase::FinalCopy),
    (Mode::PostCopy, Phase::HandingOver),
    (Mode::PostCopy, Phase::Committing),
    (Mode::PostCopy, Phase::Committed),
    (Mode::Hybrid, Phase::Offering),
    (Mode::Hybrid, Phase::Preparing),
    (Mode::Hybrid, Phase::Copying),
    (Mode::Hybrid, Phase::Opening),
    (Mode::Hybrid, Phase::Stopping),
    (Mode::Hybrid, Phase::FinalCopy),
    (Mode::Hybrid, Phase::HandingOver),
    (Mode::Hybrid, Phase::Committing),
    (Mode::Hybrid, Phase::Committed),
];

/// What goes wrong.
pub const FAULTS: [Fault; 16] = [
    Fault::DaemonKilled(Side::Source),
    Fault::DaemonKilled(Side::Destination),
    Fault::BothDaemonsKilled,
    Fault::Corrupted,
    Fault::MachineKilled(Side::Source),
    Fault::MachineKilled(Side::Destination),
    Fault::Cut(Way::Both),
    Fault::Cut(Way::ToDestination),
    Fault::Cut(Way::ToSource),
    Fault::Stalled,
    Fault::DiskFull(Side::Source),
    Fault::DiskFull(Side::Destination),
    Fault::ClockSet { ahead: true },
    Fault::ClockSet { ahead: false },
    Fault::DaemonFrozen(Side::Source),
    Fault::DaemonFrozen(Side::Destination),
];

/// From one moment of a move to the next in the list the faults are shifted by so many, so that few
/// seeds hold each of them. It has no factor in common with their number.
const SHIFT: u64 = 9;
/// Pages that follow are sent no faster, so that they follow for half a second and more. A busy
/// computer has as much for a link.
const SLOWLY: BytesPerSecond = BytesPerSecond::megabits(100);

/// One case, all of which follows from its seed. The first [`Case::GRID`] seeds are each fault at
/// each phase of each kind of move at least once, in such an order that few seeds hold much of each;
/// later ones are the same with other guests and moments. In every other case pages follow.
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
    /// How long, if that is over some time later.
    pub lasts: Duration,
    /// How the machine changes hosts.
    pub mode: Mode,
    /// How its memory is moved.
    pub policy: Policy,
    /// How fast at most; `None`: as fast as the link is.
    pub bandwidth: Option<BytesPerSecond>,
    /// What the guest does meanwhile, and its units of work a second.
    pub load: (Workload, u64),
}

impl Case {
    /// How many seeds it takes for each fault to come at each phase of each kind of move.
    pub const GRID: u64 = 2 * (FOLLOWED.len() * FAULTS.len()) as u64;

    /// What a seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let follow = seed % 2 == 1;
        let moments = if follow { &FOLLOWED[..] } else { &WHOLE[..] };
        let (row, column) = (seed / 2 / moments.len() as u64, seed / 2 % moments.len() as u64);
        let (mode, phase) = moments[column as usize];
        let fault = FAULTS[((row + column * SHIFT) % FAULTS.len() as u64) as usize];
        let phase = fault.moment(phase);
        let mut chance = Chance::new(seed);
        Self {
            seed,
            phase,
            delay: delay(&mut chance, fault, phase),
            fault,
            lasts: lasts(&mut chance, fault, phase),
            mode,
            policy: chance.of(if follow { &Policy::OWN[..] } else { &Policy::ALL[..] }),
            bandwidth: follow.then_some(SLOWLY),
            load: load(&mut chance, mode),
        }
    }
}

fn delay(chance: &mut Chance, fault: Fault, phase: Phase) -> Duration {
    match (fault, phase) {
        (Fault::MachineKilled(_), _) => Duration::ZERO,
        // The only phase of those behind the copy that lasts.
        (_, Phase::PostCopy) => chance.time(0..300),
        // The machine stands, and is handed over within milliseconds.
        (_, phase) if phase > Phase::FinalCopy => chance.time(0..5),
        _ => chance.time(0..20),
    }
}

fn lasts(chance: &mut Chance, fault: Fault, phase: Phase) -> Duration {
    match (chance.one_in(6), fault.kills_daemons()) {
        // A connection is given up after 10 s without a sign of life.
        (true, false) => Duration::from_secs(12),
        // A source waits 15 s for the word that the machine runs.
        (true, true) if phase >= Phase::HandingOver => Duration::from_secs(17),
        _ => chance.time(300..2800),
    }
}

fn load(chance: &mut Chance, mode: Mode) -> (Workload, u64) {
    match mode {
        // It writes its set faster than that is copied, or nothing would be left to follow.
        Mode::Hybrid => (Workload::Uniform, 20_000),
        _ => chance.of(&[(Workload::Idle, 0), (Workload::Uniform, 500), (Workload::HotCold, 2000)]),
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, phase, fault, lasts, mode, policy, load: (workload, rate), .. } = self;
        write!(f, "seed {seed}: {fault}")?;
        if fault.passes() {
            write!(f, " for {:.1} s", lasts.as_secs_f64())?;
        }
        let delay = self.delay.as_secs_f64() * 1e3;
        write!(f, ", {delay:.1} ms into {phase}; {mode} by {policy}, guest: {workload} {rate}/s")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Which fault comes at which phase of which kind of move.
    fn places(seeds: std::ops::Range<u64>) -> BTreeSet<(String, String, Phase)> {
        let place = |case: Case| (case.fault.to_string(), case.mode.to_string(), case.phase);
        seeds.map(Case::of).map(place).collect()
    }

    #[test]
    fn the_grid_holds_each_fault_at_each_phase_of_each_mode() {
        let mut all = BTreeSet::new();
        for (mode, phase) in WHOLE.iter().chain(&FOLLOWED) {
            let place = |fault: Fault| (fault.to_string(), mode.to_string(), fault.moment(*phase));
            all.extend(FAULTS.map(place));
        }
        assert_eq!(places(0..Case::GRID), all);
    }

    #[test]
    fn no_fault_ends_the_machine_by_itself() {
        for case in (0..Case::GRID).map(Case::of) {
            let committed = case.phase >= Phase::Committed;
            match case.fault {
                Fault::MachineKilled(Side::Source) => assert!(committed, "{case}"),
                Fault::MachineKilled(Side::Destination) => assert!(!committed, "{case}"),
                _ => {}
            }
        }
    }

    #[test]
    fn the_first_seeds_hold_each_fault_and_each_phase_of_each_mode() {
        let first: Vec<_> = (0..48).map(Case::of).collect();
        let phases: BTreeSet<_> =
            first.iter().map(|case| (case.mode.to_string(), case.phase)).collect();
        let faults: BTreeSet<_> = first.iter().map(|case| case.fault.to_string()).collect();
        assert_eq!((phases.len(), faults.len()), (WHOLE.len() + FOLLOWED.len(), FAULTS.len()));
    }
}
