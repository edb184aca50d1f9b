//! Starting and ending machines.

use std::fs;

use punctual_guest::qemu::{AttachError, LaunchError, Machine};

use crate::support::{Host, bare_metal_spec, for_each_kind, run, wait_growth};

#[test]
fn a_machine_runs_and_is_removed_without_a_trace() {
    for_each_kind(|kind| {
        let host = Host::new();
        let machine = run(&bare_metal_spec(kind, host.runtime.path()), &host);
        wait_growth(&host.serial_log("bare"));
        machine.quit().unwrap();
        host.assert_empty();
    });
}

#[test]
fn a_name_is_given_once_and_free_again_when_its_machine_has_died() {
    for_each_kind(|kind| {
        let host = Host::new();
        let spec = bare_metal_spec(kind, host.runtime.path());
        let plan = spec.plan(&host.places(), kind.accel);
        let machine = Machine::run(&plan).unwrap();
        let taken = Machine::run(&plan).unwrap_err();
        assert!(matches!(taken, AttachError::Launch(LaunchError::NameTaken(_))), "{taken}");
        machine.process().kill().unwrap();
        drop(machine);
        run(&spec, &host).quit().unwrap();
        host.assert_empty();
    });
}

#[test]
fn what_qemu_says_is_quoted_where_it_does_not_start() {
    for_each_kind(|kind| {
        let host = Host::new();
        let mut spec = bare_metal_spec(kind, host.runtime.path());
        spec.extra.extend(["-device", "no-such-device"].map(ToOwned::to_owned));
        let error = Machine::run(&spec.plan(&host.places(), kind.accel)).unwrap_err().to_string();
        assert!(error.contains("'no-such-device' is not a valid device model name"), "{error}");
        host.assert_empty();
    });
}

#[test]
fn a_ram_file_of_another_machine_is_not_touched() {
    for_each_kind(|kind| {
        let host = Host::new();
        let spec = bare_metal_spec(kind, host.runtime.path());
        let plan = spec.plan(&host.places(), kind.accel);
        fs::write(&plan.ram[0].path, b"of another").unwrap();
        assert!(matches!(Machine::run(&plan), Err(AttachError::Launch(LaunchError::Ram(_)))));
        assert_eq!(fs::read(&plan.ram[0].path).unwrap(), b"of another");
    });
}
