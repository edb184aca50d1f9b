use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::describe::Program;
use super::plan::Plan;
use super::tap::Tap;

/// The file in a machine's directory that tells what was made for it.
const RECORD: &str = "plan.json";
/// The file with the number of its process.
const PROCESS: &str = "pid";

/// What a machine has on its host beside its process, to be removed with it.
///
/// A machine that something else started has only its RAM files: its sockets vanish with QEMU, and
/// its taps are that program's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongings {
    pub(super) ram: Vec<PathBuf>,
    pub(super) taps: Vec<Tap>,
    pub(super) directory: Option<PathBuf>,
}

/// What could not be removed.
#[derive(Debug, Error)]
#[error("not all of it could be removed: {}", .0.join("; "))]
pub struct Leftover(Vec<String>);

impl Belongings {
    /// What a plan makes.
    pub(super) fn of_plan(plan: &Plan) -> Self {
        Self {
            ram: plan.ram.iter().map(|file| file.path.clone()).collect(),
            taps: plan.taps.clone(),
            directory: Some(plan.directory.clone()),
        }
    }

    /// What the machine with this monitor has: as recorded when it was made, or the RAM files.
    pub(super) fn found(monitor: &Path, ram: Vec<PathBuf>) -> Self {
        match Self::recorded(monitor) {
            Some(plan) => Self::of_plan(&plan),
            None => Self { ram, ..Self::default() },
        }
    }

    /// The plan by which the machine with this monitor was made; `None`: something else made it.
    pub(super) fn recorded(monitor: &Path) -> Option<Plan> {
        let record = fs::read(monitor.parent()?.join(RECORD)).ok()?;
        let plan = serde_json::from_slice::<Plan>(&record).ok()?;
        (plan.monitor == monitor).then_some(plan)
    }

    /// What a machine that no longer runs has left in its directory and beside it; `None` if it
    /// runs, or if nothing was recorded of it.
    pub(super) fn of_dead_machine(directory: &Path) -> Option<Self> {
        let plan: Plan = serde_json::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()?;
        let pid = fs::read_to_string(directory.join(PROCESS)).ok()?.trim().parse().ok()?;
        let lives = Program::of(pid).is_ok_and(|program| program.arguments == plan.arguments);
        (!lives).then(|| Self::of_plan(&plan))
    }

    /// Writes down what a plan makes, so that it is found when the daemon was started anew.
    pub(super) fn record(plan: &Plan) -> io::Result<()> {
        fs::write(plan.directory.join(RECORD), serde_json::to_vec_pretty(plan)?)
    }

    /// Writes down which process runs a plan.
    pub(super) fn record_process(plan: &Plan, pid: u32) -> io::Result<()> {
        fs::write(plan.directory.join(PROCESS), format!("{pid}\n"))
    }

    /// Removes everything; goes on where something cannot be removed. What is not there is no
    /// failure.
    pub(super) fn remove(&self) -> Result<(), Leftover> {
        let mut leftover = Vec::new();
        let mut check = |path: &Path, result: io::Result<()>| match result {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                leftover.push(format!("{}: {cause}", path.display()));
            }
            _ => {}
        };
        for file in &self.ram {
            check(file, fs::remove_file(file));
        }
        let taps = self.taps.iter().filter(|tap| tap.exists());
        let taps: Vec<_> = taps.filter_map(|tap| Some(tap.remove().err()?.to_string())).collect();
        // Last, since the record of all that there is lies in it: who is killed half way leaves
        // what the next one needs to go on.
        if let Some(directory) = &self.directory {
            check(directory, fs::remove_dir_all(directory));
        }
        leftover.extend(taps);
        if leftover.is_empty() { Ok(()) } else { Err(Leftover(leftover)) }
    }
}
