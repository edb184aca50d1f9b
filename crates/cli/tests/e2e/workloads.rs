//! Whatever a guest does, it goes on at the other host as if nothing had been.

use punctual_guest_protocol::{Options, Workload};
use punctual_images::{Qemu, QemuChoice};
use punctual_lab::scene::GuestSpec;

use crate::skip::find;
use crate::stage::{GIGABIT, Stage, guest, guest_of};
use crate::told::{Begun, DONE};
use crate::watched::Watched;

/// Moves one guest there and back while it does one thing after the other.
fn there_and_back(test: &str, qemu: &Qemu, vcpus: i64, workloads: &[(Workload, u64)]) {
    let Some(stage) = Stage::set(test, GIGABIT) else { return };
    let options = Options { fill: 16 << 20, set: 32 << 20, ..Options::default() };
    let mut spec = guest_of(qemu, options);
    spec.more.insert("vcpus".to_owned(), vcpus.into());
    let mut guest = stage.start(&spec);
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
    there_and_back("seven", &qemu, 1, &workloads);
}

#[test]
fn two_processors_under_qemu_10() {
    let Some(qemu) = find(QemuChoice::Ten) else { return };
    let workloads = [(Workload::Uniform, 20_000), (Workload::Kv, 5_000)];
    there_and_back("ten", &qemu, 2, &workloads);
}

#[test]
fn two_guests_that_change_places() {
    let Some(stage) = Stage::set("places", GIGABIT) else { return };
    let options = Options {
        workload: Workload::Uniform,
        fill: 16 << 20,
        set: 16 << 20,
        ..Options::default()
    };
    let spec = guest(options);
    let second = GuestSpec { name: "db".to_owned(), index: 1, ..spec.clone() };
    let mut guests = [stage.start(&spec), stage.start_on("b", &second)];
    let migrate = |machine, from, to| {
        let words = ["migrate", machine, "--to", to, "--downtime", "500ms", "--verify"];
        stage.begin(from, &[&words[..], &["--look", "0"]].concat())
    };
    for moves in [[("web", "a", "b"), ("db", "b", "a")], [("db", "a", "b"), ("web", "b", "a")]] {
        let under_way = moves.map(|(machine, from, to)| migrate(machine, from, to));
        for told in under_way.map(Begun::end) {
            let told = told.expect(DONE);
            assert!(told.out.contains("RAM digest") && told.out.contains("equal"), "{}", told.out);
        }
        for (machine, _, to) in moves {
            stage.expect_at(machine, to);
        }
        guests.iter_mut().for_each(Watched::expect_well);
    }
    drop(guests);
    stage.strike();
}
