//! Promises to guests of which one page costs more than another, and a page more than again.

use std::time::Duration;

use punctual_model::Policy;
use punctual_units::BytesPerSecond;

use super::{CALM, by, ms, run};
use crate::guest::{Guest, Packed, Page, Workload};
use crate::setting::Setting;
use punctual_engine::report::{Ending, Promise, Report};

/// A page costs 4 KiB the first time, and again only what was written of it.
const WRITTEN_IN_PART: Page = Page { first: 4104, again: 300 };
/// Goes over 3000 of its pages, sixteen times a second.
const SWEEP: Workload = Workload {
    pages: 8000,
    writes: 50_000,
    hot: 3000,
    stray: 50,
    sweeps: true,
    packed: Packed { hot: WRITTEN_IN_PART, cold: WRITTEN_IN_PART },
    ..CALM
};

/// What became of the promise, by policy, over several guests and interruptions.
fn promises(policy: Policy, workload: Workload, megabits: u64) -> Vec<Report> {
    let mut reports = vec![];
    for (seed, downtime) in [(1, 50), (2, 100), (3, 200), (4, 400)] {
        for watched in [false, true] {
            let mut setting = Setting { seed, downtime: ms(downtime), ..by(policy, workload) };
            setting.bandwidth = BytesPerSecond::megabits(megabits);
            setting.within = Duration::from_secs(12);
            let heat = || Guest::watched(workload, seed + 100, Duration::from_secs(3));
            setting.heat = watched.then(heat);
            let report = run(setting).report.unwrap();
            println!(
                "{policy} {megabits} Mbit/s {downtime} ms: {:?} {:.1?} {}",
                report.promise, report.measured.downtime, report.reason
            );
            reports.push(report);
        }
    }
    reports
}

fn kept_of(reports: &[Report]) -> usize {
    reports.iter().filter(|report| report.promise == Some(Promise::Kept)).count()
}

fn none_broken(reports: &[Report]) {
    for report in reports {
        let (promise, downtime) = (report.promise, report.measured.downtime);
        assert_ne!(promise, Some(Promise::Broken), "{}: {downtime:?}", report.policy);
    }
}

#[test]
fn what_pages_cost_again_does_not_pass_for_what_they_cost_the_first_time() {
    for policy in Policy::OWN {
        let reports = promises(policy, SWEEP, 300);
        none_broken(&reports);
        assert!(kept_of(&reports) >= 6, "{policy}: {}", kept_of(&reports));
    }
}

#[test]
fn what_cold_pages_cost_does_not_pass_for_what_hot_ones_cost() {
    let packed = Packed { hot: Page::PLAIN, cold: Page { first: 2000, again: 100 } };
    for writes in [2000, 50_000] {
        for hot in [300, 1500] {
            let workload = Workload { writes, hot, stray: 500, packed, ..SWEEP };
            for policy in Policy::OWN {
                none_broken(&promises(policy, workload, 300));
            }
        }
    }
}

#[test]
fn pages_of_zeros_do_not_make_full_ones_cheap() {
    let packed = Packed { hot: WRITTEN_IN_PART, cold: Page { first: 1, again: 1000 } };
    let workload = Workload { hot: 800, packed, ..SWEEP };
    for policy in Policy::OWN {
        none_broken(&promises(policy, workload, 100));
    }
}

#[test]
fn an_idle_guest_on_a_slow_link_is_not_stopped_with_pages_that_were_never_sent() {
    let workload = Workload { writes: 400, hot: 150, stray: 20, sweeps: false, ..SWEEP };
    for policy in Policy::OWN {
        let reports = promises(policy, workload, 100);
        none_broken(&reports);
        assert_eq!(kept_of(&reports), reports.len(), "{policy}");
    }
}

#[test]
fn a_sweeping_guest_that_moves_in_any_case_is_there_in_time() {
    for packed in [SWEEP.packed, Packed { hot: Page::PLAIN, cold: Page { first: 1, again: 1 } }] {
        for policy in Policy::OWN {
            let setting = by(policy, Workload { packed, ..SWEEP });
            let bandwidth = BytesPerSecond::megabits(300);
            let (within, force) = (ms(3000), true);
            let report = run(Setting { bandwidth, within, force, ..setting }).report.unwrap();
            assert_eq!(report.outcome, Ending::Completed, "{policy}: {}", report.reason);
            assert!(report.measured.total <= within, "{policy}: {:?}", report.measured);
        }
    }
}

#[test]
fn device_state_takes_its_time_on_a_slow_link() {
    for (megabits, kept) in [(20, false), (300, true)] {
        let setting = by(Policy::PreCopy, Workload { writes: 10, stray: 0, ..CALM });
        let bandwidth = BytesPerSecond::megabits(megabits);
        let report = run(Setting { bandwidth, downtime: ms(60), ..setting }).report.unwrap();
        let promise = if kept { Promise::Kept } else { Promise::Refused };
        assert_eq!(report.promise, Some(promise), "{megabits}: {}", report.reason);
    }
}

#[test]
fn the_scans_of_the_stopped_guest_are_part_of_what_is_promised() {
    for policy in Policy::OWN {
        for downtime in [55, 60, 65, 70, 80, 90, 110] {
            let setting = by(policy, CALM);
            let (scan, downtime) = (ms(30), ms(downtime));
            let report = run(Setting { scan, downtime, ..setting }).report.unwrap();
            // Two scans alone take 60 ms.
            let promise = match report.promise {
                Some(Promise::Kept) => downtime > 2 * scan,
                Some(Promise::Refused) => downtime < ms(80),
                _ => false,
            };
            assert!(promise, "{policy} {downtime:?}: {:?} {}", report.promise, report.reason);
        }
    }
}
