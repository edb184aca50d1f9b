use std::collections::BTreeMap;

use punctual_units::{Bytes, PAGE_SIZE};

use super::destination::read_version;
use super::*;
use crate::qemu::describe::{
    Accel, Backend, Description, Device, Disk, Presence, Program, Version,
};
use crate::qemu::plan::{Places, Plan};

/// A machine that can be moved, with this command line.
fn machine(line: &str) -> Description {
    let words = line.split_whitespace().map(ToOwned::to_owned);
    Description {
        name: "web".to_owned(),
        program: Program {
            pid: 1,
            binary: "/usr/bin/qemu-system-x86_64".into(),
            arguments: words.collect(),
            environment: BTreeMap::new(),
            directory: "/".into(),
        },
        version: Version { major: 7, minor: 2, micro: 22 },
        machine_type: "pc-i440fx-7.2".to_owned(),
        accel: Accel::Kvm,
        vcpus: 1,
        monitor: "/run/qmp.sock".into(),
        memory: vec![Backend {
            id: "ram0".to_owned(),
            kind: "memory-backend-file".to_owned(),
            size: Bytes::mib(256),
            share: true,
            discarded: false,
            path: Some("/dev/shm/web.ram".into()),
            page_size: PAGE_SIZE,
        }],
        dimms: vec![],
        disks: vec![Disk {
            driver: "file".to_owned(),
            path: "/srv/web.img".into(),
            size: Bytes::mib(1),
            read_only: false,
            direct: false,
            replaced: false,
        }],
        nics: vec![],
        devices: vec![],
        state: "running".to_owned(),
        migration: Some("completed".to_owned()),
        blockers: vec![],
    }
}

fn device(kind: &str, presence: Presence) -> Device {
    Device { id: "x".to_owned(), kind: kind.to_owned(), presence }
}

fn codes(machine: &Description) -> Vec<Code> {
    let host = HostFacts { kernel: (6, 7), may_trace: true };
    refusals(machine, &host).into_iter().map(|refusal| refusal.code).collect()
}

/// The reasons against a machine that differs in one way from one that can be moved.
fn with(change: impl FnOnce(&mut Description)) -> Vec<Code> {
    let mut machine = machine("-netdev tap,id=net0,ifname=tap0,vhost=on");
    change(&mut machine);
    codes(&machine)
}

#[test]
fn a_plain_machine_can_be_moved_also_with_vhost_in_the_kernel() {
    assert_eq!(with(|_| {}), []);
    assert_eq!(with(|m| m.devices = vec![device("virtio-net-pci", Presence::FromStart)]), []);
}

#[test]
fn each_reason_at_the_source() {
    assert_eq!(with(|m| m.memory[0].share = false), [Code::RamNotShared]);
    assert_eq!(with(|m| m.memory[0].path = None), [Code::RamNotFile]);
    let memfd = |m: &mut Description| m.memory[0].kind = "memory-backend-memfd".to_owned();
    assert_eq!(with(memfd), [Code::RamNotFile]);
    assert_eq!(with(|m| m.state = "paused".to_owned()), [Code::NotRunning]);
    let active = |m: &mut Description| m.migration = Some("active".to_owned());
    assert_eq!(with(active), [Code::MigrationUnderWay]);
    assert_eq!(with(|m| m.blockers.push("9p".to_owned())), [Code::Blocked]);
    assert_eq!(with(|m| m.version.minor = 1), [Code::Version]);
    assert_eq!(with(|m| m.disks[0].replaced = true), [Code::DiskReplaced]);
    assert_eq!(with(|m| m.disks[0].driver = "nvme".to_owned()), [Code::AssignedDevice]);
    for (kind, presence, code) in [
        ("vfio-pci", Presence::FromStart, Code::AssignedDevice),
        ("vhost-user-fs-pci", Presence::FromStart, Code::SharedMemory),
        ("ivshmem-plain", Presence::FromStart, Code::SharedMemory),
        ("virtio-net-pci", Presence::Plugged, Code::PluggedDevice),
        ("virtio-net-pci", Presence::Unplugged, Code::UnpluggedDevice),
    ] {
        assert_eq!(with(|m| m.devices = vec![device(kind, presence)]), [code], "{kind}");
    }
}

