//! Moves in which pages follow the machine.

use std::time::{Duration, Instant};

use punctual_engine::post_copy::{Depending, Served};
use punctual_engine::report::{Ending, Mode};
use punctual_engine::{Emigration, Entry, Following, Immigration, Report};
use punctual_guest::Surrendered;
use punctual_guest::process::{Process, ProcessDestination, ProcessSource, Workload};
use punctual_units::{Bytes, BytesPerSecond, Pages};

use crate::processes::Host;
use crate::support::{ATTEMPT, Attempt, admit, layout};

const PATIENCE: Duration = Duration::from_secs(60);

/// A move up to where the machine runs at the destination, and lacks pages.
struct Handed {
    report: Report,
    left: Box<dyn Surrendered>,
    following: Following,
    depending: Depending,
}

fn handed_over((emigration, immigration): (Emigration, Immigration)) -> Handed {
    let Emigration::Moved { report, surrendered: left, following } = emigration else {
        panic!("{emigration:?}")
    };
    let Immigration::Runs { depending, machine } = immigration else { panic!("{immigration:?}") };
    // The process goes on without whoever started it.
    drop(machine);
    let following = following.expect("pages follow");
    Handed { report, left, following, depending: depending.expect("pages are missing") }
}

/// Waits until nothing is missing, and tells the source so.
fn whole(handed: Handed) -> (Report, Served) {
    let Handed { report, left, following, depending } = handed;
    depending.wait(PATIENCE).expect("it becomes whole").expect("the machine is there");
    depending.tell_whole();
    let served = following.serving.wait(PATIENCE).expect("it is told").expect("it is whole");
    drop(following);
    left.remove().unwrap();
    (report, served)
}

fn attempt(bytes: Bytes, mode: Mode) -> Attempt<'static> {
    let mut attempt = Attempt::new(&layout(bytes));
    attempt.offer.post_copy = true;
    attempt.request.mode = mode;
    attempt
}

fn goes_on(there: &Process) {
    let before = there.writes().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while there.writes().unwrap() == before {
        assert!(Instant::now() < deadline, "it goes on to write there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_process_runs_before_its_pages_are_there_and_gets_each_of_them() {
    let (Some(a), Some(b)) = (Host::new(), Host::new()) else { return };
    let size = Bytes::mib(64);
    let workload = Workload::Uniform { writes_per_second: 5_000 };
    let here = Process::run(&a.setup(&layout(size)), 7, workload).unwrap();
    let there = Process::wait(&b.setup(&layout(size))).unwrap();
    let mut attempt = attempt(size, Mode::PostCopy);
    attempt.rate = Some(BytesPerSecond::megabits(1000));
    let machine = Box::new(ProcessSource::new(here.clone()));
    let handed = handed_over(attempt.run(machine, admit(ProcessDestination::new(there.clone()))));
    assert!(handed.following.missing > Pages::new(1000), "{:?}", handed.following.missing);
    let log = attempt.log.entries.lock().unwrap().clone();
    let place = |entry: &Entry| log.iter().position(|one| one == entry);
    let owing = place(&Entry::Owing { migration: ATTEMPT });
    let committed = place(&Entry::Committed { migration: ATTEMPT });
    assert!(owing.is_some() && owing < committed, "{log:?}");
    assert!(!log.contains(&Entry::Surrendered { migration: ATTEMPT }), "it still owes pages");
    let (report, served) = whole(handed);
    eprintln!("{:?}, then {served:?}", report.measured);
    assert_eq!(report.outcome, Ending::Completed);
    assert_eq!((report.ram_digest_equal, served.digest_equal), (Some(true), Some(true)));
    there.check().unwrap();
    goes_on(&there);
    there.check().unwrap();
}

#[test]
fn a_process_that_writes_faster_than_the_link_moves_by_the_hybrid_way() {
    let (Some(a), Some(b)) = (Host::new(), Host::new()) else { return };
    let size = Bytes::mib(32);
    let workload = Workload::Uniform { writes_per_second: 100_000 };
    let here = Process::run(&a.setup(&layout(size)), 7, workload).unwrap();
    let there = Process::wait(&b.setup(&layout(size))).unwrap();
    let mut attempt = attempt(size, Mode::Hybrid);
    // A busy computer keeps it, and all that this guest writes takes longer to send.
    attempt.offer.downtime = Duration::from_secs(1);
    attempt.rate = Some(BytesPerSecond::megabits(150));
    let machine = Box::new(ProcessSource::new(here.clone()));
    let handed = handed_over(attempt.run(machine, admit(ProcessDestination::new(there.clone()))));
    assert!(handed.report.measured.rounds >= 1, "{:?}", handed.report.measured);
    let (report, served) = whole(handed);
    eprintln!("{:?}, then {served:?}", report.measured);
    assert_eq!((report.ram_digest_equal, served.digest_equal), (Some(true), Some(true)));
    there.check().unwrap();
    goes_on(&there);
    there.check().unwrap();
}

#[test]
fn what_pages_that_follow_make_the_interruption_longer_by_counts_before_anything_is_stopped() {
    let (Some(a), Some(b)) = (Host::new(), Host::new()) else { return };
    let size = Bytes::mib(8);
    let here = Process::run(&a.setup(&layout(size)), 7, Workload::Idle).unwrap();
    let there = Process::wait(&b.setup(&layout(size))).unwrap();
    let mut attempt = attempt(size, Mode::PostCopy);
    attempt.request.following = attempt.offer.downtime;
    let machine = Box::new(ProcessSource::new(here.clone()));
    let (emigration, _) = attempt.run(machine, admit(ProcessDestination::new(there)));
    let Emigration::Stayed { report, .. } = emigration else { panic!("{emigration:?}") };
    assert_eq!((report.outcome, report.measured.downtime), (Ending::Refused, None), "{report:?}");
}
