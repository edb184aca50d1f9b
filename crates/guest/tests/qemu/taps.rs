//! Machines with taps, in a network namespace of the test's own.

use std::collections::BTreeSet;
use std::process::Command;

use punctual_guest::qemu::movable::{
    DestinationFacts, HostFacts, refusals, refusals_at_destination,
};
use punctual_guest::qemu::spec::NetSpec;
use punctual_guest::qemu::{Destination, Machine, Plan, Tap, interfaces};
use punctual_guest::{DestinationMachine, SourceMachine};

use crate::support::{Host, bare_metal_spec, for_each_kind, hand_over, run, source, wait_growth};

/// Runs `test` on a thread with a network of its own; what it starts is in it too.
fn in_own_network(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // A thread that has not shared its network with others can leave it alone.
        if let Err(cause) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            println!("SKIP network namespaces: {cause}");
            return;
        }
        test();
    });
    thread.join().unwrap();
}

#[test]
fn taps_are_made_moved_and_removed() {
    in_own_network(|| {
        let bridge = ["link", "add", "name", "br0", "type", "bridge"];
        assert!(Command::new("ip").args(bridge).status().unwrap().success());
        let before = interfaces();
        for_each_kind(|kind| {
            let (a, b) = (Host::new(), Host::new());
            let mut spec = bare_metal_spec(kind, a.runtime.path());
            spec.net.push(NetSpec { tap: None, bridge: Some("br0".to_owned()), mac: None });
            let mut here = source(run(&spec, &a));
            let machine = here.machine().description().clone();
            let nic = &machine.nics[0];
            assert_eq!(nic.tap.as_deref(), Some("bare-t0"));
            assert_eq!(nic.bridge.as_deref(), Some("br0"));
            assert!(nic.mac.as_ref().unwrap().starts_with("52:54:00:"), "{nic:?}");

            let plan = Plan::for_destination(&machine, &b.places(), &interfaces());
            assert_eq!(plan.taps[0].name, "bare-t0-2", "the name is taken: both hosts are here");
            assert_eq!(refusals(&machine, &HostFacts::here()), []);
            let facts = DestinationFacts::here(&machine, &plan);
            assert_eq!(refusals_at_destination(&machine, &plan, &facts), []);

            wait_growth(&a.serial_log("bare"));
            let mut there = Destination::start(plan).unwrap();
            hand_over(&mut here, &mut there);
            let moved = here.surrender();
            there.resume().unwrap();
            moved.remove().unwrap();
            let names: BTreeSet<_> = interfaces().difference(&before).cloned().collect();
            assert_eq!(names, BTreeSet::from(["bare-t0-2".to_owned()]));
            let monitor = there.qmp().path().to_owned();
            drop(there);
            Machine::attach(&monitor).unwrap().quit().unwrap();
            assert_eq!(interfaces(), before);
        });
    });
}

#[test]
fn a_missing_bridge_leaves_nothing() {
    in_own_network(|| {
        let before = interfaces();
        let tap = Tap { name: "lonely".to_owned(), bridge: Some("nowhere".to_owned()) };
        let error = tap.create().unwrap_err().to_string();
        assert!(error.contains("check that the bridge exists"), "{error}");
        assert_eq!(interfaces(), before);
    });
}
