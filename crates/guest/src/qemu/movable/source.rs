use rustix::process::geteuid;

use super::{Code, Refusal};
use crate::qemu::command_line::Argument;
use crate::qemu::describe::{Description, Presence, Version};

/// The oldest QEMU that is served.
const OLDEST: Version = Version { major: 7, minor: 2, micro: 0 };

/// What the source's host can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The kernel's version: first two numbers.
    pub kernel: (u32, u32),
    /// Whether this process may trace others.
    pub may_trace: bool,
}

impl HostFacts {
    /// This host's.
    #[must_use]
    pub fn here() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
        let mut number = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { kernel: (number(), number()), may_trace: geteuid().is_root() }
    }
}

/// Every reason at the source not to move a machine; none if it can be moved.
#[must_use]
pub fn refusals(machine: &Description, host: &HostFacts) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    check_host(host, &mut refusals);
    check_state(machine, &mut refusals);
    check_memory(machine, &mut refusals);
    check_devices(machine, &mut refusals);
    check_disks(machine, &mut refusals);
    check_arguments(machine, &mut refusals);
    refusals
}

fn check_host(host: &HostFacts, refusals: &mut Vec<Refusal>) {
    let (major, minor) = host.kernel;
    if host.kernel < (6, 7) {
        refusals.push(Refusal::new(
            Code::Kernel,
            format!("Linux {major}.{minor} cannot trace writes from outside a process (userfaultfd WP_ASYNC, PAGEMAP_SCAN)"),
            "start Linux 6.7 or newer on the source",
        ));
    }
    if !host.may_trace {
        let text = "this process may not trace QEMU";
        refusals.push(Refusal::new(Code::Permission, text, "run the daemon as root"));
    }
}

fn check_state(machine: &Description, refusals: &mut Vec<Refusal>) {
    if machine.version < OLDEST {
        let text = format!("QEMU {} is older than 7.2", machine.version);
        refusals.push(Refusal::new(Code::Version, text, "restart it with QEMU 7.2 or newer"));
    }
    let under_way =
        machine.migration.as_deref().filter(|status| !crate::qemu::migration::is_over(status));
    if let Some(status) = under_way {
        let text = format!("QEMU itself migrates the machine ({status})");
        let remedy = "wait for its end, or cancel it (migrate_cancel)";
        refusals.push(Refusal::new(Code::MigrationUnderWay, text, remedy));
    }
    if machine.state != "running" {
        let text = format!("the machine is not running ({})", machine.state);
        refusals.push(Refusal::new(Code::NotRunning, text, "let it run (cont), then move it"));
    }
    for blocker in &machine.blockers {
        let text = format!("QEMU says that it cannot be migrated: {blocker}");
        refusals.push(Refusal::new(Code::Blocked, text, "remove what QEMU names"));
    }
}

fn check_memory(machine: &Description, refusals: &mut Vec<Refusal>) {
    for backend in &machine.memory {
        let (id, kind) = (&backend.id, &backend.kind);
        if !backend.share {
            refusals.push(Refusal::new(
                Code::RamNotShared,
                format!("the memory `{id}` ({kind}) is private to QEMU"),
                "start the machine with -object memory-backend-file,share=on,mem-path=FILE",
            ));
        } else if backend.path.is_none() || backend.kind != "memory-backend-file" {
            refusals.push(Refusal::new(
                Code::RamNotFile,
                format!("the memory `{id}` ({kind}) is in no file that has a name"),
                "start the machine with -object memory-backend-file,share=on,mem-path=FILE, \
                 FILE being no directory",
            ));
        }
    }
}

fn check_devices(machine: &Description, refusals: &mut Vec<Refusal>) {
    for device in &machine.devices {
        let (id, kind) = (&device.id, &device.kind);
        let is_dimm = kind == "pc-dimm" && machine.dimms.iter().any(|dimm| dimm.id == *id);
        match device.presence {
            Presence::Unplugged => refusals.push(Refusal::new(
                Code::UnpluggedDevice,
                format!("the device `{id}` ({kind}) of the command line was unplugged"),
                "plug it in again, or restart the machine without it",
            )),
            Presence::Plugged if !is_dimm => refusals.push(Refusal::new(
                Code::PluggedDevice,
                format!("the device `{id}` ({kind}) was plugged in since the machine's start"),
                "unplug it, and plug it in again at the destination",
            )),
            _ => {}
        }
        if kind.starts_with("vfio") {
            refusals.push(assigned(format!("the device `{id}` ({kind})")));
        } else if is_foreign(kind) || kind.starts_with("ivshmem") {
            refusals.push(foreign(format!("the device `{id}` ({kind})")));
        }
    }
}

/// Whether another process, or hardware set up by it, does this thing's work.
fn is_foreign(kind: &str) -> bool {
    kind.contains("vhost-user") || kind.contains("vhost-vdpa")
}

fn assigned(what: String) -> Refusal {
    let text = format!("{what} is hardware of this host, which writes memory unseen");
    Refusal::new(Code::AssignedDevice, text, "unplug it, or use a virtio device in its place")
}

fn foreign(what: String) -> Refusal {
    let text = format!("{what} has another process write the memory unseen");
    Refusal::new(Code::SharedMemory, text, "use a device that QEMU or the kernel serves itself")
}

fn check_disks(machine: &Description, refusals: &mut Vec<Refusal>) {
    for disk in &machine.disks {
        let path = disk.path.display();
        if disk.replaced {
            refusals.push(Refusal::new(
                Code::DiskReplaced,
                format!("the disk {path} is not one that the command line names"),
                "commit the snapshot or change the medium back",
            ));
        }
        if disk.driver.starts_with("nvme") {
            refusals.push(assigned(format!("the disk {path} ({})", disk.driver)));
        } else if is_foreign(&disk.driver) {
            refusals.push(foreign(format!("the disk {path} ({})", disk.driver)));
        }
    }
}

fn check_arguments(machine: &Description, refusals: &mut Vec<Refusal>) {
    let line = machine.command_line();
    for argument in &line.arguments {
        let shown = || format!("{} {}", argument.flag, argument.value.as_deref().unwrap_or(""));
        match argument.name() {
            "snapshot" => refusals.push(Refusal::new(
                Code::TemporaryDisk,
                "with -snapshot, changes to disks are in temporary files of this host",
                "restart the machine without -snapshot",
            )),
            "netdev" if argument.options().kind("type").is_some_and(is_foreign) => {
                refusals.push(foreign(shown()));
            }
            _ if takes_descriptor(argument) => refusals.push(Refusal::new(
                Code::PassedDescriptor,
                format!("`{}` uses a file that was open when QEMU was started", shown()),
                "give QEMU names in place of descriptors (ifname=, path=)",
            )),
            _ => {}
        }
    }
}

fn takes_descriptor(argument: &Argument) -> bool {
    // Their values are free text.
    if matches!(argument.name(), "append" | "name" | "fw_cfg" | "smbios") {
        return false;
    }
    let options = argument.options();
    argument.name() == "add-fd"
        || ["fd", "fds", "vhostfd", "vhostfds"].iter().any(|key| options.get(key).is_some())
        || options.texts().iter().any(|text| text.starts_with("/dev/fdset/"))
}
