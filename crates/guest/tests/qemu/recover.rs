//! The machine runs on at the source, whatever state a handover was broken off in.

use std::io::Write;

use punctual_guest::qemu::{Source, migration};
use punctual_guest::{DestinationMachine, SourceMachine};

use crate::support::{
    Host, PATIENCE, bare_metal_spec, destination, for_each_kind, hand_over, leaves_out_description,
    run, source, wait_growth, wait_until,
};

#[test]
fn it_resumes_from_every_state() {
    for_each_kind(|kind| {
        let host = Host::new();
        let mut here = source(run(&bare_metal_spec(kind, host.runtime.path()), &host));
        let log = host.serial_log("bare");
        let before = migration::capabilities(here.machine().qmp()).unwrap();
        let check = |here: &mut Source, state: &str| {
            here.resume().unwrap();
            wait_growth(&log);
            let after = migration::capabilities(here.machine().qmp()).unwrap();
            assert_eq!(after, before, "settings are taken back after {state}");
            assert!(!leaves_out_description(here.machine().qmp()), "after {state}");
        };
        check(&mut here, "running");
        here.prepare_stop().unwrap();
        check(&mut here, "prepared");
        here.prepare_stop().unwrap();
        let stopped = here.stop().unwrap();
        check(&mut here, "stopped");
        drop(stopped);
        // QEMU 7.2 died of one in eighty that were cancelled.
        for heard in [false, true].repeat(20) {
            here.prepare_stop().unwrap();
            let stopped = here.stop().unwrap();
            here.save_device_state().unwrap();
            let stopped = heard.then_some(stopped);
            check(&mut here, "saving");
            if let Some(mut stopped) = stopped {
                stopped.device_state.read_to_end(&mut Vec::new()).unwrap();
            }
        }
        here.prepare_stop().unwrap();
        let mut stopped = here.stop().unwrap();
        here.save_device_state().unwrap();
        stopped.device_state.read_to_end(&mut Vec::new()).unwrap();
        check(&mut here, "saved");
        check(&mut here, "running again");
        let (machine, there) = (here, Host::new());
        let mut here = machine;
        let mut arrived = destination(&here, &there);
        hand_over(&mut here, &mut arrived);
        arrived.discard().unwrap();
        there.assert_empty();
        check(&mut here, "loaded at the destination");
        here.surrender().remove().unwrap();
        host.assert_empty();
    });
}

#[test]
fn a_destination_that_fails_leaves_the_machine_to_the_source() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let mut here = source(run(&bare_metal_spec(kind, a.runtime.path()), &a));
        let mut there = destination(&here, &b);
        here.prepare_stop().unwrap();
        let stopped = here.stop().unwrap();
        let mut sink = there.device_state().unwrap();
        sink.write_all(b"no device state").unwrap();
        drop(sink);
        let error = there.wait_loaded(PATIENCE).unwrap_err().to_string();
        assert!(error.contains("Not a migration stream"), "{error}");
        drop(there);
        b.assert_empty();
        here.resume().unwrap();
        wait_growth(&a.serial_log("bare"));
        drop(stopped);
        here.surrender().remove().unwrap();
    });
}

#[test]
fn a_daemon_started_anew_recovers_the_machine() {
    for_each_kind(|kind| {
        let host = Host::new();
        for (told, heard) in [(false, false), (true, false), (true, true)] {
            let mut here = source(run(&bare_metal_spec(kind, host.runtime.path()), &host));
            let monitor = here.machine().qmp().path().to_owned();
            here.prepare_stop().unwrap();
            let mut stopped = here.stop().unwrap();
            if told {
                here.save_device_state().unwrap();
            }
            if heard {
                stopped.device_state.read_to_end(&mut Vec::new()).unwrap();
            }
            // The daemon forgets all, as in a crash.
            drop((here, stopped));
            let mut machine = None;
            wait_until(
                || {
                    machine = Source::recover(&monitor).ok();
                    machine.is_some()
                },
                "no recovery",
            );
            wait_growth(&host.serial_log("bare"));
            let machine = machine.unwrap();
            let capabilities = migration::capabilities(machine.qmp()).unwrap();
            assert!(capabilities.values().all(|on| !on), "{capabilities:?}");
            machine.quit().unwrap();
            host.assert_empty();
        }
    });
}
