use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::LayoutError;
use thiserror::Error;

use super::belongings::Belongings;
use super::plan::{Plan, RamFile};
use super::process::Process;
use super::qmp::{Qmp, QmpError};
use super::tap::TapError;
use crate::{Ram, RamError};

/// How long QEMU may take until its monitor answers.
const START: Duration = Duration::from_secs(30);
/// Between two looks at whether the monitor is there.
const LOOK: Duration = Duration::from_millis(5);
/// How much of QEMU's last words an error quotes, in bytes.
const QUOTED: usize = 2000;

/// Why a machine could not be started. Nothing is left of it then.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// A machine of this name has its directory here.
    #[error("a machine of this name is here already ({}): choose another name, or remove that machine", .0.display())]
    NameTaken(PathBuf),
    /// Its directory or log could not be made.
    #[error("cannot make {}: {cause}", path.display())]
    File {
        /// What was to be made.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The plan has no RAM that makes sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its RAM could not be made.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Its taps could not be made.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The program could not be run.
    #[error("cannot run {}: {cause}; install QEMU, or name its program in the spec (`binary`)", binary.display())]
    Program {
        /// The program.
        binary: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// QEMU ended before its monitor answered.
    #[error("QEMU did not start; it says: {said}")]
    Ended {
        /// What it wrote last.
        said: String,
    },
    /// QEMU runs and its monitor does not answer.
    #[error("QEMU started, but its monitor does not answer: {cause}; it says: {said}")]
    Monitor {
        /// The cause.
        cause: QmpError,
        /// What it wrote last.
        said: String,
    },
}

/// A QEMU that was started here.
#[derive(Debug)]
pub(super) struct Launched {
    pub qmp: Arc<Qmp>,
    pub process: Process,
    /// Its RAM, where that is in files of the plan.
    pub ram: Option<Ram>,
    pub belongings: Belongings,
}

/// Does what a plan says, until the monitor answers.
pub(super) fn launch(plan: &Plan) -> Result<Launched, LaunchError> {
    let mut made = Made(Belongings::default());
    make_directory(plan)?;
    made.0.directory = Some(plan.directory.clone());
    // First of all, so that what a crash leaves half made can be found and removed.
    let record = |cause| LaunchError::File { path: plan.directory.clone(), cause };
    Belongings::record(plan).map_err(record)?;
    let ram = if plan.ram.is_empty() { None } else { Some(make_ram(plan)?) };
    made.0.ram = plan.ram.iter().map(|file| file.path.clone()).collect();
    for tap in &plan.taps {
        tap.create()?;
        made.0.taps.push(tap.clone());
    }
    let (qmp, process) = start(plan)?;
    Ok(Launched { qmp, process, ram, belongings: made.keep() })
}

/// Makes the RAM files, or second names for those that are shared.
fn make_ram(plan: &Plan) -> Result<Ram, LaunchError> {
    let shared = |file: &RamFile| Some((file.shared.clone()?, file.path.clone()));
    let names: Vec<_> = plan.ram.iter().filter_map(shared).collect();
    if !names.is_empty() {
        return Ok(Ram::link(plan.layout()?, &names)?);
    }
    let paths: Vec<PathBuf> = plan.ram.iter().map(|file| file.path.clone()).collect();
    Ok(Ram::create(plan.layout()?, &paths)?)
}

/// What has been made so far: removed again if the rest cannot be made.
struct Made(Belongings);

impl Made {
    fn keep(mut self) -> Belongings {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove() {
            tracing::warn!(%error, "a machine that did not start left something");
        }
    }
}

/// Makes the machine's directory. One that a machine left which no longer runs is removed first,
/// with all else that it left.
fn make_directory(plan: &Plan) -> Result<(), LaunchError> {
    let directory = &plan.directory;
    let failed = |cause| LaunchError::File { path: directory.clone(), cause };
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let make = || DirBuilder::new().mode(0o700).create(directory);
    match make() {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            let dead = Belongings::of_dead_machine(directory);
            let dead = dead.ok_or_else(|| LaunchError::NameTaken(directory.clone()))?;
            dead.remove().map_err(io::Error::other).and_then(|()| make()).map_err(failed)
        }
        made => made.map_err(failed),
    }
}

/// Starts QEMU in a session of its own, so that it outlives this process and its terminal.
fn start(plan: &Plan) -> Result<(Arc<Qmp>, Process), LaunchError> {
    let log = plan.log();
    let file = |cause| LaunchError::File { path: log.clone(), cause };
    let output = File::options().create(true).append(true).open(&log).map_err(file)?;
    let errors = output.try_clone().map_err(file)?;
    let mut command = Command::new(&plan.binary);
    command
        .args(&plan.arguments)
        .envs(&plan.environment)
        .current_dir(&plan.working_directory)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    // SAFETY: setsid(2) is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    let failed = |cause| LaunchError::Program { binary: plan.binary.clone(), cause };
    let mut child = command.spawn().map_err(failed)?;
    let process = match Process::open(child.id()) {
        Ok(process) => process,
        Err(cause) => {
            let _ = child.kill();
            return Err(failed(cause));
        }
    };
    bury(child);
    if let Err(cause) = Belongings::record_process(plan, process.pid()) {
        tracing::warn!(machine = plan.machine, %cause, "the number of its process is not recorded");
    }
    match wait_for_monitor(plan, &process) {
        Ok(qmp) => Ok((Arc::new(qmp), process)),
        Err(error) => {
            if let Err(cause) = process.kill() {
                tracing::warn!(machine = plan.machine, %cause, "QEMU not ended");
            }
            Err(error)
        }
    }
}

/// Takes note of the child's end, whenever it comes, so that it does not stay as a zombie.
fn bury(mut child: Child) {
    let pid = child.id();
    let thread = std::thread::Builder::new().name(format!("wait-{pid}"));
    if let Err(cause) = thread.spawn(move || child.wait()) {
        tracing::warn!(pid, %cause, "QEMU's process will stay as a zombie when it ends");
    }
}

fn wait_for_monitor(plan: &Plan, process: &Process) -> Result<Qmp, LaunchError> {
    let deadline = Instant::now() + START;
    loop {
        let cause = match Qmp::connect(&plan.monitor) {
            Ok(qmp) => return Ok(qmp),
            Err(cause) => cause,
        };
        // Waiting for the end of the process is the pause between two looks.
        if process.wait_end(LOOK).unwrap_or(false) {
            return Err(LaunchError::Ended { said: last_words(plan) });
        }
        if Instant::now() > deadline {
            return Err(LaunchError::Monitor { cause, said: last_words(plan) });
        }
    }
}

/// The end of what QEMU wrote.
pub(super) fn last_words(plan: &Plan) -> String {
    let log = fs::read(plan.log()).unwrap_or_default();
    let end = &log[log.len().saturating_sub(QUOTED)..];
    let words = String::from_utf8_lossy(end).trim().to_owned();
    if words.is_empty() { "nothing".to_owned() } else { words }
}
