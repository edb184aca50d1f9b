//! What is done with a machine whose promise turns out to be unreachable.

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_engine::report::{Ending, OnMiss, Policy, Report};
use punctual_guest::fake::{Call, Fake};
use punctual_units::{Bytes, BytesPerSecond, Probability};

use crate::support::{Attempt, Writing, admit, layout, running};

/// Moves a machine that writes many times what the link carries, however busy this computer is.
fn moves(on_miss: OnMiss, prepare: impl FnOnce(&Fake)) -> (Report, Fake) {
    let layout = layout(Bytes::mib(16));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    prepare(&here);
    let writing = Writing::begin(&here, 800, Duration::from_micros(100));
    let mut attempt = Attempt::new(&layout);
    attempt.rate = Some(BytesPerSecond::megabits(50));
    attempt.offer.downtime = Duration::from_millis(150);
    attempt.request.strategy = Policy::PreCopy.strategy();
    attempt.request.fixed = FixedCost::NONE;
    (attempt.request.within, attempt.request.on_miss) = (Duration::from_secs(20), on_miss);
    let (emigration, _) = attempt.run(Box::new(here.source()), admit(there.destination()));
    drop(writing);
    (emigration.report().clone(), here)
}

#[test]
fn a_guest_is_slowed_down_until_it_can_be_moved() {
    let (report, here) = moves(OnMiss::Throttle, |_| ());
    assert_eq!(report.outcome, Ending::Completed, "{report:?}");
    assert_eq!(report.measured.missed.map(|missed| missed.did), Some(OnMiss::Throttle));
    let throttled = report.measured.throttled.unwrap();
    assert!(throttled.share < Probability::ONE && throttled.lost < throttled.time);
    assert!(here.calls().contains(&Call::Throttle));
    assert_eq!(here.share(), Probability::ONE, "it would run freely");
}

#[test]
fn a_guest_that_cannot_be_slowed_down_stays_and_it_is_said_why() {
    let (report, here) = moves(OnMiss::Throttle, |here| here.fail_next(Call::Throttle, 100));
    assert_eq!(report.outcome, Ending::Failed, "{report:?}");
    assert!(report.reason.contains("a fault made by the test"), "{}", report.reason);
    assert_eq!((report.measured.throttled, here.share()), (None, Probability::ONE));
}
