//! Moves in which something goes wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use punctual_engine::report::{Ending, Holder};
use punctual_engine::{
    Cancel, Connection, Emigration, Immigration, Journal, Phase, SourceHost, emigrate,
};
use punctual_guest::fake::{Call, Fake, Status};
use punctual_link::Incoming;
use punctual_units::Bytes;
use punctual_wire::{DestinationMessage, Outcome, SourceMessage};

use crate::support::{
    At, Attempt, Log, OnCommit, Writing, admit, connect, layout, page_lines, receive, running,
};

const PHASES: [Phase; 7] = [
    Phase::Offering,
    Phase::Preparing,
    Phase::Copying,
    Phase::Stopping,
    Phase::FinalCopy,
    Phase::HandingOver,
    Phase::Committing,
];

/// Whatever happened, one machine runs, with all content, and the log says which.
fn check(here: &Fake, there: &Fake, log: &Log, emigration: &Emigration, at: Phase) {
    let owner = emigration.report().owner;
    match log.outcome() {
        Outcome::Committed => {
            assert_eq!(owner, Holder::Destination, "{at}: {emigration:?}");
            assert_eq!(there.status(), Status::Running, "{at}");
            assert_eq!(here.status(), Status::Surrendered, "{at}");
            assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap(), "{at}");
        }
        Outcome::Aborted => {
            assert_eq!(owner, Holder::Source, "{at}: {emigration:?}");
            assert_eq!(here.status(), Status::Running, "{at}: {emigration:?}");
            assert_ne!(there.status(), Status::Running, "{at}");
        }
        Outcome::Undecided => panic!("{at}: the attempt has ended"),
    }
}

/// The machine that stayed can be moved at once.
fn moves_now(here: &Fake, emigration: Emigration) {
    let Emigration::Stayed { machine, .. } = emigration else { return };
    let layout = here.ram().layout().clone();
    let there = Fake::waiting("web", layout.clone()).unwrap();
    let (again, _) = Attempt::new(&layout).run(machine, admit(there.destination()));
    assert_eq!(again.report().outcome, Ending::Completed, "{again:?}");
    assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap());
}

#[test]
fn a_move_can_be_cancelled_in_each_phase_before_the_commit() {
    let layout = layout(Bytes::mib(4));
    for phase in PHASES {
        let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
        let writing = Writing::begin(&here, 50, Duration::from_micros(500));
        let mut attempt = Attempt::new(&layout);
        let cancel = attempt.cancel.clone();
        let observer = At::new(phase, move || cancel.cancel());
        attempt.observer = &observer;
        let (emigration, _) = attempt.run(Box::new(here.source()), admit(there.destination()));
        check(&here, &there, &attempt.log, &emigration, phase);
        if phase < Phase::Committing {
            assert_eq!(emigration.report().outcome, Ending::Cancelled, "{phase}: {emigration:?}");
        }
        drop(writing);
        moves_now(&here, emigration);
    }
}

#[test]
fn a_link_that_is_cut_in_any_phase_leaves_one_owner() {
    let layout = layout(Bytes::mib(4));
    for phase in PHASES.into_iter().chain([Phase::Settling]) {
        let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
        let writing = Writing::begin(&here, 50, Duration::from_micros(500));
        let links = connect();
        let closer = links.0.closer();
        let mut attempt = Attempt::new(&layout);
        let observer = At::new(phase, move || closer.close());
        attempt.observer = &observer;
        let (emigration, _) =
            attempt.run_over(links, Box::new(here.source()), admit(there.destination()));
        check(&here, &there, &attempt.log, &emigration, phase);
        drop(writing);
        moves_now(&here, emigration);
    }
}

#[test]
fn a_machine_that_does_not_do_as_asked_stays_or_is_discarded() {
    let layout = layout(Bytes::mib(4));
    let at_source = [
        Call::StartTracing,
        Call::CollectWritten,
        Call::CollectWrittenAmong,
        Call::Settle,
        Call::PrepareStop,
        Call::Stop,
        Call::SaveDeviceState,
    ];
    for call in at_source.into_iter().chain([Call::DeviceState, Call::WaitLoaded]) {
        let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
        if at_source.contains(&call) { &here } else { &there }.fail_next(call, 1);
        let attempt = Attempt::new(&layout);
        let (emigration, immigration) =
            attempt.run(Box::new(here.source()), admit(there.destination()));
        check(&here, &there, &attempt.log, &emigration, Phase::Ended);
        assert_eq!(emigration.report().outcome, Ending::Failed, "{call:?}: {emigration:?}");
        assert!(emigration.report().reason.contains("a fault made by the test"), "{emigration:?}");
        assert!(matches!(immigration, Immigration::Discarded { .. }), "{call:?}: {immigration:?}");
        moves_now(&here, emigration);
    }
}

#[test]
fn a_committed_machine_that_cannot_run_is_kept_and_reported() {
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    there.fail_next(Call::Resume, 1);
    let attempt = Attempt::new(&layout);
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    let Immigration::Stuck { reason, .. } = &immigration else { panic!("{immigration:?}") };
    assert!(reason.contains("resume it by hand"), "{reason}");
    let report = emigration.report();
    assert_eq!((report.outcome, report.owner), (Ending::Failed, Holder::Destination));
    assert_eq!((here.status(), there.status()), (Status::Surrendered, Status::Loaded));
}

