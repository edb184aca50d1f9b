//! A guest whose pages are still at the source when the daemon that fetches them is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use punctual_guest::demand::Demand;
use punctual_guest::qemu::{Destination, Machine};
use punctual_guest::{DestinationMachine, Ram, SourceMachine};
use punctual_units::{PageRange, PageSet};

use crate::support::{
    Host, PATIENCE, bare_metal_spec, destination, for_each_kind, process_of, run, source,
    wait_growth,
};

/// How often a thread that answers faults looks whether it is to end.
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn a_guest_runs_on_when_the_next_daemon_fetches_its_pages() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let mut here = source(run(&bare_metal_spec(kind, a.runtime.path()), &a));
        wait_growth(&a.serial_log("bare"));
        let mut there = destination(&here, &b);
        here.prepare_stop().unwrap();
        let mut stopped = here.stop().unwrap();
        here.save_device_state().unwrap();
        let mut state = Vec::new();
        stopped.device_state.read_to_end(&mut state).unwrap();

        let missing = here.ram().populated().unwrap();
        let demand = there.page_on_demand(&missing).unwrap();
        let from = here.ram().clone();
        let ((), faults) = while_answered(&*demand, &from, || {
            let mut sink = there.device_state().unwrap();
            sink.write_all(&state).unwrap();
            drop(sink);
            there.wait_loaded(PATIENCE).unwrap();
            there.resume().unwrap();
            wait_growth(&b.serial_log("bare"));
        });
        let left = demand.missing().len();
        println!(
            "{faults} faults answered, {left} of {} left at the end of a daemon",
            missing.len()
        );
        let monitor = there.qmp().path().to_owned();
        drop((demand, there));

        let demand = take_over(&b).expect("pages are missing still");
        assert_eq!(demand.missing().len(), left, "what has been filled is known");
        // It works, and checks its memory, before anything has been pushed.
        let ((), faults) = while_answered(&*demand, &from, || {
            wait_growth(&b.serial_log("bare"));
            push(&*demand, &from, &missing);
            demand.finish().unwrap();
        });
        println!("{faults} faults answered by the next");
        assert!(take_over(&b).is_none(), "it depends on nobody any more");
        here.surrender().remove().unwrap();
        wait_for_sweeps(&b);
        Machine::attach(&monitor).unwrap().quit().unwrap();
        b.assert_empty();
    });
}

/// What the next daemon does, without asking QEMU.
fn take_over(host: &Host) -> Option<Arc<dyn Demand>> {
    let directory = host.places().directory("bare");
    let process = process_of(&directory);
    Destination::take_over(&directory.join("qmp.sock"), process.as_ref()).unwrap()
}

/// Answers every fault while `work` is done. The second result is how many there were.
fn while_answered<T>(demand: &dyn Demand, from: &Ram, work: impl FnOnce() -> T) -> (T, u64) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| answer(demand, from, &ended));
        let done = {
            let _end = End(&ended);
            work()
        };
        (done, answers.join().unwrap())
    })
}

/// Ends the answers, also where the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn answer(demand: &dyn Demand, from: &Ram, ended: &AtomicBool) -> u64 {
    let mut faults = 0;
    while !ended.load(Ordering::Relaxed) {
        let Some((pages, _)) = demand.next_fault(SHORT).unwrap() else { continue };
        fill(demand, from, pages);
        faults += 1;
    }
    faults
}

fn push(demand: &dyn Demand, from: &Ram, missing: &PageSet) {
    const AT_ONCE: u64 = 16;
    for run in missing.ranges() {
        for start in (run.start.0..run.end.0).step_by(AT_ONCE as usize) {
            fill(demand, from, PageRange::new(start, run.end.0.min(start + AT_ONCE)));
        }
    }
}

fn fill(demand: &dyn Demand, from: &Ram, pages: PageRange) {
    let mut bytes = vec![0; pages.len().bytes().get() as usize];
    from.read(pages, &mut bytes).unwrap();
    demand.fill(pages, &bytes).unwrap();
}

/// Waits until the guest has compared all of its memory, twice.
fn wait_for_sweeps(host: &Host) {
    let said = || std::fs::read_to_string(host.serial_log("bare")).unwrap();
    let sweeps = || said().matches('\n').count();
    let before = sweeps();
    crate::support::wait_until(|| sweeps() >= before + 2, "the guest's sweeps do not end");
    assert!(!said().contains('!'), "the guest found a wrong page: {}", said());
}
