//! Machines of unmodified QEMU, as `punctual_guest::qemu` knows them.

mod native;
mod refusing;
mod remains;
mod restart;
mod succession;

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use punctual_guest::demand::Demand;
use punctual_guest::qemu::describe::Program;
use punctual_guest::qemu::movable::{DestinationFacts, refusals_at_destination};
use punctual_guest::qemu::{
    self, Description, Destination, Machine, Places, Plan, Process, Source, Spec, Unplugged,
};
use punctual_guest::{DestinationMachine, MachineError, Surrendered};
use punctual_units::{Bytes, MemoryLayout};
use punctual_wire::{Engine, MigrationId, Offer, Refusal};
use serde::{Deserialize, Serialize};

use refusing::{for_the_wire, no_post_copy, obstacles, refusal};
use remains::Remains;
use restart::Reserved;

use super::{
    Arrival, Choice, Departure, Disk, Examination, Handle, Hypervisor, Identity, Links,
    OwnDeparture, Succession, Ties,
};
use crate::api::{MachineState, Problem, RamFile};
use crate::config::HostConfig;

/// Where the kernel has huge pages.
const HUGE_PAGES: &str = "/dev/hugepages";

/// Runs machines by QEMU.
#[derive(Debug, Clone)]
pub struct QemuHypervisor {
    places: Places,
    /// Of machines that QEMU itself migrates here.
    streams: Arc<native::Streams>,
}

/// What finds a QEMU again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Found {
    monitor: PathBuf,
    pid: u32,
    /// Distinguishes the process from a later one of the same number.
    started: u64,
    memory: Bytes,
    /// To be removed where QEMU can no longer tell.
    ram: Vec<PathBuf>,
    /// How the pages are spread over these files; `None` where some of them are in none.
    #[serde(default)]
    layout: Option<MemoryLayout>,
}

impl QemuHypervisor {
    /// A hypervisor whose machines live in the directories of `config`.
    #[must_use]
    pub fn new(config: &HostConfig) -> Self {
        Self {
            places: Places {
                runtime: config.runtime_dir.clone(),
                ram: config.ram_dir.clone(),
                huge_ram: HUGE_PAGES.into(),
            },
            streams: Arc::default(),
        }
    }

    fn plan_arrival(&self, offer: &Offer) -> Result<(Description, Plan), String> {
        let description: Description = serde_json::from_slice(&offer.description)
            .map_err(|error| format!("the machine's description is not understood: {error}"))?;
        if description.name != offer.machine {
            let Offer { machine, .. } = offer;
            return Err(format!("`{machine}` is offered, `{}` is described", description.name));
        }
        let plan = Plan::for_destination(&description, &self.places, &qemu::interfaces());
        Ok((description, plan))
    }

    /// Starts the process of a machine that is to come.
    fn start(&self, offer: &Offer) -> Result<(Destination, Handle), MachineError> {
        let (_, plan) = self.plan_arrival(offer).map_err(|cause| MachineError {
            machine: offer.machine.clone(),
            action: "start at the destination",
            cause: cause.into(),
        })?;
        let destination = Destination::start(plan)?;
        let found = Found::of_plan(destination.plan(), destination.qmp().peer());
        Ok((destination, found.into()))
    }

