//! Whatever a guest does, it goes on at the other host as if nothing had been.

use punctual_guest_protocol::{Options, Workload};
use punctual_images::{Qemu, QemuChoice};

use crate::skip::find;
use crate::stage::{GIGABIT, Stage, guest_of};

/// Moves one guest there and back while it does one thing after the other.
fn there_and_back(test: &str, qemu: &Qemu, workloads: &[(Workload, u64)]) {
    let Some(stage) = Stage::set(test, GIGABIT) else { return };
    let options = Options { fill: 16 << 20, set: 32 << 20, ..Options::default() };
    let mut guest = stage.start(&guest_of(qemu, options));
    let (mut from, mut to) = ("a", "b");
    for (workload, rate) in workloads {
        guest.set(*workload, *rate);
        let report = stage.migrate("web", from, to, &["--downtime", "300ms"]);
        assert_eq!((&report["from"], &report["to"]), (&from.into(), &to.into()));
        guest.expect_well();
        (from, to) = (to, from);
    }
    drop(guest);
    stage.strike();
}

#[test]
fn each_workload_under_qemu_7() {
    let Some(qemu) = find(QemuChoice::Seven) else { return };
    let workloads = [
        (Workload::Idle, 0),
        (Workload::Uniform, 20_000),
        (Workload::HotCold, 20_000),
        (Workload::Zipf, 20_000),
        (Workload::Sweep, 20_000),
        (Workload::Phases, 20_000),
        (Workload::Kv, 5_000),
        (Workload::Stream, 10_000),
    ];
    there_and_back("seven", &qemu, &workloads);
}

#[test]
fn under_qemu_10() {
    let Some(qemu) = find(QemuChoice::Ten) else { return };
    let workloads = [(Workload::Uniform, 20_000), (Workload::Kv, 5_000)];
    there_and_back("ten", &qemu, &workloads);
}
