//! Processes that write their memory, traced by the very same tracer as QEMU, moved while they do.

use std::time::Duration;

use punctual_engine::report::{Ending, Policy};
use punctual_engine::{Emigration, Immigration};
use punctual_guest::SourceMachine;
use punctual_guest::process::{Process, ProcessDestination, ProcessSource, Setup, Workload};
use punctual_model::Heat;
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PageSet};

use crate::support::{Attempt, admit, layout};

pub(crate) struct Host {
    directory: tempfile::TempDir,
    worker: std::path::PathBuf,
}

impl Host {
    /// `None`, and a word about it, where the worker has not been built.
    pub(crate) fn new() -> Option<Self> {
        match Process::worker() {
            Ok(worker) => {
                Some(Self { directory: tempfile::tempdir_in("/dev/shm").unwrap(), worker })
            }
            Err(error) => {
                eprintln!("SKIP: {error}");
                None
            }
        }
    }

    pub(crate) fn setup(&self, layout: &MemoryLayout) -> Setup {
        Setup {
            name: "vm1".to_owned(),
            layout: layout.clone(),
            directory: self.directory.path().to_owned(),
            worker: self.worker.clone(),
        }
    }
}

fn moves(workload: Workload, bandwidth: Option<BytesPerSecond>, rate: Option<BytesPerSecond>) {
    for policy in Policy::OWN {
        moves_by(policy, workload, bandwidth, rate);
    }
}

/// Looks at a machine for a moment, before it is moved.
fn watched(machine: &mut ProcessSource) -> Heat {
    let pages = machine.ram().layout().pages();
    let mut heat = Heat::new(pages);
    machine.start_tracing().unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        let mut written = PageSet::empty(pages);
        machine.collect_written(&mut written).unwrap();
        heat.record(begun.elapsed(), written.ranges());
    }
    heat
}

fn moves_by(
    policy: Policy,
    workload: Workload,
    bandwidth: Option<BytesPerSecond>,
    rate: Option<BytesPerSecond>,
) {
    let (Some(a), Some(b)) = (Host::new(), Host::new()) else { return };
    let layout = layout(Bytes::mib(32));
    let here = Process::run(&a.setup(&layout), 7, workload).unwrap();
    let there = Process::wait(&b.setup(&layout)).unwrap();
    let mut attempt = Attempt::new(&layout);
    attempt.offer.bandwidth = bandwidth;
    attempt.rate = rate;
    let mut machine = Box::new(ProcessSource::new(here.clone()));
    (attempt.request.policy, attempt.request.strategy) = (policy, policy.strategy());
    attempt.request.heat = Some(watched(&mut machine));
    let (emigration, immigration) =
        attempt.run(machine, admit(ProcessDestination::new(there.clone())));
    let Emigration::Moved { report, surrendered, .. } = emigration else {
        panic!("{emigration:?}")
    };
    eprintln!("{policy}, {workload:?}: {:?}", report.measured);
    assert!(matches!(immigration, Immigration::Runs { .. }), "{immigration:?}");
    assert_eq!(report.outcome, Ending::Completed);
    assert_eq!(report.ram_digest_equal, Some(true));
    surrendered.remove().unwrap();
    there.check().unwrap();
    let before = there.writes().unwrap();
    if workload != Workload::Idle {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while there.writes().unwrap() == before {
            assert!(std::time::Instant::now() < deadline, "it goes on to write there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    there.check().unwrap();
}

#[test]
fn an_idle_process_moves() {
    moves(Workload::Idle, None, None);
}

#[test]
fn a_process_that_writes_moves_raw() {
    moves(Workload::Uniform { writes_per_second: 20_000 }, None, None);
}

#[test]
fn a_process_that_writes_moves_packed_over_a_slow_link() {
    // Asked for less than there is: on a busy machine the link is measured slower than it is.
    let (asked, rate) = (BytesPerSecond::megabits(200), BytesPerSecond::megabits(1000));
    moves(Workload::HotCold { writes_per_second: 20_000 }, Some(asked), Some(rate));
}
