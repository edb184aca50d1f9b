//! Programs inside a lab: in the foreground, and in the background with a log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use thiserror::Error;

use crate::lab::{Lab, NoSuchPlace};
use crate::names::LabName;
use crate::process::{Process, ProcessId, ProcessRecord};

/// Why a program was not run inside a lab.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no such place.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// It cannot be started.
    #[error("cannot run `{program}` in {place} of lab {lab}: {source}")]
    Start {
        /// What was to be run.
        program: String,
        /// Where.
        place: String,
        /// In which lab.
        lab: LabName,
        /// Why it was not.
        source: io::Error,
    },
    /// The lab has been taken down.
    #[error("lab {0} is gone: `punctual lab up --name {0}` makes it again")]
    Gone(LabName),
    /// A process of that name runs there.
    #[error("`{name}` already runs in {place} of lab {lab}, as process {pid}: end it first")]
    Runs {
        /// What it is called.
        name: String,
        /// Where.
        place: String,
        /// In which lab.
        lab: LabName,
        /// Its number.
        pid: u32,
    },
    /// It was started, but could not be written down, and was ended.
    #[error("cannot note the process in {}: {source}", path.display())]
    Note {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Lab {
    /// Prepares `command` to run in a host, in `client` or in `switch`: in its network namespace,
    /// and with `PUNCTUAL_LAB` and, in a host, `PUNCTUAL_HOST` and `PUNCTUAL_SOCKET` set.
    ///
    /// # Errors
    /// There is no such place, or the lab has been taken down.
    pub fn enter(&self, place: &str, command: &mut Command) -> Result<(), RunError> {
        let failed = |source, command: &Command| self.start_error(place, command, source);
        self.namespace(place)?.enter(command).map_err(|source| failed(source, command))?;
        command.env("PUNCTUAL_LAB", self.state.name.as_str());
        if let Some(host) = self.state.host(place) {
            command.env("PUNCTUAL_HOST", host.name.as_str());
            command.env("PUNCTUAL_SOCKET", &host.socket);
        }
        Ok(())
    }

    /// Runs a program to its end in a host, in `client` or in `switch`, with this process's input
    /// and output unless `command` says otherwise.
    ///
    /// # Errors
    /// It cannot be started. How it ended is no error.
    pub fn exec(&self, place: &str, mut command: Command) -> Result<ExitStatus, RunError> {
        self.enter(place, &mut command)?;
        command.status().map_err(|source| self.start_error(place, &command, source))
    }

    /// Starts a program in the background of a place. Its output is appended to `NAME.log` in the
    /// place's log directory, and it ends with the lab.
    ///
    /// # Errors
    /// It cannot be started, or one of that name runs there.
    pub fn spawn(
        &self,
        place: &str,
        name: &str,
        mut command: Command,
    ) -> Result<Process, RunError> {
        let lab = &self.state.name;
        let path = self.store.state_file(lab);
        let note = |source| RunError::Note { path: path.clone(), source };
        // Not between a reading and a writing of somebody else.
        let gone = || RunError::Gone(lab.clone());
        let _locked = self.store.lock(lab).map_err(note)?.ok_or_else(gone)?;
        let mut state = self.store.read(lab).map_err(note)?.ok_or_else(gone)?;
        let same = |process: &&ProcessRecord| process.name == name && process.place == place;
        state.processes.retain(|process| !same(&process) || process.id.is_running());
        if let Some(process) = state.processes.iter().find(same) {
            let (name, place, lab) = (name.to_owned(), place.to_owned(), lab.clone());
            return Err(RunError::Runs { name, place, lab, pid: process.id.pid });
        }

        self.enter(place, &mut command)?;
        let log = self.store.directory(lab).join(place).join("log").join(format!("{name}.log"));
        let child = start(&mut command, &log)
            .map_err(|source| self.start_error(place, &command, source))?;
        let record = record(&child, name, place, log);
        state.processes.push(record.clone());
        let process = Process::watch(record, child);
        if let Err(source) = self.store.write(&state) {
            // What nobody remembers shall not run; that it may not end is the lesser news.
            let _ = process.kill();
            return Err(note(source));
        }
        Ok(process)
    }

    pub(crate) fn start_error(
        &self,
        place: &str,
        command: &Command,
        source: io::Error,
    ) -> RunError {
        RunError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            place: place.to_owned(),
            lab: self.state.name.clone(),
            source,
        }
    }
}

fn start(command: &mut Command, log: &PathBuf) -> io::Result<Child> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory)?;
    }
    let output: File = OpenOptions::new().create(true).append(true).open(log)?;
    // A group of its own: Ctrl-C is meant for the program in the foreground.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()
}

fn record(child: &Child, name: &str, place: &str, log: PathBuf) -> ProcessRecord {
    // One that has ended already is remembered with a start that no process has.
    let pid = child.id();
    let id = ProcessId::of(pid).unwrap_or(ProcessId { pid, started: u64::MAX });
    ProcessRecord { id, name: name.to_owned(), place: place.to_owned(), log }
}