    /// Removes what the plan in a machine's directory made, or what of it a crash left time for;
    /// its process first.
    fn discard_planned(directory: &Path) -> Result<(), String> {
        if let Ok(plan) = fs::read(directory.join("plan.json")) {
            let plan: Plan = serde_json::from_slice(&plan).map_err(|error| error.to_string())?;
            for process in processes_of(&plan) {
                process.kill().map_err(|error| format!("process {}: {error}", process.pid()))?;
            }
            let mut taps = plan.taps.iter().filter(|tap| tap.exists());
            taps.try_for_each(|tap| tap.remove()).map_err(|error| error.to_string())?;
            plan.ram.iter().try_for_each(|file| remove_file(&file.path))?;
        }
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", directory.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Hypervisor for QemuHypervisor {
    fn name_of(&self, spec: &str) -> Result<String, Problem> {
        Ok(read(spec)?.name)
    }

    fn run(&self, spec: &str, directory: &Path) -> Result<Handle, Problem> {
        let mut spec = read(spec)?;
        let absolute = |path: &mut PathBuf| *path = directory.join(&*path);
        spec.kernel.iter_mut().chain(&mut spec.initrd).for_each(absolute);
        spec.disk.iter_mut().for_each(|disk| absolute(&mut disk.path));
        // A bare name is looked up on the path.
        if spec.binary.components().count() > 1 {
            absolute(&mut spec.binary);
        }
        let plan = spec.plan(&self.places, spec.accel_here());
        let failed =
            |error| Problem::failed(format!("machine `{}` did not start: {error}", spec.name), "");
        Ok(handle(Machine::run(&plan).map_err(failed)?.description()))
    }

    fn attach(&self, name: &str, qmp: &Path) -> Result<Handle, Problem> {
        let failed = |error| Problem::failed(format!("machine `{name}`: {error}"), "");
        Ok(handle(Machine::attach(qmp).map_err(failed)?.description()))
    }

    fn identity(&self, handle: &Handle) -> Identity {
        if let Some(reserved) = Reserved::of(handle) {
            return reserved.identity();
        }
        found(handle).map_or(Identity { pid: 0, memory: Bytes::ZERO }, |found| Identity {
            pid: found.pid,
            memory: found.memory,
        })
    }

    fn state(&self, handle: &Handle) -> MachineState {
        if let Some(reserved) = Reserved::of(handle) {
            return reserved.state();
        }
        let Some(found) = found(handle).filter(Found::lives) else { return MachineState::Gone };
        state_behind(&found.monitor)
    }

    /// One of which nothing is known is not said to be, nor one that is yet to be started here.
    fn is_gone(&self, handle: &Handle) -> bool {
        found(handle).is_some_and(|found| !found.lives())
    }

    fn examine(&self, handle: &Handle) -> Result<Examination, Problem> {
        let machine = attached(handle)?;
        let description = machine.description();
        let command_line = std::iter::once(description.program.binary.display().to_string())
            .chain(description.program.arguments.iter().cloned());
        let (choice, obstacles) = native::choice(description);
        Ok(Examination {
            command_line: command_line.collect(),
            qmp: Some(description.monitor.clone()),
            ram: description.memory.iter().map(ram_file).collect(),
            choice,
            obstacles,
        })
    }

    fn depart(&self, name: &str, handle: &Handle) -> Result<Departure, Vec<Refusal>> {
        let machine =
            attached(handle).map_err(|problem| vec![refusal("not-reachable", &problem)])?;
        let obstacles = obstacles(machine.description());
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        let ram = machine.open_ram().map_err(|error| {
            let what = Problem::refused(format!("machine `{name}`: {error}"), "");
            vec![refusal("ram-not-reachable", &what)]
        })?;
        // The name by which the operator knows it, not the one that QEMU was given.
        let description = Description { name: name.to_owned(), ..machine.description().clone() };
        let processors = u32::try_from(description.vcpus).ok().and_then(NonZeroU32::new);
        let direct_io = description.disks.iter().any(|disk| disk.direct);
        let description = serde_json::to_vec(&description).expect("a description is JSON");
        Ok(Departure {
            machine: Box::new(machine.into_source(Arc::new(ram))),
            description,
            processors: processors.unwrap_or(NonZeroU32::MIN),
            direct_io,
        })
    }

    fn shut_down(
        &self,
        name: &str,
        handle: &Handle,
        patience: Duration,
        insist: bool,
    ) -> Result<Departure, Vec<Refusal>> {
        Self::plan_shut_down(name, handle, patience, insist)
    }

    fn consider(&self, offer: &Offer) -> Result<Vec<String>, Vec<Refusal>> {
        let (description, plan) = self.plan_arrival(offer).map_err(|what| {
            let problem = Problem::refused(what, "run the same version of punctual on both hosts");
            vec![refusal("malformed-description", &problem)]
        })?;
        let facts = DestinationFacts::here(&description, &plan);
        let refusals = refusals_at_destination(&description, &plan, &facts);
        let mut refusals: Vec<Refusal> = refusals.iter().map(for_the_wire).collect();
        refusals.extend(offer.post_copy.then(|| no_post_copy(&plan)).flatten());
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let binary = plan.binary.display().to_string();
        Ok(std::iter::once(binary).chain(plan.arguments).collect())
    }

    fn choice(&self, handle: &Handle) -> Result<Choice, Problem> {
        Self::choose(handle)
    }

    fn depart_by_itself(&self, name: &str, handle: &Handle) -> Result<OwnDeparture, Vec<Refusal>> {
        Self::plan_own_departure(name, handle)
    }

    fn take_stream(&self, migration: MigrationId) -> Option<UnixStream> {
        self.streams.take(migration)
    }

    fn receive(&self, offer: &Offer) -> Result<Arrival, MachineError> {
        if offer.engine == Engine::Native {
            return self.receive_by_itself(offer);
        }
        if offer.engine == Engine::Restart {
            return self.reserve(offer);
        }
        let (destination, handle) = self.start(offer)?;
        Ok(Arrival { machine: Box::new(destination), handle })
    }

    fn ties(&self, description: &[u8]) -> Result<Ties, Problem> {
        let Description { disks, program, nics, .. } = described(description)?;
        let disk = |disk: &qemu::describe::Disk| Disk {
            path: program.directory.join(&disk.path),
            writable: !disk.read_only,
        };
        let disks = disks.iter().filter(|disk| disk.is_local()).map(disk).collect();
        Ok(Ties { disks, links: nics.len() })
    }

    fn renamed(&self, description: &[u8], name: &str) -> Result<Vec<u8>, Problem> {
        let renamed = described(description)?.renamed(name);
        Ok(serde_json::to_vec(&renamed).expect("a description is JSON"))
    }

    fn restore(&self, offer: &Offer, links: Links) -> Result<Arrival, MachineError> {
        let (destination, handle) = self.start(offer)?;
        let machine: Box<dyn DestinationMachine> = match links {
            Links::AsTheyWere => Box::new(destination),
            Links::Down => Box::new(Unplugged(destination)),
        };
        Ok(Arrival { machine, handle })
    }

    fn depends(&self, name: &str, handle: &Handle) -> Result<Option<Arc<dyn Demand>>, Problem> {
        if Reserved::of(handle).is_some() {
            // It is started anew: nothing of it is anywhere else.
            return Ok(None);
        }
        let found = found(handle).ok_or_else(unreadable)?;
        // In this order: what is held cannot become another process of the same number.
        let process = Process::open(found.pid).ok().filter(|_| found.lives());
        Destination::take_over(&found.monitor, process.as_ref()).map_err(|error| {
            let what = format!("machine `{name}`: its missing pages cannot be fetched: {error}");
            Problem::failed(what, "if it cannot be mended, stop the machine: it cannot go on")
        })
    }

    fn remains(
        &self,
        name: &str,
        handle: &Handle,
    ) -> Result<Option<Box<dyn Surrendered>>, Problem> {
        if self.state(handle) == MachineState::Running {
            let what = format!("machine `{name}` was moved away and runs here all the same");
            return Err(Problem::failed(what, "stop it (QMP: stop) before anything else"));
        }
        let found = found(handle).ok_or_else(unreadable)?;
        // Its process is ended before its memory is removed.
        let is_removed = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
        if !found.lives() && found.ram.iter().any(is_removed) {
            return Ok(None);
        }
        Ok(Some(Box::new(Remains::open(self, name, handle, &found)?)))
    }

    fn arrived(&self, handle: &Handle) -> Result<Handle, Problem> {
        Reserved::of(handle).map_or_else(|| Ok(handle.clone()), |reserved| reserved.arrived())
    }

    fn succeed(
        &self,
        name: &str,
        handle: &Handle,
        program: Option<&Path>,
    ) -> Result<Succession, Vec<Refusal>> {
        self.plan_succession(name, handle, program)
    }

    fn recover(&self, handle: &Handle) -> Result<(), Problem> {
        if let Some(reserved) = Reserved::of(handle) {
            return reserved.start();
        }
        let found = found(handle).ok_or_else(unreadable)?;
        Source::recover(&found.monitor).map(drop).map_err(|error| Problem::failed(error, ""))
    }

    fn discard(&self, name: &str, handle: Option<&Handle>) -> Result<(), Problem> {
        let failed = |what: String| {
            Problem::failed(
                format!("machine `{name}`: not all of it could be removed: {what}"),
                "remove what is named by hand",
            )
        };
        let Some(found) = handle.and_then(found) else {
            return Self::discard_planned(&self.places.directory(name)).map_err(failed);
        };
        let removed = match Machine::attach(&found.monitor) {
            Ok(machine) if machine.process().pid() == found.pid => {
                machine.quit().map_err(|error| error.to_string())
            }
            _ => found.remove(),
        };
        removed.map_err(failed)?;
        let directory = self.own_directory(&found.monitor);
        directory.map_or(Ok(()), |directory| Self::discard_planned(&directory)).map_err(failed)
    }
}

/// The processes that were started by a plan: its arguments name the machine's own directory, so
/// no other process has them. A program that is a script may have put some before them.
fn processes_of(plan: &Plan) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of = |program: Program| program.arguments.ends_with(&plan.arguments);
    pids.filter(|pid| Program::of(*pid).is_ok_and(is_of))
        .filter_map(|pid| Process::open(pid).ok())
        .collect()
}

