//! The contract, kept by a plain process that is traced as QEMU is.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_guest::contract::{Breach, CHECKS, End, Rig};
use punctual_guest::process::{Process, ProcessDestination, ProcessSource, Setup, Workload};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_units::{Bytes, MemoryLayout, Region};
use tempfile::TempDir;

struct Processes {
    workload: Workload,
    directories: [TempDir; 2],
    machines: [Option<Arc<Process>>; 2],
}

impl Processes {
    fn new(workload: Workload) -> Self {
        let directory = || tempfile::tempdir_in("/dev/shm").unwrap();
        Self { workload, directories: [directory(), directory()], machines: [None, None] }
    }

    fn setup(&self, end: End) -> Setup {
        let region = |name: &str, size| Region { name: name.to_owned(), size };
        let regions = vec![region("ram0", Bytes::mib(12)), region("dimm1", Bytes::mib(4))];
        Setup {
            name: "vm1".to_owned(),
            layout: MemoryLayout::new(regions).unwrap(),
            directory: self.directories[end as usize].path().to_owned(),
            worker: PathBuf::from(env!("CARGO_BIN_EXE_punctual-process")),
        }
    }

    fn machine(&self, end: End) -> Option<&Arc<Process>> {
        self.machines[end as usize].as_ref().filter(|machine| machine.is_alive())
    }
}

impl Rig for Processes {
    fn source(&mut self) -> Result<Box<dyn SourceMachine>, Breach> {
        if self.machine(End::Source).is_none() {
            let started = Process::run(&self.setup(End::Source), 17, self.workload);
            let started = started.map_err(|error| Breach::unexpected("start", error))?;
            self.machines[End::Source as usize] = Some(started);
        }
        let process = self.machine(End::Source).unwrap();
        Ok(Box::new(ProcessSource::new(Arc::clone(process))))
    }

    fn destination(&mut self) -> Result<Box<dyn DestinationMachine>, Breach> {
        let started = Process::wait(&self.setup(End::Destination));
        let started = started.map_err(|error| Breach::unexpected("start", error))?;
        self.machines[End::Destination as usize] = Some(Arc::clone(&started));
        Ok(Box::new(ProcessDestination::new(started)))
    }

    fn works(&mut self, end: End) -> Result<bool, Breach> {
        let Some(process) = self.machine(end) else { return Ok(false) };
        let look =
            |result: Result<u64, _>| result.map_err(|error| Breach::unexpected("look", error));
        let before = look(process.writes())?;
        let deadline = Instant::now() + Duration::from_millis(300);
        while Instant::now() < deadline {
            if look(process.writes())? > before {
                return process
                    .check()
                    .map(|()| true)
                    .map_err(|error| Breach::unexpected("the guest's own check", error));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(false)
    }

    fn remains(&mut self, end: End) -> Vec<String> {
        let files = fs::read_dir(self.directories[end as usize].path()).unwrap();
        let mut found: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        if let Some(process) = self.machine(end) {
            let pid = process.pid().as_raw_pid();
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
            let watched = |line: &&str| line.starts_with("VmFlags:") && line.contains(" uw");
            found.push(format!("process {pid}"));
            found.push(format!("{} watched mappings", smaps.lines().filter(watched).count()));
            let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            found.push(format!("{files} open files"));
        }
        found
    }
}

fn keeps_the_contract(workload: Workload) {
    for (name, check) in CHECKS {
        let kept = check(&mut Processes::new(workload));
        kept.unwrap_or_else(|breach| panic!("{name}: {breach}"));
    }
}

#[test]
fn a_uniform_writer_keeps_the_contract() {
    keeps_the_contract(Workload::Uniform { writes_per_second: 20_000 });
}

#[test]
fn a_hot_and_cold_writer_keeps_the_contract() {
    keeps_the_contract(Workload::HotCold { writes_per_second: 5_000 });
}

#[test]
fn the_guest_sees_one_wrong_byte() {
    let rig = Processes::new(Workload::Idle);
    let process = Process::run(&rig.setup(End::Source), 3, Workload::Idle).unwrap();
    process.check().unwrap();
    let ram = process.ram();
    let page = punctual_units::PageIndex(ram.layout().pages().get() - 1);
    ram.write_at(page, Bytes::new(4000), &[0xff]).unwrap();
    let wrong = process.check().unwrap_err().to_string();
    assert!(wrong.contains("page 4095 byte 4000 is 255"), "{wrong}");
}
