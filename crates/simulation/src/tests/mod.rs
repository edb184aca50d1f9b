//! Moves that go well, moves by each policy, and moves with one fault at each of their points.

mod enforced;
mod faults;
mod modes;
mod policies;
mod promises;
mod seeds;

use std::time::Duration;

use punctual_engine::report::{Ending, Promise};
use punctual_model::{Mode, OnMiss, Policy};

use crate::guest::{Packed, Page, Workload};
use crate::outcome::Outcome;
use crate::setting::Setting;
use crate::world::{EFFECT, World};

const CALM: Workload = Workload {
    pages: 2000,
    writes: 2000,
    hot: 300,
    stray: 0,
    busy: Duration::from_secs(1),
    sweeps: false,
    packed: PLAIN,
    requests: 0,
    request: Duration::from_millis(4),
};

/// Every page goes whole.
const PLAIN: Packed = Packed { hot: Page::PLAIN, cold: Page::PLAIN };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn setting(workload: Workload) -> Setting {
    Setting {
        workload,
        bandwidth: punctual_units::BytesPerSecond::megabits(1000),
        latency: Duration::from_micros(200),
        jitter: Duration::ZERO,
        downtime: ms(30),
        within: Duration::from_secs(20),
        verify: false,
        bandwidth_asked: None,
        seed: 7,
        mode: Mode::PreCopy,
        on_miss: OnMiss::Cancel,
        policy: Policy::PreCopy,
        strategy: Policy::PreCopy.strategy(),
        force: false,
        heat: None,
        scan: EFFECT,
        tick: ms(5),
        faults: vec![],
    }
}

fn by(policy: Policy, workload: Workload) -> Setting {
    Setting { policy, strategy: policy.strategy(), ..setting(workload) }
}

/// Runs to the end, and checks what must be true of every move.
fn run(setting: Setting) -> Outcome {
    let faults = setting.faults.clone();
    let outcome = World::new(setting).run();
    assert_eq!(outcome.wrong, Vec::<String>::new(), "{faults:?}, {:?}", outcome.report);
    outcome
}

#[test]
fn a_calm_guest_moves_and_the_promise_is_kept() {
    Policy::OWN.into_iter().for_each(a_calm_guest_moves_by);
}

fn a_calm_guest_moves_by(policy: Policy) {
    let outcome = run(by(policy, CALM));
    let report = outcome.report.clone().unwrap();
    assert_eq!((report.outcome, report.policy), (Ending::Completed, policy));
    assert!(report.measured.downtime.unwrap() <= ms(30), "{:?}", report.measured);
    assert_eq!(report.measured.downtime.unwrap(), report.measured.phases.sum());
    assert_eq!(report.promise, Some(Promise::Kept));
    assert!(outcome.committed);
}

#[test]
fn an_idle_guest_moves_in_few_rounds() {
    let report = run(setting(Workload { writes: 0, ..CALM })).report.unwrap();
    assert_eq!(report.outcome, Ending::Completed);
    assert!(report.measured.rounds <= 2, "{:?}", report.measured);
}

#[test]
fn a_guest_that_writes_faster_than_the_link_stays_and_loses_nothing() {
    let workload = Workload { writes: 200_000, hot: 2000, ..CALM };
    let mut setting = setting(workload);
    setting.within = Duration::from_secs(5);
    let outcome = run(setting);
    let report = outcome.report.clone().unwrap();
    assert_eq!(report.outcome, Ending::Failed, "{}", report.reason);
    assert!(report.reason.contains("not ready within 5.0 s"), "{}", report.reason);
    assert!(!outcome.committed);
    assert_eq!(report.measured.downtime, None);
    assert_eq!(report.promise, Some(Promise::Refused));
}

#[test]
fn without_headway_it_gives_up_long_before_the_time_is_over() {
    let workload = Workload { writes: 200_000, hot: 2000, ..CALM };
    let mut setting = setting(workload);
    setting.within = Duration::from_secs(600);
    let report = run(setting).report.unwrap();
    assert!(report.reason.contains("as fast as its pages are sent"), "{}", report.reason);
    assert!(report.measured.total < Duration::from_secs(40));
}

#[test]
fn a_link_that_is_slower_than_asked_for_is_refused_before_anything_moves() {
    let mut setting = setting(CALM);
    setting.bandwidth_asked = Some(punctual_units::BytesPerSecond::megabits(2000));
    let report = run(setting).report.unwrap();
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("1 Gbit/s, but 2 Gbit/s was asked for"), "{}", report.reason);
    assert_eq!(report.measured.rounds, 0);
}

#[test]
fn an_interruption_shorter_than_its_fixed_part_is_refused() {
    let mut setting = setting(CALM);
    setting.downtime = ms(5);
    let report = run(setting).report.unwrap();
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("5.0 ms was asked for; ask for at least"), "{}", report.reason);
}

#[test]
fn data_that_arrive_behind_a_scan_are_not_lost() {
    for seed in 1..60 {
        for requests in [1, 8, 64] {
            for policy in Policy::OWN {
                let workload = Workload { requests, ..CALM };
                let mut setting = by(policy, workload);
                setting.seed = seed * 7919;
                setting.downtime = ms(60);
                let outcome = run(setting);
                let report = outcome.report.unwrap();
                assert_eq!(report.outcome, Ending::Completed, "{policy}: {}", report.reason);
            }
        }
    }
}

#[test]
fn digests_are_compared_before_the_commit() {
    let mut setting = setting(CALM);
    setting.verify = true;
    let report = run(setting).report.unwrap();
    assert_eq!(report.ram_digest_equal, Some(true));
    assert!(report.measured.phases.verify > Duration::ZERO);
}
