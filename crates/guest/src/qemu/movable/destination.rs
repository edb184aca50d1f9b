use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use punctual_units::Bytes;

use super::{Code, Refusal};
use crate::qemu::describe::{Accel, Description, Disk, Version};
use crate::qemu::plan::Plan;
use crate::qemu::tap::interfaces;
use crate::ram::space;

/// What a destination has for a machine that is to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationFacts {
    /// The version of the program in the plan, or why it does not run.
    pub version: Option<Result<Version, String>>,
    /// The machine types that it knows.
    pub machine_types: BTreeSet<String>,
    /// Whether `/dev/kvm` can be opened.
    pub kvm: bool,
    /// Whether the machine's directory is there already.
    pub name_taken: bool,
    /// RAM files of the plan that are there already.
    pub ram_taken: Vec<PathBuf>,
    /// What is free where RAM files go, by directory; nothing where it is not a directory.
    pub free: BTreeMap<PathBuf, Option<Bytes>>,
    /// What the kernel could give QEMU for memory that is in no file.
    pub memory: Bytes,
    /// Disks that cannot be opened as QEMU will open them, and why.
    pub disks: Vec<(PathBuf, String)>,
    /// Files and directories of the command line that are missing.
    pub missing: Vec<PathBuf>,
    /// Addresses of the command line that cannot be listened on, and why.
    pub ports: Vec<(String, String)>,
    /// The interfaces.
    pub interfaces: BTreeSet<String>,
}

impl DestinationFacts {
    /// This host's, for a machine and the plan for it. Starts the plan's program twice, to ask for
    /// its version and its machine types: some 100 ms.
    #[must_use]
    pub fn here(machine: &Description, plan: &Plan) -> Self {
        let version = ask(plan, &["--version"]).and_then(|told| read_version(&told));
        let types = ask(plan, &["-machine", "help"]).unwrap_or_default();
        let directories = plan.ram.iter().filter_map(|file| file.path.parent());
        Self {
            version: Some(version),
            machine_types: types.lines().filter_map(first_word).collect(),
            kvm: File::options().read(true).write(true).open("/dev/kvm").is_ok(),
            name_taken: plan.directory.exists(),
            ram_taken: plan
                .ram
                .iter()
                .map(|ram| ram.path.clone())
                .filter(|ram| ram.exists())
                .collect(),
            free: directories.map(|place| (place.to_owned(), free(place))).collect(),
            memory: available().unwrap_or(Bytes::new(u64::MAX)),
            disks: machine.disks.iter().filter_map(|disk| try_disk(plan, disk)).collect(),
            missing: named_files(machine, plan).into_iter().filter(|path| !path.exists()).collect(),
            ports: machine.command_line().ports().into_iter().filter_map(try_port).collect(),
            interfaces: interfaces(),
        }
    }
}

fn first_word(line: &str) -> Option<String> {
    line.split_whitespace().next().map(ToOwned::to_owned)
}

fn ask(plan: &Plan, arguments: &[&str]) -> Result<String, String> {
    let asked = Command::new(&plan.binary).args(arguments).envs(&plan.environment).output();
    let told = asked.map_err(|cause| cause.to_string())?;
    if told.status.success() {
        return Ok(String::from_utf8_lossy(&told.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&told.stderr).trim().to_owned())
}

/// Reads `QEMU emulator version 7.2.22 (Debian …)`.
pub(super) fn read_version(told: &str) -> Result<Version, String> {
    let read = || {
        let version = told.split("version ").nth(1)?.split_whitespace().next()?;
        let mut numbers = version.split('.').map(|number| number.parse().ok());
        Some(Version {
            major: numbers.next()??,
            minor: numbers.next()??,
            micro: numbers.next().flatten().unwrap_or(0),
        })
    };
    read().ok_or_else(|| format!("it tells no version: {told}"))
}

/// Listens on a port for a moment; tells what is wrong.
fn try_port((address, port): (String, u16)) -> Option<(String, String)> {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let host = if bare.is_empty() { "0.0.0.0" } else { bare };
    let fault = TcpListener::bind((host, port)).err()?;
    Some((format!("{host}:{port}"), fault.to_string()))
}

/// What the kernel could give without swapping, if it tells.
fn available() -> Option<Bytes> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(Bytes::kib)
}

fn free(place: &Path) -> Option<Bytes> {
    let found = rustix::fs::statfs(place).ok()?;
    Some(space::free(&found).unwrap_or(Bytes::new(u64::MAX)))
}

/// Opens a disk as QEMU will; tells what is wrong.
fn try_disk(plan: &Plan, disk: &Disk) -> Option<(PathBuf, String)> {
    if !disk.is_local() {
        return None;
    }
    let path = plan.working_directory.join(&disk.path);
    let fault = |text: String| Some((path.clone(), text));
    match open_disk(&path, disk) {
        Err(cause) => fault(cause.to_string()),
        // QEMU counts in sectors.
        Ok(size) if size.get().next_multiple_of(512) < disk.size.get() => {
            fault(format!("it has {} bytes, at the source {}", size.get(), disk.size.get()))
        }
        Ok(_) => None,
    }
}

fn open_disk(path: &Path, disk: &Disk) -> io::Result<Bytes> {
    let flags = if disk.direct { libc::O_DIRECT } else { 0 };
    let mut file =
        File::options().read(true).write(!disk.read_only).custom_flags(flags).open(path)?;
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(Bytes::new(file.seek(SeekFrom::End(0))?))
}

