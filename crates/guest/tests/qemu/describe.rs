//! What is found out about a running machine.

use punctual_guest::qemu::describe::Presence;
use punctual_guest::qemu::{Description, Machine};
use punctual_units::Bytes;
use serde_json::json;

use crate::support::{Host, bare_metal_spec, for_each_kind, run};

#[test]
fn a_machine_is_described_as_it_was_made() {
    for_each_kind(|kind| {
        let host = Host::new();
        let spec = bare_metal_spec(kind, host.runtime.path());
        let machine = run(&spec, &host);
        let found = machine.description();
        assert_eq!(found.name, "bare");
        assert_eq!(found.accel, kind.accel);
        assert_eq!(found.version.to_string(), kind.qemu.version);
        assert!(found.machine_type.starts_with("pc-i440fx-"), "{}", found.machine_type);
        assert_eq!((found.vcpus, found.state.as_str()), (1, "running"));
        assert_eq!(found.memory_size(), Bytes::mib(128));
        assert_eq!((found.memory[0].id.as_str(), found.memory[0].share), ("ram0", true));
        assert_eq!(found.memory[0].path, Some(host.ram.path().join("bare-ram0.ram")));
        assert_eq!(found.disks.len(), 1, "{:?}", found.disks);
        assert!(!found.disks[0].replaced && !found.disks[0].direct, "{:?}", found.disks);
        assert_eq!(found.program.binary, kind.qemu.binary.canonicalize().unwrap());
        assert!(found.blockers.is_empty(), "{:?}", found.blockers);
        let travelled: Description =
            serde_json::from_str(&serde_json::to_string(found).unwrap()).unwrap();
        assert_eq!(&travelled, found);
        machine.quit().unwrap();
    });
}

#[test]
fn what_was_plugged_in_is_found() {
    for_each_kind(|kind| {
        let host = Host::new();
        let mut spec = bare_metal_spec(kind, host.runtime.path());
        spec.extra.extend(["-m", "128M,slots=2,maxmem=1G"].map(ToOwned::to_owned));
        let machine = run(&spec, &host);
        let file = host.ram.path().join("mem1.ram");
        let qmp = machine.qmp();
        qmp.execute(
            "object-add",
            json!({"qom-type": "memory-backend-file", "id": "mem1",
            "size": 128 << 20, "mem-path": file, "share": true}),
        )
        .unwrap();
        qmp.execute("device_add", json!({"driver": "pc-dimm", "id": "dimm1", "memdev": "mem1"}))
            .unwrap();
        let monitor = qmp.path().to_owned();
        drop(machine);
        let machine = Machine::attach(&monitor).unwrap();
        let found = machine.description();
        assert_eq!(found.memory_size(), Bytes::mib(256));
        assert_eq!(found.dimms[0].memdev, "mem1");
        let dimm = found.devices.iter().find(|device| device.id == "dimm1").unwrap();
        assert_eq!(dimm.presence, Presence::Plugged);
        machine.quit().unwrap();
    });
}
