//! Machines for tests, and moving them by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_guest::qemu::describe::Accel;
use punctual_guest::qemu::qmp::Qmp;
use punctual_guest::qemu::{Destination, Machine, Places, Plan, Process, Source, Spec};
use punctual_guest::{DestinationMachine, Ram, SourceMachine};
use punctual_images::{Qemu, QemuChoice, bare_metal, qemu};
use punctual_units::{PAGE_SIZE, PageRange, PageSet};
use serde_json::json;
use tempfile::TempDir;

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A way to run machines that this computer has.
pub(crate) struct Kind {
    pub(crate) qemu: Qemu,
    pub(crate) accel: Accel,
}

/// Runs `test` for each QEMU with its translator, and for one of them with KVM; tells what is
/// skipped.
pub(crate) fn for_each_kind(test: impl Fn(&Kind)) {
    let mut kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !kvm {
        println!("SKIP KVM: /dev/kvm cannot be opened");
    }
    for choice in [QemuChoice::Seven, QemuChoice::Ten] {
        let qemu = match qemu(choice) {
            Ok(qemu) => qemu,
            Err(missing) => {
                println!("SKIP {choice}: {missing}");
                continue;
            }
        };
        println!("QEMU {} with TCG", qemu.version);
        test(&Kind { qemu: qemu.clone(), accel: Accel::Tcg });
        if std::mem::take(&mut kvm) {
            println!("QEMU {} with KVM", qemu.version);
            test(&Kind { qemu, accel: Accel::Kvm });
        }
    }
}

/// A host of its own: its directories, removed with it.
pub(crate) struct Host {
    pub(crate) runtime: TempDir,
    pub(crate) ram: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let ram = tempfile::Builder::new().prefix("punctual-test-").tempdir_in("/dev/shm");
        Self { runtime: tempfile::tempdir().unwrap(), ram: ram.unwrap() }
    }

    pub(crate) fn places(&self) -> Places {
        Places {
            runtime: self.runtime.path().to_owned(),
            ram: self.ram.path().to_owned(),
            huge_ram: PathBuf::from("/dev/hugepages"),
        }
    }

    /// That no machine has left anything.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(entries(self.ram.path()), Vec::<PathBuf>::new());
        assert_eq!(entries(&self.runtime.path().join("machines")), Vec::<PathBuf>::new());
    }

    pub(crate) fn serial_log(&self, machine: &str) -> PathBuf {
        self.places().directory(machine).join("serial.log")
    }
}

/// Where a test has failed, its machines still run.
impl Drop for Host {
    fn drop(&mut self) {
        for machine in entries(&self.runtime.path().join("machines")) {
            if let Some(process) = process_of(&machine) {
                process.kill().unwrap();
            }
        }
    }
}

/// The process of the machine with this directory, if it lives.
pub(crate) fn process_of(machine: &Path) -> Option<Process> {
    let pid: u32 = fs::read_to_string(machine.join("pid")).ok()?.trim().parse().ok()?;
    let process = Process::open(pid).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&arguments).contains(machine.to_str()?).then_some(process)
}

pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// A spec of the bare-metal guest, which writes RAM all the time and prints a letter a sweep.
pub(crate) fn bare_metal_spec(kind: &Kind, place: &Path) -> Spec {
    let image = place.join("bare-metal.img");
    fs::copy(bare_metal().unwrap(), &image).unwrap();
    let text = format!(
        "name = 'bare'\nmemory = '128MiB'\ncpu = 'qemu64'\naccel = '{}'\nbinary = '{}'\n\
         [[disk]]\npath = '{}'\ndevice = 'ide-hd'\n[env]\n{}",
        kind.accel.name(),
        kind.qemu.binary.display(),
        image.display(),
        environment(&kind.qemu),
    );
    let spec: Spec = text.parse().unwrap();
    Spec { extra: kind.qemu.arguments.clone(), ..spec }
}

pub(crate) fn environment(qemu: &Qemu) -> String {
    qemu.env.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect()
}

pub(crate) fn run(spec: &Spec, host: &Host) -> Machine {
    Machine::run(&spec.plan(&host.places(), spec.accel_here())).unwrap()
}

pub(crate) fn source(machine: Machine) -> Box<Source> {
    let ram = Arc::new(machine.open_ram().unwrap());
    Box::new(machine.into_source(ram))
}

pub(crate) fn destination(source: &Source, host: &Host) -> Box<Destination> {
    let description = source.machine().description();
    let plan = Plan::for_destination(description, &host.places(), &Default::default());
    Box::new(Destination::start(plan).unwrap())
}

/// Copies pages from the source's files into the destination's.
pub(crate) fn copy(pages: &PageSet, from: &Ram, to: &Ram) {
    const AT_ONCE: u64 = 256;
    let mut buffer = vec![0; (AT_ONCE * PAGE_SIZE.get()) as usize];
    for range in pages.ranges() {
        let mut at = range.start.0;
        while at < range.end.0 {
            let end = range.end.0.min(at + AT_ONCE);
            let bytes = &mut buffer[..((end - at) * PAGE_SIZE.get()) as usize];
            from.read(PageRange::new(at, end), bytes).unwrap();
            to.write(range.start.max(punctual_units::PageIndex(at)), bytes).unwrap();
            at = end;
        }
    }
}

/// Stops the source and brings RAM and device state over, up to the destination having loaded it.
/// Whether QEMU leaves out what describes the stream of its devices, or expects none.
pub(crate) fn leaves_out_description(qmp: &Qmp) -> bool {
    let property = json!({ "path": "/machine", "property": "suppress-vmdesc" });
    qmp.query("qom-get", property).unwrap()
}

pub(crate) fn hand_over(source: &mut Source, destination: &mut Destination) {
    source.start_tracing().unwrap();
    let ram = Arc::clone(source.ram());
    copy(&ram.populated().unwrap(), &ram, destination.ram());
    source.prepare_stop().unwrap();
    let mut stopped = source.stop().unwrap();
    source.save_device_state().unwrap();
    let mut state = Vec::new();
    stopped.device_state.read_to_end(&mut state).unwrap();
    let mut written = PageSet::empty(ram.layout().pages());
    source.collect_written(&mut written).unwrap();
    copy(&written, &ram, destination.ram());
    assert_eq!(ram.digest().unwrap(), destination.ram().digest().unwrap());
    let mut sink = destination.device_state().unwrap();
    // It may not take what describes the stream; of all else it says so itself.
    let _ = sink.write_all(&state);
    drop(sink);
    destination.wait_loaded(PATIENCE).unwrap();
}

/// Waits until a file has grown: the guest goes on.
pub(crate) fn wait_growth(file: &Path) {
    let length = || fs::metadata(file).map_or(0, |found| found.len());
    let before = length();
    wait_until(|| length() > before, &format!("{} does not grow", file.display()));
}

pub(crate) fn wait_until(mut reached: impl FnMut() -> bool, complaint: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{complaint}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