impl Found {
    /// What a plan makes, run by process `pid`.
    fn of_plan(plan: &Plan, pid: u32) -> Self {
        Self {
            monitor: plan.monitor.clone(),
            pid,
            started: started(pid).unwrap_or(0),
            memory: plan.ram.iter().map(|file| file.size).sum(),
            ram: plan.ram.iter().map(|file| file.path.clone()).collect(),
            layout: plan.layout().ok(),
        }
    }

    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Ends a QEMU that does not answer, and removes its RAM.
    fn remove(&self) -> Result<(), String> {
        if let Ok(process) = Process::open(self.pid)
            && self.lives()
        {
            process.kill().map_err(|error| format!("process {}: {error}", self.pid))?;
        }
        self.ram.iter().try_for_each(|path| remove_file(path))
    }
}

impl From<Found> for Handle {
    fn from(found: Found) -> Self {
        serde_json::to_value(found).expect("a handle is JSON")
    }
}

fn handle(description: &Description) -> Handle {
    let pid = description.program.pid;
    let found = Found {
        monitor: description.monitor.clone(),
        pid,
        started: started(pid).unwrap_or(0),
        memory: description.memory.iter().map(|backend| backend.size).sum(),
        ram: description.memory.iter().filter_map(|backend| backend.path.clone()).collect(),
        layout: description.layout().ok(),
    };
    found.into()
}

