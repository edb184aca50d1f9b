//! Another QEMU in the place of one that runs, in the same RAM files.

use std::fs;
use std::path::PathBuf;

use punctual_guest::qemu::describe::{Accel, Program};
use punctual_guest::qemu::{Description, Destination, Machine, Plan, Source};
use punctual_guest::{DestinationMachine, RamDigest, Sharing, SourceMachine};
use punctual_images::{Qemu, QemuChoice, qemu};
use punctual_units::PageSet;

use crate::support::{
    Host, Kind, PATIENCE, bare_metal_spec, entries, for_each_kind, run, source, wait_growth,
    wait_until,
};

/// The plan for a QEMU in the place of the one of `machine`.
fn plan(machine: &Description, by: &Qemu, host: &Host) -> Plan {
    let program = Program {
        binary: by.binary.clone(),
        environment: by.env.clone(),
        arguments: [by.arguments.clone(), machine.program.arguments.clone()].concat(),
        ..machine.program.clone()
    };
    let machine = Description { program, ..machine.clone() };
    Plan::for_successor(&machine, &host.places(), &Default::default())
}

/// A stopped machine and what it saved.
fn stop(here: &mut Source) -> Vec<u8> {
    here.prepare_stop().unwrap();
    let mut stopped = here.stop().unwrap();
    here.save_device_state().unwrap();
    let mut state = Vec::new();
    stopped.device_state.read_to_end(&mut state).unwrap();
    state
}

fn load(there: &mut Destination, state: &[u8]) {
    let mut sink = there.device_state().unwrap();
    sink.write_all(state).unwrap();
    drop(sink);
    there.wait_loaded(PATIENCE).unwrap();
}

fn digest(here: &Source) -> RamDigest {
    here.ram().digest().unwrap()
}

/// All of a machine's memory, which is a file.
fn content(here: &Source) -> Vec<u8> {
    let file = here.machine().description().memory[0].path.clone();
    fs::read(file.unwrap()).unwrap()
}

/// The pages that differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<usize> {
    let pages = before.chunks(4096).zip(after.chunks(4096)).enumerate();
    pages.filter(|(_, (before, after))| before != after).map(|(page, _)| page).collect()
}

/// Puts another QEMU in a machine's place; returns the machine again.
fn replace(machine: Machine, by: &Qemu, host: &Host) -> Machine {
    let mut here = source(machine);
    let plan = plan(here.machine().description(), by, host);
    let mut there = Box::new(Destination::start(plan).unwrap());
    let state = stop(&mut here);
    let before = content(&here);
    load(&mut there, &state);
    // With KVM, the clock that it keeps for the guest in a page of the memory is begun anew.
    let clocks = usize::from(here.machine().description().accel == Accel::Kvm);
    let changed = changed(&before, &content(&here));
    assert!(changed.len() <= clocks, "loading has changed pages {changed:?}");
    let left = here.surrender();
    there.resume().unwrap();
    left.remove().unwrap();
    let monitor = there.qmp().path().to_owned();
    drop(there);
    Machine::attach(&monitor).unwrap()
}

/// The serial log of the only machine of a host.
fn log_of(machine: &Machine) -> PathBuf {
    machine.qmp().path().with_file_name("serial.log")
}

/// Waits until the guest has compared all of its memory, twice, and has found nothing.
fn expect_well(machine: &Machine) {
    let said = || fs::read_to_string(log_of(machine)).unwrap_or_default();
    let sweeps = || said().matches('\n').count();
    let before = sweeps();
    wait_until(|| sweeps() >= before + 2, "the guest's sweeps do not end");
    assert!(!said().contains('!'), "the guest found a wrong page: {}", said());
}