/// What the command line names beside disks, and the directory that QEMU is started in.
fn named_files(machine: &Description, plan: &Plan) -> Vec<PathBuf> {
    let line = machine.command_line();
    let names = ["kernel", "initrd", "bios", "dtb", "readconfig"];
    let files = line.arguments.iter().filter(|argument| names.contains(&argument.name()));
    let files = files.filter_map(|argument| argument.value.as_deref());
    let files = files.map(|file| plan.working_directory.join(file));
    // The firmware that -bios names without a directory is found by QEMU in its own.
    let files = files.filter(|file| file.parent() != Some(&plan.working_directory));
    std::iter::once(plan.working_directory.clone()).chain(files).collect()
}

/// Every reason at the destination not to take a machine over; none if it can.
#[must_use]
pub fn refusals_at_destination(
    machine: &Description,
    plan: &Plan,
    host: &DestinationFacts,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    check_program(machine, plan, host, &mut refusals);
    check_names(machine, plan, host, &mut refusals);
    check_space(plan, host, &mut refusals);
    check_memory(machine, plan, host, &mut refusals);
    for (disk, fault) in &host.disks {
        refusals.push(Refusal::new(
            Code::DiskUnavailable,
            format!("the destination cannot open the disk {}: {fault}", disk.display()),
            "put it on storage that both hosts see at this path, writable for root",
        ));
    }
    for file in &host.missing {
        let text = format!("the destination has no {}", file.display());
        refusals.push(Refusal::new(Code::FileMissing, text, "copy it there, to the same path"));
    }
    refusals
}

fn check_program(
    machine: &Description,
    plan: &Plan,
    host: &DestinationFacts,
    refusals: &mut Vec<Refusal>,
) {
    let binary = plan.binary.display();
    match &host.version {
        Some(Err(fault)) => {
            refusals.push(Refusal::new(
                Code::ProgramMissing,
                format!("the destination cannot run {binary}: {fault}"),
                "install the same QEMU there, at the same path",
            ));
            return;
        }
        Some(Ok(version)) if *version < machine.version => refusals.push(Refusal::new(
            Code::Version,
            format!(
                "the destination's QEMU {version} is older than the machine's {}",
                machine.version
            ),
            format!("install QEMU {} or newer there", machine.version),
        )),
        _ => {}
    }
    if !host.machine_types.contains(&machine.machine_type) {
        refusals.push(Refusal::new(
            Code::MachineTypeUnknown,
            format!(
                "the destination's QEMU does not know the machine type {}",
                machine.machine_type
            ),
            "install a QEMU there that has it, or restart the machine with a type that both have",
        ));
    }
    if machine.accel == Accel::Kvm && !host.kvm {
        refusals.push(Refusal::new(
            Code::AccelMissing,
            "the machine runs by KVM, and the destination cannot open /dev/kvm",
            "load the module kvm_intel or kvm_amd there, or choose another host",
        ));
    }
}

fn check_names(
    machine: &Description,
    plan: &Plan,
    host: &DestinationFacts,
    refusals: &mut Vec<Refusal>,
) {
    let place = plan.directory.display();
    if host.name_taken {
        refusals.push(Refusal::new(
            Code::NameTaken,
            format!("the destination has a machine `{}` already ({place})", machine.name),
            "remove that one, or choose another host",
        ));
    }
    for file in &host.ram_taken {
        let text = format!("the destination has the RAM file {} already", file.display());
        let remedy = "remove it if no machine uses it";
        refusals.push(Refusal::new(Code::NameTaken, text, remedy));
    }
    for (place, fault) in &host.ports {
        let text = format!("the machine listens on {place}, and the destination cannot: {fault}");
        let remedy = "free the port there, or start the machine with another one";
        refusals.push(Refusal::new(Code::PortTaken, text, remedy));
    }
    for bridge in plan.taps.iter().filter_map(|tap| tap.bridge.as_ref()) {
        if !host.interfaces.contains(bridge) {
            let text = format!("the destination has no bridge `{bridge}`");
            let remedy = format!("make it there (ip link add {bridge} type bridge)");
            refusals.push(Refusal::new(Code::BridgeMissing, text, remedy));
        }
    }
}

fn check_space(plan: &Plan, host: &DestinationFacts, refusals: &mut Vec<Refusal>) {
    for (place, free) in &host.free {
        // What is shared is there already.
        let made = plan.ram.iter().filter(|file| file.shared.is_none());
        let here = made.filter(|file| file.path.parent() == Some(place));
        let need: Bytes = here.map(|file| file.size).sum();
        let free = free.unwrap_or(Bytes::ZERO);
        if free < need {
            refusals.push(Refusal::new(
                Code::RamTooSmall,
                format!(
                    "destination too small: {} has {free} free, the machine needs {need}",
                    place.display()
                ),
                "free memory there, or choose another host",
            ));
        }
    }
}

/// Memory that is in no file comes from the kernel directly.
fn check_memory(
    machine: &Description,
    plan: &Plan,
    host: &DestinationFacts,
    refusals: &mut Vec<Refusal>,
) {
    let in_files = |id: &String| plan.ram.iter().any(|file| file.region == *id);
    let private = machine.memory.iter().filter(|backend| !in_files(&backend.id));
    let need: Bytes = private.map(|backend| backend.size).sum();
    if host.memory < need {
        let free = host.memory;
        refusals.push(Refusal::new(
            Code::RamTooSmall,
            format!("destination too small: it has {free} free, the machine needs {need}"),
            "free memory there, or choose another host",
        ));
    }
}
