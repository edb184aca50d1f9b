//! How a lab is taken down, whole or in the pieces that a crash left.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::iproute::{self, Batch, Tool};
use crate::names::LabName;
use crate::namespace::{Identity, Namespace};
use crate::process::{GRACE, ProcessId, end_all};
use crate::state::{self, LabState, Store};

/// Why a lab is not, or not wholly, gone.
#[derive(Debug, Error)]
pub enum DownError {
    /// The state cannot be read, so what belongs to the lab is not known.
    #[error(
        "cannot read what belongs to lab {lab} ({}: {source}); `ip netns` shows its namespaces, \
         {lab}-…: end what runs in them, delete them, and remove the file's directory",
        file.display()
    )]
    State {
        /// Which lab.
        lab: LabName,
        /// Where its state is.
        file: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// Taking the lab down would end the one who does it.
    #[error("this process runs inside lab {lab}: take the lab down from outside")]
    Inside {
        /// Which lab.
        lab: LabName,
    },
    /// Some of it is still there; what is gone is gone, and `down` may be tried again.
    #[error("lab {lab} is not wholly gone: {}; try again, as root", problems.join("; "))]
    Left {
        /// Which lab.
        lab: LabName,
        /// What could not be removed, and why.
        problems: Vec<String>,
        /// What was removed all the same.
        removed: Box<Removed>,
    },
}

/// What was removed with a lab. Nothing at all if there was no such lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Processes that had to be ended.
    pub processes: Vec<ProcessId>,
    /// Interfaces, as `NAMESPACE/INTERFACE`.
    pub interfaces: Vec<String>,
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Files and directories, RAM of guests first.
    pub files: Vec<PathBuf>,
}

impl Removed {
    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing was there");
        }
        write!(
            f,
            "removed {} processes, {} interfaces, {} namespaces, {} files and directories",
            self.processes.len(),
            self.interfaces.len(),
            self.namespaces.len(),
            self.files.len()
        )
    }
}

/// Takes down the lab called `lab`, whatever is left of it. The caller holds its lock.
pub(crate) fn take_down(store: &Store, lab: &LabName) -> Result<Removed, DownError> {
    let state = store.read(lab).map_err(|source| {
        let file = store.state_file(lab);
        DownError::State { lab: lab.clone(), file, source }
    })?;
    let mut removal = Removal::default();
    if let Some(state) = state {
        if is_inside(&state) {
            return Err(DownError::Inside { lab: lab.clone() });
        }
        removal.processes(&state);
        for namespace in state.namespaces() {
            removal.namespace(namespace);
        }
    }
    removal.directory(&store.ram_directory(lab));
    // The state goes last: while anything is left, so is the knowledge of it.
    if removal.problems.is_empty() {
        removal.lab_directory(&store.directory(lab), &store.state_file(lab));
    }
    let Removal { removed, problems } = removal;
    if problems.is_empty() {
        Ok(removed)
    } else {
        Err(DownError::Left { lab: lab.clone(), problems, removed: Box::new(removed) })
    }
}

fn is_inside(state: &LabState) -> bool {
    let own = Identity::of_process(std::process::id());
    state.namespaces().any(|namespace| own.is_some() && namespace.identity() == own)
}

/// A removal that goes on after a failure, so that one stubborn piece does not keep the others.
#[derive(Default)]
struct Removal {
    removed: Removed,
    problems: Vec<String>,
}

impl Removal {
    fn note<T>(&mut self, what: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|error| self.problems.push(format!("{what}: {error}"))).ok()
    }

    /// Ends what the lab started, then what that started: all that is in its namespaces.
    fn processes(&mut self, state: &LabState) {
        let same_boot = state::boot().is_ok_and(|boot| boot == state.boot);
        let recorded: Vec<_> = state.processes.iter().map(|process| process.id).collect();
        self.end(if same_boot { &recorded } else { &[] });

        let namespaces: BTreeSet<_> = state.namespaces().filter_map(Namespace::identity).collect();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            // A process can start another while it is being ended, so look again.
            let members = members(&namespaces);
            if members.is_empty() || !self.end(&members) {
                return;
            }
            if std::time::Instant::now() > deadline {
                self.problems.push(format!("processes {members:?} keep starting others"));
                return;
            }
        }
    }

    fn end(&mut self, processes: &[ProcessId]) -> bool {
        let ended = self.note("processes", end_all(processes, GRACE));
        let done = ended.is_some();
        self.removed.processes.extend(ended.unwrap_or_default());
        done
    }

    fn namespace(&mut self, namespace: &Namespace) {
        let name = namespace.name();
        if namespace.identity().is_some() {
            let interfaces = self.note(name, iproute::interfaces(name)).unwrap_or_default();
            let mut ip = Batch::new(Tool::Ip, Some(name));
            for interface in &interfaces {
                ip.add(format!("link delete dev {}", interface.name));
            }
            // A namespace takes its interfaces with it, but later, and a tap that somebody outside
            // holds would stay.
            if self.note(name, ip.run()).is_some() {
                let names = interfaces.iter().map(|interface| format!("{name}/{}", interface.name));
                self.removed.interfaces.extend(names);
            }
        }
        if fs::symlink_metadata(namespace.path()).is_ok() {
            let mut ip = Batch::new(Tool::Ip, None);
            ip.add(format!("netns delete {name}"));
            if self.note(name, ip.run()).is_some() {
                self.removed.namespaces.push(name.to_owned());
            }
        }
    }

    fn lab_directory(&mut self, directory: &Path, state: &Path) {
        for entry in entries(directory) {
            if entry != state {
                self.path(&entry);
            }
        }
        if state.exists() {
            self.path(state);
        }
        if self.problems.is_empty() && directory.exists() {
            self.path(directory);
        }
    }

    fn directory(&mut self, directory: &Path) {
        if fs::symlink_metadata(directory).is_ok() {
            self.path(directory);
        }
    }

    /// Removes a file, or a directory after all that is in it. Links are not followed.
    fn path(&mut self, path: &Path) {
        let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let gone = if is_directory {
            entries(path).iter().for_each(|entry| self.path(entry));
            remove_directory(path)
        } else {
            fs::remove_file(path)
        };
        if self.note(&path.display().to_string(), gone).is_some() {
            self.removed.files.push(path.to_owned());
        }
    }
}

/// Removes an empty directory, and what a daemon has mounted over it first.
fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            nix::mount::umount(path)?;
            fs::remove_dir(path)
        }
        removed => removed,
    }
}

/// The processes whose first thread is in one of the namespaces.
fn members(namespaces: &BTreeSet<Identity>) -> Vec<ProcessId> {
    entries(Path::new("/proc"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter(|pid| Identity::of_process(*pid).is_some_and(|own| namespaces.contains(&own)))
        .filter_map(ProcessId::of)
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