/// A QEMU that starts, is not given its state, and ends, while the guest stands: the memory is
/// what it was, byte for byte.
#[test]
fn a_qemu_that_starts_and_ends_writes_nothing_into_the_memory() {
    for_each_kind(|kind| {
        for choice in [QemuChoice::Seven, QemuChoice::Ten] {
            let Some(by) = newer(kind, choice) else { continue };
            let host = Host::new();
            let mut spec = bare_metal_spec(kind, host.runtime.path());
            // Firmware, option ROMs and a framebuffer, and the files of a direct boot.
            let image = host.runtime.path().join("bare-metal.img");
            let direct = ["-kernel", image.to_str().unwrap(), "-append", "x"];
            let devices = ["-device", "VGA", "-device", "e1000", "-device", "virtio-net-pci"];
            let more = ["-device", "virtio-balloon-pci", "-device", "virtio-rng-pci"];
            spec.extra.extend([&devices[..], &more].concat().into_iter().map(ToOwned::to_owned));
            let machine = run(&spec, &host);
            wait_growth(&log_of(&machine));
            let mut here = source(machine);
            let mut plan = plan(here.machine().description(), &by, &host);
            // Of what it is started with, too, nothing comes into the memory.
            plan.arguments.extend(direct.map(ToOwned::to_owned));
            let fill = |word: &mut String| *word = word.replace("share=on", "share=on,prealloc=on");
            plan.arguments.iter_mut().for_each(fill);
            let state = stop(&mut here);
            assert!(!state.is_empty());
            let before = digest(&here);
            let there = Destination::start(plan).unwrap();
            assert_eq!(digest(&here), before, "starting {} has changed the memory", by.version);
            Box::new(there).discard().unwrap();
            assert_eq!(digest(&here), before, "ending {} has changed the memory", by.version);
            here.resume().unwrap();
            let monitor = here.machine().qmp().path().to_owned();
            drop(here);
            let machine = Machine::attach(&monitor).unwrap();
            expect_well(&machine);
            machine.quit().unwrap();
            host.assert_empty();
        }
    });
}

/// This QEMU, if machines of `kind` can go on with it.
fn newer(kind: &Kind, choice: QemuChoice) -> Option<Qemu> {
    let found = qemu(choice).inspect_err(|missing| println!("SKIP {choice}: {missing}")).ok()?;
    let is_ten = |version: &str| version.starts_with("10.");
    (is_ten(&found.version) || !is_ten(&kind.qemu.version)).then_some(found)
}

#[test]
fn a_machine_goes_on_in_its_memory_with_the_next_version_and_again() {
    for_each_kind(|kind| {
        let host = Host::new();
        let mut machine = run(&bare_metal_spec(kind, host.runtime.path()), &host);
        wait_growth(&log_of(&machine));
        for choice in [QemuChoice::Seven, QemuChoice::Ten, QemuChoice::Ten] {
            let Some(by) = newer(kind, choice) else { continue };
            machine = replace(machine, &by, &host);
            let found = machine.description();
            assert_eq!(found.version.to_string(), by.version);
            expect_well(&machine);
            assert_eq!(entries(&host.runtime.path().join("machines")).len(), 1);
            assert_eq!(entries(host.ram.path()).len(), 1, "one name is left of the memory");
        }
        machine.quit().unwrap();
        host.assert_empty();
    });
}

/// The old QEMU runs on where the new one came to nothing, at each step on the way.
#[test]
fn a_successor_that_is_discarded_takes_nothing_along() {
    for_each_kind(|kind| {
        let host = Host::new();
        let machine = run(&bare_metal_spec(kind, host.runtime.path()), &host);
        wait_growth(&log_of(&machine));
        let mut here = source(machine);
        for loaded in [false, true] {
            let plan = plan(here.machine().description(), &kind.qemu, &host);
            let mut there = Box::new(Destination::start(plan).unwrap());
            let state = stop(&mut here);
            if loaded {
                load(&mut there, &state);
            }
            there.discard().unwrap();
            here.resume().unwrap();
            wait_growth(&here.machine().qmp().path().with_file_name("serial.log"));
            assert_eq!(entries(host.ram.path()).len(), 1);
        }
        let monitor = here.machine().qmp().path().to_owned();
        drop(here);
        let machine = Machine::attach(&monitor).unwrap();
        expect_well(&machine);
        machine.quit().unwrap();
        host.assert_empty();
    });
}

#[test]
fn what_moves_shows_no_memory() {
    let host = Host::new();
    let Ok(by) = qemu(QemuChoice::Installed) else { return println!("SKIP: no QEMU") };
    let kind = Kind { qemu: by, accel: Accel::Tcg };
    let machine = run(&bare_metal_spec(&kind, host.runtime.path()), &host);
    wait_growth(&log_of(&machine));
    let monitor = machine.qmp().path().to_owned();
    let mut here = Sharing::leave(source(machine)).unwrap();
    here.start_tracing().unwrap();
    assert!(here.ram().populated().unwrap().is_empty());
    let mut written = PageSet::empty(here.ram().layout().pages());
    here.collect_written(&mut written).unwrap();
    assert!(written.is_empty());
    drop(here);
    Machine::attach(&monitor).unwrap().quit().unwrap();
    host.assert_empty();
}
