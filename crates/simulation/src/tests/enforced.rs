//! A guest is not kept stopped for much longer than was promised.

use punctual_engine::{Phase, Report};
use punctual_units::BytesPerSecond;

use super::*;
use crate::fault::{Fault, FaultKind, Way, When};

/// All is copied while the guest is stopped, which takes some 80 ms.
fn stopped_for_long() -> Setting {
    let bandwidth_asked = Some(setting(CALM).bandwidth);
    Setting { mode: Mode::StopAndCopy, bandwidth_asked, downtime: ms(100), ..setting(CALM) }
}

/// The move, in which this happens when it comes to a phase.
fn struck(setting: Setting, phase: Phase, points: u32, kind: FaultKind) -> Report {
    let faults = vec![Fault { when: When::Phase { phase, points }, kind }];
    run(Setting { faults, ..setting }).report.expect("it has come to an end")
}

fn cut(milliseconds: u64) -> FaultKind {
    FaultKind::Cut { way: Way::Both, lasts: ms(milliseconds) }
}

fn slow(megabits: u64) -> FaultKind {
    FaultKind::Slow { rate: BytesPerSecond::megabits(megabits), lasts: Duration::from_secs(60) }
}

#[track_caller]
fn runs_on_here(report: &Report, within: Duration) {
    assert_eq!(report.outcome, Ending::Failed, "{:?}", report.measured);
    assert_eq!(report.promise, Some(Promise::Broken));
    let stopped = report.measured.downtime.expect("it was stopped");
    assert!(stopped <= within, "{stopped:?}: {}", report.reason);
    assert!(report.reason.contains("the guest had been stopped for"), "{}", report.reason);
    assert!(report.reason.contains("it runs on here"), "{}", report.reason);
}

#[test]
fn a_stop_that_stands_still_is_given_up() {
    // Whatever is under way when nothing gets through any more.
    for (setting, phase, points) in [
        (setting(CALM), Phase::FinalCopy, 0),
        (setting(CALM), Phase::HandingOver, 0),
        (stopped_for_long(), Phase::FinalCopy, 40),
        (stopped_for_long(), Phase::HandingOver, 0),
    ] {
        let report = struck(setting.clone(), phase, points, cut(5000));
        runs_on_here(&report, ms(520));
        // Nothing is in the way of the next attempt.
        assert_eq!(run(setting).report.unwrap().outcome, Ending::Completed);
    }
}

#[test]
fn a_stop_that_has_far_to_go_is_given_up_as_soon_as_its_promise_is_broken() {
    let setting = stopped_for_long();
    let report = struck(setting.clone(), Phase::FinalCopy, 0, slow(100));
    runs_on_here(&report, setting.downtime + ms(50));
    assert!(report.measured.downtime.unwrap() > setting.downtime, "it might still have been kept");
    assert!(report.reason.contains("and would have been for"), "{}", report.reason);
    // Where long was promised, it is what counts.
    let mut forced = Setting { force: true, downtime: ms(20), ..stopped_for_long() };
    assert_eq!(run(forced.clone()).report.unwrap().outcome, Ending::Completed);
    forced.bandwidth = BytesPerSecond::megabits(50);
    forced.bandwidth_asked = Some(forced.bandwidth);
    let report = run(forced).report.unwrap();
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert!(report.measured.downtime.unwrap() > Duration::from_secs(1));
}

#[test]
fn a_stop_that_is_nearly_over_is_let_end() {
    let late = [
        struck(stopped_for_long(), Phase::FinalCopy, 0, slow(600)),
        struck(stopped_for_long(), Phase::FinalCopy, 110, cut(60)),
        struck(stopped_for_long(), Phase::HandingOver, 0, cut(200)),
    ];
    for report in late {
        assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
        assert_eq!(report.promise, Some(Promise::Broken));
    }
}