#[test]
fn each_reason_against_a_successor_in_the_same_memory() {
    let with = |change: fn(&mut Description)| {
        let mut machine = machine("-netdev tap,id=net0,ifname=tap0");
        machine.nics.push(nic());
        change(&mut machine);
        let found = refusals_to_succeed(&machine);
        found.into_iter().map(|refusal| refusal.code).collect::<Vec<_>>()
    };
    assert_eq!(with(|_| {}), []);
    assert_eq!(with(|m| m.memory[0].discarded = true), [Code::RamDiscarded]);
    let virtio_mem = |m: &mut Description| {
        m.devices = vec![device("virtio-mem-pci", Presence::FromStart)];
    };
    assert_eq!(with(virtio_mem), [Code::RamDiscarded]);
    assert_eq!(with(|m| m.nics[0].bridge = None), [Code::BridgeMissing]);
}

#[test]
fn what_is_shared_needs_no_room_and_names_of_its_own() {
    let machine = machine("");
    let place = tempfile::tempdir().unwrap();
    let shared = place.path().join("web-ram0.ram");
    std::fs::write(&shared, "").unwrap();
    let machine = Description {
        memory: vec![Backend { path: Some(shared.clone()), ..machine.memory[0].clone() }],
        ..machine
    };
    let places = Places {
        runtime: place.path().to_owned(),
        ram: "/dev/shm".into(),
        huge_ram: "/huge".into(),
    };
    let plan = Plan::for_successor(&machine, &places, &Default::default());
    assert_eq!(plan.directory, place.path().join("machines/web~2"), "the file's name is taken");
    assert_eq!(plan.ram[0].path, place.path().join("web~2-ram0.ram"));
    assert_eq!(plan.ram[0].shared, Some(shared));
    let host = DestinationFacts {
        version: Some(Ok(machine.version)),
        machine_types: ["pc-i440fx-7.2".to_owned()].into(),
        kvm: true,
        free: [(place.path().to_owned(), Some(Bytes::ZERO))].into(),
        ..DestinationFacts::default()
    };
    assert_eq!(refusals_at_destination(&machine, &plan, &host), []);
}

#[test]
fn qemu_itself_moves_what_cannot_be_traced_but_not_what_it_loses_writes_of() {
    let without_tracing = HostFacts { kernel: (6, 1), may_trace: false };
    let codes = |machine: &Description| {
        let found = refusals_of_native(machine, &without_tracing);
        found.into_iter().map(|refusal| refusal.code).collect::<Vec<_>>()
    };
    let mut private = machine("-m 256M");
    private.memory[0] = Backend {
        id: "pc.ram".to_owned(),
        kind: "memory-backend-ram".to_owned(),
        share: false,
        path: None,
        ..private.memory[0].clone()
    };
    assert_eq!(codes(&private), []);
    assert_eq!(
        codes(&Description { state: "paused".to_owned(), ..private.clone() }),
        [Code::NotRunning]
    );
    let emulated = Description { accel: Accel::Tcg, ..private.clone() };
    assert_eq!(codes(&emulated), [Code::LosesWrites]);
    let version = Version { major: 10, minor: 0, micro: 0 };
    assert_eq!(codes(&Description { version, ..emulated }), []);
}

