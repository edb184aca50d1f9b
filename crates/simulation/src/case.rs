//! Cases: what a seed means, and how it ends.

use std::fmt;
use std::time::Duration;

use punctual_engine::Phase;
use punctual_engine::report::Ending;
use punctual_model::{Mode, OnMiss, Policy};
use punctual_units::BytesPerSecond;

use crate::chance::Chance;
use crate::fault::{Failure, Fault, FaultKind, Side, Way, When};
use crate::guest::{Guest, Packed, Page, Workload};
use crate::link::LOST;
use crate::outcome::Outcome;
use crate::setting::Setting;
use crate::world::{EFFECT, World};

/// The phases of which the beginnings are places for faults.
const PHASES: [Phase; 11] = [
    Phase::Offering,
    Phase::Preparing,
    Phase::Copying,
    Phase::Settling,
    Phase::Opening,
    Phase::Stopping,
    Phase::FinalCopy,
    Phase::HandingOver,
    Phase::Committing,
    Phase::Committed,
    Phase::PostCopy,
];
/// Until everything has come to rest between two moves.
const TICK: Duration = Duration::from_millis(20);

/// A guest, a link, a move and what goes wrong with it: all of it follows from a number.
#[derive(Debug, Clone)]
pub struct Case {
    seed: u64,
    setting: Setting,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// How many of the faults came before everything was over.
    pub faults: usize,
    /// Messages that arrived and things that were to be done on the first move.
    pub points: u32,
    /// Pages that were sent on it while the guest was stopped.
    pub final_pages: u64,
    /// Whether the first move took place, in the end.
    pub moved: bool,
    /// Whether pages followed the machine.
    pub followed: bool,
    /// How the first move ended at the source, if a daemon was there to say so.
    pub outcome: Option<Ending>,
    /// Why, in its words.
    pub reason: String,
    /// Until everything was settled, in virtual time.
    pub settled: Duration,
    /// What does not hold; empty in a case that is well.
    pub wrong: Vec<String>,
}

impl Case {
    /// What this seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let workload = workload(&mut chance);
        let policy = chance.of(&Policy::OWN);
        let modes = [Mode::PreCopy, Mode::PreCopy, Mode::PostCopy, Mode::Hybrid, Mode::StopAndCopy];
        let (mode, on_miss) = (chance.of(&modes), chance.of(&OnMiss::ALL));
        let known = chance.one_in(3);
        let heat = known.then(|| Guest::watched(workload, seed ^ 1, Duration::from_millis(300)));
        let setting = Setting {
            workload,
            bandwidth: BytesPerSecond::megabits(chance.within(50..1500)),
            latency: chance.time(0..20),
            jitter: chance.time(0..3),
            downtime: chance.time(40..300),
            within: chance.time(500..8000),
            verify: chance.one_in(3),
            bandwidth_asked: chance.one_in(8).then(|| BytesPerSecond::megabits(40)),
            seed,
            mode,
            on_miss,
            policy,
            strategy: policy.strategy(),
            force: chance.one_in(3),
            heat,
            scan: chance.of(&[EFFECT, EFFECT * 8]),
            tick: TICK,
            faults: faults(&mut chance),
        };
        Self { seed, setting }
    }

    /// Runs it: a move on which the faults come, and when everything has settled another, of the
    /// machine as it was left and from where it is, on which none comes.
    #[must_use]
    pub fn run(&self) -> Verdict {
        let first = World::new(self.setting.clone()).run();
        let mut wrong = first.wrong.clone();
        if wrong.is_empty() && !first.excused {
            let again = self.again(first.guest.clone());
            wrong.extend(again.wrong.iter().map(|what| format!("second attempt: {what}")));
            if !again.committed {
                let reason = again.report.map(|report| report.reason).unwrap_or_default();
                wrong.push(format!("the second attempt failed: {reason}"));
            }
        }
        Verdict {
            faults: first.struck,
            points: first.points,
            final_pages: first.final_pages,
            moved: first.committed,
            followed: first.followed,
            outcome: first.report.as_ref().map(|report| report.outcome),
            reason: first.report.map(|report| report.reason).unwrap_or_default(),
            settled: first.took,
            wrong,
        }
    }

    /// The second attempt. Its tracer is as the first left it: what that scanned and did not
    /// deliver is marked no more.
    fn again(&self, mut guest: Guest) -> Outcome {
        guest.begin_anew();
        let setting = Setting {
            faults: vec![],
            force: true,
            verify: true,
            bandwidth_asked: None,
            mode: Mode::PreCopy,
            within: Duration::from_secs(20),
            downtime: Duration::from_millis(300),
            ..self.setting.clone()
        };
        World::with(setting, guest).run()
    }
}

fn workload(chance: &mut Chance) -> Workload {
    let pages = chance.within(100..500);
    let again = Page { first: 4104, again: 300 };
    Workload {
        pages,
        writes: chance.of(&[0, 200, 1000, 3000, 20_000]),
        hot: chance.within(1..pages),
        stray: chance.of(&[0, 0, 100]),
        busy: chance.of(&[Duration::from_secs(1), Duration::from_millis(600)]),
        sweeps: chance.one_in(4),
        packed: chance.of(&[
            Packed { hot: Page::PLAIN, cold: Page::PLAIN },
            Packed { hot: again, cold: again },
        ]),
        requests: chance.of(&[0, 0, 1, 8]),
        request: chance.time(1..30),
    }
}

fn faults(chance: &mut Chance) -> Vec<Fault> {
    let mut faults = vec![];
    for number in 0..chance.within(1..5) {
        let when = if number > 0 && chance.one_in(2) {
            // Soon, or while the first is being put in order.
            let latest = chance.of(&[10, 500, 12_000]);
            When::After(chance.time(0..latest))
        } else {
            let latest = chance.of(&[1, 8, 60]);
            When::Phase { phase: chance.of(&PHASES), points: chance.within(0..latest) as u32 }
        };
        faults.push(Fault { when, kind: kind(chance) });
    }
    faults
}

fn kind(chance: &mut Chance) -> FaultKind {
    let side = chance.of(&[Side::Source, Side::Destination]);
    match chance.within(0..11) {
        0 => FaultKind::Reset,
        1 => FaultKind::Corrupted,
        2 => {
            let way = chance.of(&[Way::ToDestination, Way::ToSource, Way::Both]);
            let longest = LOST.as_millis() as u64;
            let lasts = match chance.one_in(2) {
                true => chance.time(1..longest),
                false => chance.time(longest..2 * longest),
            };
            FaultKind::Cut { way, lasts }
        }
        3 => {
            let rate = BytesPerSecond::megabits(chance.within(1..20));
            FaultKind::Slow { rate, lasts: chance.time(10..5000) }
        }
        4 | 5 => {
            let latest = chance.of(&[100, 3000, 20_000]);
            FaultKind::Crash { side, down: chance.time(50..latest) }
        }
        6 => FaultKind::Frozen { side, lasts: chance.time(10..20_000) },
        7 => FaultKind::MachineDies,
        8 => {
            let how = chance.of(&[Failure::Certain, Failure::Written, Failure::NotWritten]);
            FaultKind::JournalFails { side, how }
        }
        9 => FaultKind::ScanFails,
        _ => FaultKind::Cancelled,
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { workload, bandwidth, latency, mode, policy, faults, .. } = &self.setting;
        write!(
            f,
            "seed {}: {mode} by {policy}, {} pages, {} writes/s, {bandwidth}, {latency:.1?}; ",
            self.seed, workload.pages, workload.writes
        )?;
        for (number, fault) in faults.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{fault}")?;
        }
        Ok(())
    }
}
