//! A guest that runs while its pages are still at the source: post-copy by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use punctual_guest::demand::Pager;
use punctual_guest::qemu::Machine;
use punctual_guest::trace::Pid;
use punctual_guest::{DestinationMachine, Ram, SourceMachine};
use punctual_units::{PageRange, PageSet};

use crate::support::{
    Host, PATIENCE, bare_metal_spec, destination, for_each_kind, process_of, run, source,
    wait_growth,
};

/// How often a thread that answers faults looks whether it is to end.
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn a_guest_runs_on_while_its_pages_arrive() {
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
        let process = process_of(&b.places().directory("bare")).unwrap();
        let pid = Pid::from_raw(process.pid().try_into().unwrap()).unwrap();
        let pager = Pager::attach(pid, there.ram(), &missing).unwrap();
        let from = here.ram().clone();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let answers = scope.spawn(|| answer(&pager, &from, &ended));
            let end = End(&ended);
            let mut sink = there.device_state().unwrap();
            sink.write_all(&state).unwrap();
            drop(sink);
            there.wait_loaded(PATIENCE).unwrap();
            println!("{} of {} left when loaded", pager.missing().len(), missing.len());
            there.resume().unwrap();
            // It works, and checks its memory, before anything has been pushed.
            wait_growth(&b.serial_log("bare"));
            push(&pager, &from, &missing);
            pager.finish().unwrap();
            drop(end);
            println!("{} faults answered", answers.join().unwrap());
        });
        here.surrender().remove().unwrap();
        wait_for_sweeps(&b);
        let monitor = there.qmp().path().to_owned();
        drop(there);
        Machine::attach(&monitor).unwrap().quit().unwrap();
        b.assert_empty();
    });
}

/// Ends the answers, also where the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn answer(pager: &Pager, from: &Ram, ended: &AtomicBool) -> u64 {
    let mut faults = 0;
    while !ended.load(Ordering::Relaxed) {
        let Some(fault) = pager.next_fault(SHORT).unwrap() else { continue };
        fill(pager, from, fault.pages);
        faults += 1;
    }
    faults
}

fn push(pager: &Pager, from: &Ram, missing: &PageSet) {
    const AT_ONCE: u64 = 16;
    for run in missing.ranges() {
        for start in (run.start.0..run.end.0).step_by(AT_ONCE as usize) {
            fill(pager, from, PageRange::new(start, run.end.0.min(start + AT_ONCE)));
        }
    }
}

fn fill(pager: &Pager, from: &Ram, pages: PageRange) {
    let mut bytes = vec![0; pages.len().bytes().get() as usize];
    from.read(pages, &mut bytes).unwrap();
    pager.fill(pages, &bytes).unwrap();
}

/// Waits until the guest has compared all of its memory, twice.
fn wait_for_sweeps(host: &Host) {
    let said = || std::fs::read_to_string(host.serial_log("bare")).unwrap();
    let sweeps = || said().matches('\n').count();
    let before = sweeps();
    crate::support::wait_until(|| sweeps() >= before + 2, "the guest's sweeps do not end");
    assert!(!said().contains('!'), "the guest found a wrong page: {}", said());
}