#[test]
fn memory_in_no_file_needs_room_at_the_destination_and_no_file() {
    let mut private = machine("-m 256M");
    private.memory[0].path = None;
    let places =
        Places { runtime: "/run/p".into(), ram: "/dev/shm".into(), huge_ram: "/huge".into() };
    let plan = Plan::for_destination(&private, &places, &Default::default());
    assert_eq!(plan.ram, []);
    let codes = |memory| {
        let host = DestinationFacts {
            version: Some(Ok(private.version)),
            machine_types: ["pc-i440fx-7.2".to_owned()].into(),
            kvm: true,
            memory,
            ..DestinationFacts::default()
        };
        let found = refusals_at_destination(&private, &plan, &host);
        found.into_iter().map(|refusal| refusal.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(Bytes::mib(256)), []);
    assert_eq!(codes(Bytes::mib(255)), [Code::RamTooSmall]);
}

#[test]
fn reasons_in_the_command_line() {
    for (line, code) in [
        ("-netdev tap,id=net0,fd=21", Code::PassedDescriptor),
        ("-netdev {\"type\":\"tap\",\"fd\":\"21\"}", Code::PassedDescriptor),
        ("-drive file=/dev/fdset/3,if=virtio", Code::PassedDescriptor),
        ("-netdev vhost-user,id=n,chardev=c", Code::SharedMemory),
        ("-snapshot", Code::TemporaryDisk),
    ] {
        assert_eq!(codes(&machine(line)), [code], "{line}");
    }
    assert_eq!(codes(&machine("-append fd=3")), []);
}

#[test]
fn reasons_of_the_host() {
    let host = HostFacts { kernel: (6, 1), may_trace: false };
    let found = refusals(&machine(""), &host);
    assert_eq!(found[0].code, Code::Kernel);
    assert!(found[0].to_string().contains("start Linux 6.7"), "{}", found[0]);
    assert_eq!(found[1].code, Code::Permission);
}

fn nic() -> crate::qemu::describe::Nic {
    crate::qemu::describe::Nic {
        netdev: "net0".to_owned(),
        tap: Some("tap0".to_owned()),
        mac: None,
        bridge: Some("br0".to_owned()),
    }
}

fn at_destination(change: impl FnOnce(&mut DestinationFacts)) -> Vec<Code> {
    let mut machine = machine("-netdev tap,id=net0,ifname=tap0");
    machine.nics.push(nic());
    let places =
        Places { runtime: "/run/p".into(), ram: "/dev/shm".into(), huge_ram: "/huge".into() };
    let plan = Plan::for_destination(&machine, &places, &Default::default());
    let mut host = DestinationFacts {
        version: Some(Ok(machine.version)),
        machine_types: ["pc-i440fx-7.2".to_owned()].into(),
        kvm: true,
        free: [("/dev/shm".into(), Some(Bytes::mib(256)))].into(),
        interfaces: ["br0".to_owned()].into(),
        ..DestinationFacts::default()
    };
    change(&mut host);
    let found = refusals_at_destination(&machine, &plan, &host);
    found.into_iter().map(|refusal| refusal.code).collect()
}

#[test]
fn each_reason_at_the_destination() {
    assert_eq!(at_destination(|_| {}), []);
    assert_eq!(at_destination(|h| h.kvm = false), [Code::AccelMissing]);
    assert_eq!(at_destination(|h| h.name_taken = true), [Code::NameTaken]);
    assert_eq!(at_destination(|h| h.ram_taken.push("/x".into())), [Code::NameTaken]);
    assert_eq!(at_destination(|h| h.interfaces.clear()), [Code::BridgeMissing]);
    assert_eq!(at_destination(|h| h.machine_types.clear()), [Code::MachineTypeUnknown]);
    assert_eq!(at_destination(|h| h.missing.push("/boot/x".into())), [Code::FileMissing]);
    let older = Version { major: 7, minor: 2, micro: 1 };
    assert_eq!(at_destination(|h| h.version = Some(Ok(older))), [Code::Version]);
    let newer = Version { major: 10, minor: 0, micro: 2 };
    assert_eq!(at_destination(|h| h.version = Some(Ok(newer))), []);
    let gone = Some(Err("not found".to_owned()));
    assert_eq!(at_destination(|h| h.version = gone), [Code::ProgramMissing]);
    let small = |h: &mut DestinationFacts| {
        h.free.insert("/dev/shm".into(), Some(Bytes::mib(255)));
    };
    assert_eq!(at_destination(small), [Code::RamTooSmall]);
    let port = |h: &mut DestinationFacts| h.ports.push(("x:1".into(), "in use".into()));
    assert_eq!(at_destination(port), [Code::PortTaken]);
    let disk = |h: &mut DestinationFacts| h.disks.push(("/srv".into(), "denied".to_owned()));
    assert_eq!(at_destination(disk), [Code::DiskUnavailable]);
}

#[test]
fn versions_as_qemu_tells_them() {
    let told = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright …";
    assert_eq!(read_version(told), Ok(Version { major: 10, minor: 0, micro: 2 }));
    assert!(read_version("busybox").is_err());
}