/// How a machine is whose process is there.
fn state_behind(monitor: &Path) -> MachineState {
    let answer = qemu::qmp::Qmp::connect(monitor)
        .and_then(|qmp| qmp.execute("query-status", serde_json::json!({})));
    match answer {
        Ok(status) if status["running"] == true => MachineState::Running,
        Ok(_) => MachineState::Paused,
        Err(_) => MachineState::Silent,
    }
}

fn found(handle: &Handle) -> Option<Found> {
    serde_json::from_value(handle.clone()).ok()
}

fn attached(handle: &Handle) -> Result<Machine, Problem> {
    let found = found(handle).ok_or_else(unreadable)?;
    Machine::attach(&found.monitor).map_err(|error| Problem::failed(error, ""))
}

fn described(description: &[u8]) -> Result<Description, Problem> {
    serde_json::from_slice(description).map_err(|error| {
        let what = format!("the machine's description is not understood: {error}");
        Problem::refused(what, "use the version of punctual that wrote it")
    })
}

fn unreadable() -> Problem {
    Problem::failed(
        "the machine's record is of another version of the daemon",
        "attach the machine anew",
    )
}

fn read(spec: &str) -> Result<Spec, Problem> {
    spec.parse().map_err(|error| Problem::usage(error, ""))
}

/// When a process started, in clock ticks since the host did (`/proc/PID/stat`, field 22); `None`
/// for one that has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything, but ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

fn ram_file(backend: &qemu::describe::Backend) -> RamFile {
    use std::os::unix::fs::MetadataExt;
    let held = backend.path.as_ref().and_then(|path| fs::metadata(path).ok());
    // `st_blocks` counts 512 bytes each, whatever the file system's block is.
    let populated = held.map_or(Bytes::ZERO, |file| Bytes::new(file.blocks() * 512));
    RamFile { name: backend.id.clone(), size: backend.size, populated }
}

fn remove_file(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let this = std::process::id();
        assert!(started(this).is_some());
        let found = |started| Found {
            monitor: PathBuf::new(),
            pid: this,
            started,
            memory: Bytes::ZERO,
            ram: vec![],
            layout: None,
        };
        assert!(found(started(this).unwrap()).lives());
        assert!(!found(0).lives());
    }
}
