//! What the source decides by mode, and where the promise turns out to be unreachable.

use punctual_engine::Report;
use punctual_engine::report::{Missed, Throttled};

use super::*;

/// It writes its whole memory faster than the link carries it.
const RESTLESS: Workload = Workload { writes: 200_000, hot: 2000, ..CALM };

fn in_mode(mode: Mode, workload: Workload) -> Setting {
    Setting { mode, bandwidth_asked: Some(setting(workload).bandwidth), ..setting(workload) }
}

fn on_miss(on_miss: OnMiss) -> Setting {
    Setting { on_miss, ..setting(RESTLESS) }
}

fn completed(setting: Setting) -> (Outcome, Report) {
    let outcome = run(setting);
    let report = outcome.report.clone().expect("a move has a report");
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    (outcome, report)
}

#[test]
fn a_machine_that_is_stopped_and_copied_has_no_rounds() {
    let mut setting = in_mode(Mode::StopAndCopy, RESTLESS);
    setting.downtime = ms(150);
    let (outcome, report) = completed(setting.clone());
    assert_eq!((report.measured.rounds, report.promise), (0, Some(Promise::Kept)));
    assert!(outcome.final_pages >= 2000, "{}", outcome.final_pages);

    // 2000 pages take 66 ms.
    setting.downtime = ms(60);
    let report = run(setting.clone()).report.unwrap();
    assert_eq!((report.outcome, report.promise), (Ending::Refused, Some(Promise::Refused)));
    assert!(report.reason.contains("if it is moved by stop-and-copy"), "{}", report.reason);
    assert_eq!(report.measured.downtime, None);
    let (_, report) = completed(Setting { force: true, ..setting.clone() });
    assert_eq!(report.promise, Some(Promise::Broken));

    // Over a link of which nothing is known nothing can be promised.
    setting.bandwidth_asked = None;
    let report = run(setting).report.unwrap();
    assert!(report.reason.contains("the rate of the link is not known"), "{}", report.reason);
}

#[test]
fn pages_follow_a_machine_however_much_it_writes() {
    let (outcome, report) = completed(in_mode(Mode::PostCopy, RESTLESS));
    assert!(outcome.followed);
    assert_eq!((report.measured.rounds, outcome.final_pages), (0, 0));
    assert_eq!(report.promise, Some(Promise::Kept), "{:?}", report.measured);
}

#[test]
fn a_hybrid_lets_pages_follow_only_where_it_has_to() {
    let (outcome, report) = completed(in_mode(Mode::Hybrid, CALM));
    assert!(!outcome.followed);
    assert_eq!(report.promise, Some(Promise::Kept));
    let (outcome, report) = completed(in_mode(Mode::Hybrid, RESTLESS));
    assert!(outcome.followed);
    assert_eq!(report.promise, Some(Promise::Kept), "{:?}", report.measured);
    // Each page went once; to send them again gains nothing.
    assert!((1..=4).contains(&report.measured.rounds), "{}", report.measured.rounds);
}

#[test]
fn where_the_promise_is_missed_the_time_is_doubled_and_the_guest_stopped() {
    let (outcome, report) = completed(on_miss(OnMiss::Extend));
    assert!(!outcome.followed);
    assert_eq!(report.promise, Some(Promise::Broken));
    assert!(report.measured.total <= Duration::from_secs(40), "{:?}", report.measured.total);
    let Some(Missed { at, did: OnMiss::Extend, .. }) = report.measured.missed else {
        panic!("{:?}", report.measured);
    };
    assert!(at >= Duration::from_secs(19), "{at:?}");
    assert!(report.reason.contains("as much time again"), "{}", report.reason);
}

#[test]
fn where_the_promise_is_missed_the_pages_follow() {
    let (outcome, report) = completed(on_miss(OnMiss::PostCopy));
    assert!(outcome.followed);
    assert_eq!(report.measured.missed.as_ref().map(|missed| missed.did), Some(OnMiss::PostCopy));
    assert!(report.measured.downtime.unwrap() <= ms(30), "{:?}", report.measured);
}

#[test]
fn a_guest_is_slowed_down_just_enough() {
    // Twice and eight times what the link carries, in a part of its memory.
    let mut least = Vec::new();
    for writes in [60_000, 240_000] {
        let workload = Workload { writes, hot: 1900, ..CALM };
        let mut setting = Setting { workload, ..on_miss(OnMiss::Throttle) };
        setting.within = Duration::from_secs(60);
        let (outcome, report) = completed(setting);
        assert!(!outcome.followed);
        assert_eq!(report.promise, Some(Promise::Kept), "{:?}", report.measured);
        let Some(Throttled { share, time, lost }) = report.measured.throttled else {
            panic!("{:?}", report.measured);
        };
        assert!(lost < time && time < report.measured.total / 2, "{:?}", report.measured);
        assert!(report.reason.contains("the guest was slowed down"), "{}", report.reason);
        least.push(share);
    }
    assert!(least[1] < least[0], "{least:?}");
}

#[test]
fn a_guest_that_does_not_have_to_is_not_slowed_down() {
    let report = run(Setting { on_miss: OnMiss::Throttle, ..setting(CALM) }).report.unwrap();
    assert_eq!((report.measured.throttled, report.measured.missed), (None, None));
}

#[test]
fn the_rules_of_the_field_stop_where_they_would() {
    for policy in [Policy::Xen, Policy::Qemu] {
        let (_, report) = completed(by(policy, CALM));
        assert_eq!(report.policy, policy);
        assert!(report.measured.rounds <= 29, "{policy}: {}", report.measured.rounds);
    }
    // Xen forces it: three times the memory, and a long interruption.
    let (outcome, report) = completed(by(Policy::Xen, RESTLESS));
    assert_eq!(report.promise, Some(Promise::Broken));
    assert!((3..=5).contains(&report.measured.rounds), "{}", report.measured.rounds);
    assert!(outcome.final_pages > 1900, "{}", outcome.final_pages);
    // QEMU never stops.
    let report = run(by(Policy::Qemu, RESTLESS)).report.unwrap();
    assert_eq!((report.outcome, report.promise), (Ending::Failed, Some(Promise::Refused)));
    assert!(report.reason.contains("not ready within 20.0 s"), "{}", report.reason);
}

#[test]
fn a_guest_that_never_calms_down_keeps_nobody_busy() {
    // It writes a few pages all the time: rounds take two milliseconds, and 15,900 of them were sent
    // before it was given up.
    let workload = Workload { writes: 100_000, hot: 60, ..CALM };
    let mut setting = Setting { downtime: ms(17), ..setting(workload) };
    setting.within = Duration::from_secs(600);
    let report = run(setting).report.unwrap();
    assert!(report.reason.contains("as fast as its pages are sent"), "{}", report.reason);
    assert!(report.measured.rounds < 6000, "{:?}", report.measured);
}
