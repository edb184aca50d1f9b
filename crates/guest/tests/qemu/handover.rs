//! From one host to another, both of them here.

use std::fs;

use punctual_guest::qemu::spec::DiskSpec;
use punctual_guest::qemu::{Machine, Source};
use punctual_guest::{DestinationMachine, Settled, SourceMachine};
use punctual_units::Bytes;
use serde_json::json;

use crate::support::{
    Host, bare_metal_spec, destination, for_each_kind, hand_over, leaves_out_description, run,
    source, wait_growth,
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
        assert!(!leaves_out_description(there.qmp()), "as QEMU was started");
        moved.remove().unwrap();
        a.assert_empty();
        let monitor = there.qmp().path().to_owned();
        drop(there);
        wait_growth(&b.serial_log("bare"));
        Machine::attach(&monitor).unwrap().quit().unwrap();
        b.assert_empty();
    });
}

/// As it comes from versions that left it in, and from files that they wrote.
#[test]
fn a_stream_that_describes_itself_is_taken_too() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let mut here = source(run(&bare_metal_spec(kind, a.runtime.path()), &a));
        let mut there = destination(&here, &b);
        here.prepare_stop().unwrap();
        assert!(
            leaves_out_description(here.machine().qmp()) && leaves_out_description(there.qmp())
        );
        let property = json!({ "path": "/machine", "property": "suppress-vmdesc", "value": false });
        here.machine().qmp().execute("qom-set", property).unwrap();
        hand_over(&mut here, &mut there);
        let moved = here.surrender();
        there.resume().unwrap();
        wait_growth(&b.serial_log("bare"));
        moved.remove().unwrap();
        there.discard().unwrap();
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

/// Moves a machine between two hosts of its own.
fn move_once(machine: Machine, to: &Host) -> Machine {
    let mut here = source(machine);
    let mut there = destination(&here, to);
    hand_over(&mut here, &mut there);
    let moved = here.surrender();
    there.resume().unwrap();
    moved.remove().unwrap();
    Machine::attach(&monitor_of(*there)).unwrap()
}

/// Lets go of a machine that runs, so that its monitor is free.
fn monitor_of(there: punctual_guest::qemu::Destination) -> std::path::PathBuf {
    there.qmp().path().to_owned()
}

#[test]
fn a_memory_module_that_was_plugged_in_moves_too() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let mut spec = bare_metal_spec(kind, a.runtime.path());
        spec.extra.extend(["-m", "128M,slots=2,maxmem=1G"].map(ToOwned::to_owned));
        let machine = run(&spec, &a);
        let file = a.ram.path().join("mem1.ram");
        let qmp = machine.qmp();
        let object = json!({"qom-type": "memory-backend-file", "id": "mem1", "size": 128 << 20,
            "mem-path": file, "share": true});
        qmp.execute("object-add", object).unwrap();
        let dimm = json!({"driver": "pc-dimm", "id": "dimm1", "memdev": "mem1"});
        qmp.execute("device_add", dimm).unwrap();
        wait_growth(&a.serial_log("bare"));
        let monitor = qmp.path().to_owned();
        drop(machine);
        let machine = move_once(Machine::attach(&monitor).unwrap(), &b);
        let found = machine.description();
        assert_eq!(found.memory_size(), Bytes::mib(256));
        assert!(found.dimms.is_empty(), "it is in the command line now: {:?}", found.dimms);
        wait_growth(&b.serial_log("bare"));
        machine.quit().unwrap();
        b.assert_empty();
    });
}

#[test]
fn direct_io_is_waited_for() {
    for_each_kind(|kind| {
        let host = Host::new();
        let mut spec = bare_metal_spec(kind, host.runtime.path());
        let image = host.runtime.path().join("direct.img");
        fs::write(&image, vec![0; 1 << 20]).unwrap();
        let direct = DiskSpec {
            path: image,
            format: "raw".to_owned(),
            cache: Some("none".to_owned()),
            aio: Some("native".to_owned()),
            readonly: false,
            device: None,
        };
        spec.disk.push(direct);
        assert_eq!(settle_once(run(&spec, &host)), Settled::SeenIdle);
        // IDE has no queues to look at.
        spec.disk[1].device = Some("ide-hd".to_owned());
        let settled = settle_once(run(&spec, &host));
        assert!(matches!(settled, Settled::Paused(_)), "{settled:?}");
    });
}

fn settle_once(machine: Machine) -> Settled {
    assert!(machine.description().disks.iter().any(|disk| disk.direct));
    let mut here: Box<Source> = source(machine);
    let settled = here.settle().unwrap();
    let status = here.machine().qmp().execute("query-status", json!({})).unwrap();
    assert_eq!(status["running"], true);
    here.surrender().remove().unwrap();
    settled
}