#[test]
fn a_full_log_keeps_the_machine_at_the_source() {
    let layout = layout(Bytes::mib(4));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    let mut attempt = Attempt::new(&layout);
    attempt.log = Log::new(OnCommit::Fail);
    let (emigration, immigration) =
        attempt.run(Box::new(here.source()), admit(there.destination()));
    check(&here, &there, &attempt.log, &emigration, Phase::Committing);
    assert!(emigration.report().reason.contains("the disk is full"), "{emigration:?}");
    assert!(matches!(immigration, Immigration::Discarded { .. }), "{immigration:?}");
    moves_now(&here, emigration);
}

#[test]
fn in_doubt_about_the_commit_both_sides_wait_for_the_log() {
    let layout = layout(Bytes::mib(4));
    for recorded in [false, true] {
        let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
        let mut attempt = Attempt::new(&layout);
        attempt.log = Log::new(OnCommit::Doubt { recorded });
        let (emigration, immigration) =
            attempt.run(Box::new(here.source()), admit(there.destination()));
        let Emigration::Unknown { report, machine } = emigration else { panic!("{emigration:?}") };
        assert_eq!(report.owner, Holder::Unknown);
        assert!(matches!(here.status(), Status::Saved), "it stays paused");
        let outcome = attempt.log.outcome();
        if recorded {
            assert!(matches!(immigration, Immigration::Runs { .. }));
            let machine = machine.reclaim(outcome).err().unwrap();
            drop(machine.surrender());
            assert_eq!(here.status(), Status::Surrendered);
        } else {
            assert!(matches!(immigration, Immigration::Discarded { .. }));
            machine.reclaim(outcome).ok().unwrap().resume().unwrap();
            assert_eq!(here.status(), Status::Running);
        }
    }
}

/// A destination that takes everything and never gets ready.
fn never_ready(link: punctual_link::Link) {
    let (mut sender, mut receiver) = link.split();
    let Ok(SourceMessage::Offer(offer)) = receiver.receive_message() else { return };
    sender.send(&DestinationMessage::Accepted { command_line: vec![] }).unwrap();
    sender.send(&DestinationMessage::Prepared).unwrap();
    loop {
        let round_ended = match receiver.receive::<SourceMessage>(&offer.layout) {
            Ok(Incoming::RawPages(pages)) => {
                let mut buffer = vec![0; pages.pages().len().bytes().get() as usize];
                pages.take_into(&mut buffer).is_err()
            }
            Ok(Incoming::Packed(_)) => false,
            Ok(Incoming::Message(message)) => matches!(message, SourceMessage::RoundEnd { .. }),
            Err(_) => return,
        };
        let bytes = receiver.received();
        if round_ended && sender.send(&DestinationMessage::Received { bytes }).is_err() {
            return;
        }
    }
}

#[test]
fn a_guest_is_not_kept_stopped_by_a_destination_that_does_not_answer() {
    let layout = layout(Bytes::mib(4));
    let here = running(&layout);
    let mut attempt = Attempt::new(&layout);
    attempt.offer.downtime = Duration::from_millis(100);
    attempt.offer.verify = false;
    let (link, other) = connect();
    let destination = std::thread::spawn(move || never_ready(other));
    let machine = Box::new(here.source());
    let cancel = Cancel::new();
    let emigration =
        emigrate(machine, link, attempt.offer, &attempt.request, host(&attempt.log, &cancel));
    destination.join().unwrap();
    let report = emigration.report();
    assert_eq!((report.outcome, report.owner), (Ending::Failed, Holder::Source), "{report:?}");
    assert!(report.reason.contains("while handing-over, the guest had been stopped"), "{report:?}");
    assert_eq!(report.measured.downtime, Some(report.measured.phases.sum()));
    assert_eq!(here.status(), Status::Running);
    moves_now(&here, emigration);
}

#[test]
fn a_source_that_dies_at_the_commit_leaves_one_owner() {
    let layout = layout(Bytes::mib(4));
    for recorded in [false, true] {
        let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
        let attempt = Attempt::new(&layout);
        let log = Log::new(OnCommit::Crash { recorded });
        let (link, other) = connect();
        let destination = receive(other, admit(there.destination()), log.clone(), page_lines().1);
        let link = Mutex::new(Some(Connection::from(link)));
        let died = catch_unwind(AssertUnwindSafe(|| {
            let link = link.lock().unwrap().take().unwrap();
            let machine = Box::new(here.source());
            let cancel = Cancel::new();
            emigrate(machine, link, attempt.offer.clone(), &attempt.request, host(&log, &cancel))
        }));
        assert!(died.is_err());
        // The daemon is started again.
        log.under_way.store(false, Ordering::SeqCst);
        let immigration = destination.join().unwrap();
        if recorded {
            assert!(matches!(immigration, Immigration::Runs { .. }), "{immigration:?}");
            assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap());
        } else {
            assert!(matches!(immigration, Immigration::Discarded { .. }), "{immigration:?}");
            assert_eq!(there.status(), Status::Gone);
        }
        assert_eq!(here.status(), Status::Saved, "nobody but the daemon lets it run again");
    }
}

fn host<'a>(journal: &'a dyn Journal, cancel: &'a Cancel) -> SourceHost<'a> {
    SourceHost { journal, observer: &(), cancel, dial: None }
}
