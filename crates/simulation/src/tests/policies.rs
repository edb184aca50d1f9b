//! What the ways of moving lead to, with the guest and the link being the same.

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_model::{Policy, Rounds};
use punctual_units::BytesPerSecond;

use super::{CALM, by, ms, run, setting};
use crate::guest::{Guest, Workload};
use crate::outcome::Outcome;
use crate::setting::Setting;
use crate::world::World;
use punctual_engine::report::{Ending, Promise};

/// A few hot pages among many cold ones, in the lowest addresses: the worst place for a round in
/// the order of addresses.
const HOT_AND_COLD: Workload = Workload { pages: 4000, writes: 4000, hot: 250, stray: 400, ..CALM };
const SEEDS: u64 = 8;

/// Pages of the final copy behind so many rounds, over several guests.
fn left_behind(policy: Policy, rounds: u32) -> u64 {
    let moved = |seed| {
        let mut setting = Setting { seed, ..by(policy, HOT_AND_COLD) };
        setting.strategy.rounds = Rounds::Exactly(NonZeroU32::new(rounds).unwrap());
        setting.heat = Some(Guest::watched(HOT_AND_COLD, seed + 100, Duration::from_secs(3)));
        let outcome = run(setting);
        let report = outcome.report.as_ref().unwrap();
        assert_eq!((report.outcome, report.measured.rounds), (Ending::Completed, rounds));
        outcome.final_pages
    };
    (1..=SEEDS).map(moved).sum()
}

#[test]
fn the_order_leaves_fewer_pages_for_the_final_copy() {
    for rounds in [1, 2] {
        let standard = left_behind(Policy::PreCopy, rounds);
        let ordered = left_behind(Policy::Ordered, rounds);
        let held = left_behind(Policy::HeldBack, rounds);
        println!("K = {rounds}: standard {standard}, ordered {ordered}, held back {held}");
        assert!(ordered < standard && held < standard, "{rounds}: {standard} {ordered} {held}");
    }
}

/// How often a promise is kept, and what the moves took.
fn kept(policy: Policy, downtime: Duration) -> (u64, Duration, Vec<String>) {
    let (mut kept, mut total, mut told) = (0, Duration::ZERO, vec![]);
    for seed in 1..=SEEDS {
        let mut setting = Setting { seed, downtime, ..by(policy, HOT_AND_COLD) };
        setting.bandwidth = BytesPerSecond::megabits(300);
        setting.heat = Some(Guest::watched(HOT_AND_COLD, seed + 100, Duration::from_secs(3)));
        let report = run(setting).report.unwrap();
        kept += u64::from(report.promise == Some(Promise::Kept));
        total += report.measured.total;
        let downtime = report.measured.downtime.unwrap_or_default();
        told.push(format!("{downtime:.1?} {} {}", report.measured.rounds, report.reason));
    }
    (kept, total, told)
}

#[test]
fn no_policy_breaks_a_promise_that_can_be_kept() {
    for policy in Policy::OWN {
        let (promises, total, told) = kept(policy, ms(60));
        println!("{policy}: {promises} of {SEEDS} kept, {total:.2?}: {told:?}");
        assert_eq!(promises, SEEDS, "{policy}: {told:?}");
    }
}

/// More than the link can carry while it writes, for 0.6 s of each second.
fn phases() -> Setting {
    let workload = Workload { writes: 60_000, hot: 3000, busy: ms(600), ..HOT_AND_COLD };
    Setting { downtime: ms(40), within: Duration::from_secs(100), ..setting(workload) }
}

#[test]
fn a_guest_that_writes_in_phases_is_stopped_in_a_lull() {
    for policy in Policy::OWN {
        let setting = Setting { policy, strategy: policy.strategy(), ..phases() };
        let report = run(setting).report.unwrap();
        assert_eq!(report.promise, Some(Promise::Kept), "{policy}: {}", report.reason);
    }
}

#[test]
fn a_move_in_any_case_is_there_in_time() {
    for policy in Policy::OWN {
        let workload = Workload { writes: 200_000, hot: 2000, ..CALM };
        let mut setting = Setting { force: true, within: ms(5000), ..by(policy, workload) };
        let report = run(setting.clone()).report.unwrap();
        assert_eq!(report.outcome, Ending::Completed, "{policy}: {}", report.reason);
        assert_eq!(report.promise, Some(Promise::Broken));
        assert!(report.measured.total <= ms(5000), "{policy}: {:?}", report.measured);
        // Less than its fixed part, which would be refused, and no time at all.
        (setting.downtime, setting.within) = (ms(1), ms(1));
        let report = run(setting).report.unwrap();
        assert_eq!(report.outcome, Ending::Completed, "{policy}: {}", report.reason);
    }
}

#[test]
fn progress_foresees_the_end() {
    for policy in Policy::OWN {
        let mut setting = by(policy, HOT_AND_COLD);
        setting.bandwidth = BytesPerSecond::megabits(300);
        setting.heat = Some(Guest::watched(HOT_AND_COLD, 3, Duration::from_secs(3)));
        let mut world = World::new(setting);
        world.watch_progress = true;
        let Outcome { report, progress, .. } = world.run();
        let total = report.unwrap().measured.total.as_secs_f64();
        let (at, ends_in) =
            progress.into_iter().find(|(at, _)| at.as_secs_f64() > 0.3 * total).unwrap();
        let foreseen = (at + ends_in).as_secs_f64();
        println!(
            "{policy}: at {at:.2?} the end was foreseen at {foreseen:.2} s, it came at {total:.2} s"
        );
        assert!((0.6..1.5).contains(&(foreseen / total)), "{policy}: {foreseen} of {total}");
    }
}
