//! Whole moves over loopback: the drivers with fake machines, and with processes that are traced as
//! QEMU is.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod faults;
mod misses;
mod policies;
mod post_copy;
mod processes;
mod support;

use std::time::Duration;

use punctual_engine::report::{Ending, Holder};
use punctual_engine::{Emigration, Entry, Immigration, Observer, Phase, Progress};
use punctual_guest::Settled;
use punctual_guest::fake::{Fake, Status};
use punctual_units::{Bytes, BytesPerSecond};
use punctual_wire::Refusal;
use support::{Attempt, Writing, admit, layout, running};

#[test]
fn a_machine_that_writes_moves_with_all_its_content() {
    let layout = layout(Bytes::mib(16));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let writing = Writing::begin(&here, 200, Duration::from_micros(200));
    let attempt = Attempt::new(&layout);
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    drop(writing);

    let Emigration::Moved { report, surrendered, .. } = emigration else {
        panic!("{emigration:?}")
    };
    assert!(matches!(immigration, Immigration::Runs { .. }), "{immigration:?}");
    assert_eq!((report.outcome, report.owner), (Ending::Completed, Holder::Destination));
    assert_eq!(report.ram_digest_equal, Some(true));
    assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap());
    assert_eq!(here.registers(), there.registers());
    assert_eq!((here.status(), there.status()), (Status::Surrendered, Status::Running));
    assert_eq!(report.measured.downtime.unwrap(), report.measured.phases.sum());
    assert!(report.measured.rounds >= 2 && !report.samples.is_empty(), "{report:?}");
    let committed = Entry::Committed { migration: support::ATTEMPT };
    assert!(attempt.log.entries.lock().unwrap().contains(&committed));
    surrendered.remove().unwrap();
}

#[test]
fn untouched_memory_costs_nothing_and_text_is_packed() {
    let layout = layout(Bytes::mib(64));
    let here = Fake::running("web", layout.clone()).unwrap();
    for page in 0..1000 {
        here.guest_writes(punctual_units::PageIndex(page), Bytes::ZERO, &[b'x'; 4096]);
    }
    let there = Fake::waiting("web", layout.clone()).unwrap();
    let mut attempt = Attempt::new(&layout);
    attempt.offer.bandwidth = Some(BytesPerSecond::megabits(500));
    let (emigration, _) = attempt.run(Box::new(here.source()), admit(there.destination()));
    let report = emigration.report();
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert!(report.measured.pages_sent.get() < 1100, "{:?}", report.measured);
    // The probe of the link is by far the most of it.
    assert!(report.measured.wire_bytes < Bytes::mib(8), "{:?}", report.measured);
}

#[test]
fn disks_with_direct_io_are_settled_before_the_first_page_and_before_the_stop() {
    use punctual_guest::fake::Call;
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    here.set_settled(Settled::SeenIdle);
    let (emigration, _) =
        Attempt::new(&layout).run(Box::new(here.source()), admit(there.destination()));
    assert_eq!(emigration.report().outcome, Ending::Completed, "{emigration:?}");
    let calls = here.calls();
    let position = |wanted| calls.iter().position(|call| *call == wanted).unwrap();
    assert!(position(Call::StartTracing) < position(Call::Settle));
    assert!(position(Call::Settle) < position(Call::CollectWritten));
    assert!(calls.iter().filter(|call| **call == Call::Settle).count() >= 2, "{calls:?}");
}

#[test]
fn a_guest_that_writes_faster_than_the_link_stays_and_a_second_attempt_moves_it() {
    let layout = layout(Bytes::mib(8));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let writing = Writing::begin(&here, 1024, Duration::ZERO);
    let mut attempt = Attempt::new(&layout);
    attempt.rate = Some(BytesPerSecond::megabits(50));
    attempt.offer.downtime = Duration::from_millis(30);
    attempt.request.within = Duration::from_secs(3);
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    let Emigration::Stayed { report, machine, .. } = emigration else { panic!("{emigration:?}") };
    assert_eq!((report.outcome, report.owner), (Ending::Failed, Holder::Source));
    assert!(report.reason.contains("more bandwidth"), "{}", report.reason);
    assert!(matches!(immigration, Immigration::Discarded { .. }), "{immigration:?}");
    assert_eq!((here.status(), there.status()), (Status::Running, Status::Gone));

    drop(writing);
    let there = Fake::waiting("web", layout.clone()).unwrap();
    let (emigration, _) = Attempt::new(&layout).run(machine, admit(there.destination()));
    assert_eq!(emigration.report().outcome, Ending::Completed, "{emigration:?}");
    assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap());
}

#[test]
fn a_slow_link_is_refused_before_anything_is_touched() {
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let mut attempt = Attempt::new(&layout);
    attempt.rate = Some(BytesPerSecond::megabits(80));
    attempt.offer.bandwidth = Some(BytesPerSecond::megabits(1000));
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    let report = emigration.report();
    assert_eq!(report.outcome, Ending::Refused, "{report:?}");
    assert!(report.reason.contains("but 1 Gbit/s was asked for"), "{}", report.reason);
    assert!(matches!(immigration, Immigration::NothingStarted { .. }), "{immigration:?}");
    assert_eq!(here.calls(), vec![]);
    assert_eq!(there.calls(), vec![]);
}

#[test]
fn a_refusal_comes_with_its_remedy() {
    let layout = layout(Bytes::mib(4));
    let here = running(&layout);
    let refusal = Refusal {
        code: "name-taken".to_owned(),
        reason: "host `b` has a machine `web` already".to_owned(),
        remedy: "rename one of them".to_owned(),
    };
    let prepare = Box::new(move || Err(vec![refusal]));
    let (emigration, _) = Attempt::new(&layout).run(Box::new(here.source()), prepare);
    let report = emigration.report();
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("already; rename one of them"), "{}", report.reason);
    assert_eq!(here.calls(), vec![]);
}

#[test]
fn a_rehearsal_shows_the_command_line_and_moves_nothing() {
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let mut attempt = Attempt::new(&layout);
    attempt.offer.dry_run = true;
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    let Emigration::Stayed { report, command_line, .. } = emigration else { panic!() };
    assert_eq!((report.outcome, command_line), (Ending::Completed, Some(vec!["qemu".to_owned()])));
    assert!(matches!(immigration, Immigration::NothingStarted { .. }));
    assert_eq!((here.calls(), there.calls()), (vec![], vec![]));
}

/// Notes each phase once.
#[derive(Default)]
struct Phases(std::sync::Mutex<Vec<Phase>>);

impl Observer for Phases {
    fn progress(&self, progress: &Progress) {
        let mut phases = self.0.lock().unwrap();
        if phases.last() != Some(&progress.phase) {
            phases.push(progress.phase);
        }
    }
}

#[test]
fn whoever_watches_sees_each_phase() {
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let watching = Phases::default();
    let mut attempt = Attempt::new(&layout);
    attempt.observer = &watching;
    drop(attempt.run(Box::new(here.source()), admit(there.destination())));
    let phases = watching.0.into_inner().unwrap();
    assert_eq!(
        phases,
        [
            Phase::Offering,
            Phase::Preparing,
            Phase::Copying,
            Phase::Stopping,
            Phase::FinalCopy,
            Phase::HandingOver,
            Phase::Committing,
            Phase::Committed,
            Phase::Ended,
        ]
    );
}
