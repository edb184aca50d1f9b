//! From one host to another, both of them here.

use punctual_guest::qemu::Machine;
use punctual_guest::{DestinationMachine, Settled, SourceMachine};
use serde_json::json;

use crate::support::{
    Host, bare_metal_spec, destination, for_each_kind, hand_over, run, source, wait_growth,
};

#[test]
fn a_machine_goes_on_at_the_destination() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let mut here = source(run(&bare_metal_spec(kind, a.runtime.path()), &a));
        wait_growth(&a.serial_log("bare"));
        assert_eq!(here.settle().unwrap(), Settled::NoDirectIo);
        let mut there = destination(&here, &b);
        hand_over(&mut here, &mut there);
        let status = there.qmp().execute("query-status", json!({})).unwrap();
        assert_eq!(status["running"], false, "it never runs by itself");
        let moved = here.surrender();
        there.resume().unwrap();
        wait_growth(&b.serial_log("bare"));
        moved.remove().unwrap();
        a.assert_empty();
        let monitor = there.qmp().path().to_owned();
        drop(there);
        wait_growth(&b.serial_log("bare"));
        Machine::attach(&monitor).unwrap().quit().unwrap();
        b.assert_empty();
    });
}

#[test]
fn it_can_be_moved_on_and_back() {
    for_each_kind(|kind| {
        let hosts = [Host::new(), Host::new(), Host::new()];
        let mut machine = run(&bare_metal_spec(kind, hosts[0].runtime.path()), &hosts[0]);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let mut here = source(machine);
            let mut there = destination(&here, &hosts[to]);
            hand_over(&mut here, &mut there);
            let moved = here.surrender();
            there.resume().unwrap();
            moved.remove().unwrap();
            hosts[from].assert_empty();
            wait_growth(&hosts[to].serial_log("bare"));
            let monitor = there.qmp().path().to_owned();
            drop(there);
            machine = Machine::attach(&monitor).unwrap();
        }
        machine.quit().unwrap();
    });
}
