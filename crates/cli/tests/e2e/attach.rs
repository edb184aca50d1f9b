//! Machines that something else started, with memory of several kinds.

use std::fs;

use punctual_guest::qemu::qmp::Qmp;
use punctual_guest_protocol::options::Network;
use punctual_guest_protocol::{Options, Workload};
use punctual_images::{BASE_ARGUMENTS, QemuChoice};
use punctual_lab::Subnet;
use punctual_lab::client::BeaconReceiver;
use punctual_lab::scene::Guest;
use punctual_units::Bytes;
use serde_json::json;

use crate::by_hand::ByHand;
use crate::skip::{find, skip};
use crate::stage::{GIGABIT, Stage, guest};
use crate::told::DONE;
use crate::watched::Watched;

const TAP: &str = "hand0";

/// Two NUMA nodes with a backend each, and a DIMM that was plugged in while it ran.
#[test]
fn a_qemu_started_by_hand() {
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(stage) = Stage::set("attach", GIGABIT) else { return };
    let lab = stage.scene().lab();
    lab.tap("a", TAP).unwrap();
    let address = lab.state().subnet.guest(0).unwrap();
    let beacon = BeaconReceiver::listen(lab, 0).unwrap();
    let options = Options {
        ip: Some(Network { address, prefix: Subnet::PREFIX }),
        beacon: Some(beacon.address()),
        workload: Workload::HotCold,
        set: 32 << 20,
        ..Options::default()
    };
    let ram = stage.host("a").ram_dir.display().to_string();
    let backend =
        |id: &str| format!("memory-backend-file,id={id},size=128M,mem-path={ram}/{id},share=on");
    let (kernel, initrd) =
        (punctual_images::kernel().unwrap(), punctual_images::initramfs().unwrap());
    let append = format!("{BASE_ARGUMENTS} {options}");
    let netdev = format!("tap,id=net0,ifname={TAP},script=no,downscript=no");
    let serial = format!("file:{}", stage.scratch().join("serial").display());
    let (first, second) = (backend("ram0"), backend("ram1"));
    let arguments = [
        "-accel",
        "tcg",
        "-cpu",
        "qemu64",
        "-m",
        "256M,slots=2,maxmem=1G",
        "-object",
        &first,
        "-object",
        &second,
        "-numa",
        "node,memdev=ram0",
        "-numa",
        "node,memdev=ram1",
        "-kernel",
        kernel.to_str().unwrap(),
        "-initrd",
        initrd.to_str().unwrap(),
        "-append",
        &append,
        "-serial",
        &serial,
        "-netdev",
        &netdev,
        "-device",
        "virtio-net-pci,netdev=net0,romfile=",
    ];
    let by_hand = ByHand::start(&stage, "a", "web", &qemu, &arguments);
    plug_in(&by_hand, &format!("{ram}/extra"));
    by_hand.adopt(&stage);
    let guest = Guest { name: "web".to_owned(), address, beacon };
    let mut guest = Watched::new(stage.scene(), guest);

    let details = stage.run("a", &["show", "web", "--json"]).expect(DONE).json();
    let names: Vec<_> = details["ram"].as_array().unwrap().iter().map(|ram| &ram["name"]).collect();
    assert_eq!(names, ["extra", "ram0", "ram1"]);
    assert_eq!(details["obstacles"], json!([]));

    stage.hand_over("web", "a", "b", &["--downtime", "300ms"]);
    assert!(!by_hand.is_running());
    guest.expect_well();
    // Whoever started that QEMU has made it, and keeps it.
    stage.scene().lab().remove_tap("a", TAP).unwrap();
    stage.expect_bare("a");
    stage.migrate("web", "b", "a", &["--downtime", "300ms"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

fn plug_in(by_hand: &ByHand, file: &str) {
    let monitor = Qmp::connect(&by_hand.monitor).unwrap();
    let backend = json!({
        "qom-type": "memory-backend-file", "id": "extra", "size": 128 << 20, "mem-path": file,
        "share": true,
    });
    monitor.execute("object-add", backend).unwrap();
    let dimm = json!({"driver": "pc-dimm", "id": "dimm1", "memdev": "extra"});
    monitor.execute("device_add", dimm).unwrap();
}

/// The RAM of each host in huge pages of its own.
#[test]
fn a_machine_in_huge_pages() {
    const MEMORY: Bytes = Bytes::mib(192);
    // For both hosts, in pages of 2 MiB.
    let Some(_pages) = HugePages::reserve(2 * MEMORY.get() / (2 << 20)) else { return };
    let Some(mut stage) = Stage::set("huge", GIGABIT) else { return };
    for host in ["a", "b"] {
        stage.disguise(host, "mount -t hugetlbfs -o pagesize=2M none /dev/hugepages");
    }
    let options = Options { workload: Workload::Uniform, set: 16 << 20, ..Options::default() };
    let mut spec = guest(options);
    spec.memory = MEMORY;
    spec.more.insert("hugepages".to_owned(), true.into());
    let mut guest = stage.start(&spec);
    assert!(HugePages::free() < HugePages::number("nr_hugepages"), "none is in use");
    for (from, to) in [("a", "b"), ("b", "a")] {
        stage.migrate("web", from, to, &["--downtime", "500ms"]);
        guest.expect_well();
    }
    drop(guest);
    stage.strike();
}

/// Huge pages that are given back.
struct HugePages {
    before: u64,
    made_directory: bool,
}

impl HugePages {
    const DIRECTORY: &str = "/dev/hugepages";

    fn reserve(more: u64) -> Option<Self> {
        let before = Self::number("nr_hugepages");
        let made_directory = fs::create_dir(Self::DIRECTORY).is_ok();
        let reserved = Self { before, made_directory };
        if let Err(error) = fs::write(Self::file("nr_hugepages"), (before + more).to_string()) {
            skip(&format!("no huge pages can be reserved: {error}"));
            return None;
        }
        if Self::free() < more {
            skip(&format!("the kernel has {} huge pages free, {more} are needed", Self::free()));
            return None;
        }
        Some(reserved)
    }

    fn file(name: &str) -> String {
        format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}")
    }

    fn number(name: &str) -> u64 {
        fs::read_to_string(Self::file(name)).unwrap_or_default().trim().parse().unwrap_or(0)
    }

    fn free() -> u64 {
        Self::number("free_hugepages")
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // Where none could be reserved there is nothing to give back.
        let _ = fs::write(Self::file("nr_hugepages"), self.before.to_string());
        if self.made_directory {
            fs::remove_dir(Self::DIRECTORY).unwrap();
        }
    }
}
