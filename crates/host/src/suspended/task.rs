//! What a daemon that is started again must know of a machine and its file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::{Id, Problem};
use crate::durable;

/// What is being done with a machine and a file. It is recorded before the file is touched, and
/// belongs to the machine's record by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// Which one: for what is saved, also the number of the snapshot.
    pub id: Id,
    /// The file.
    pub file: PathBuf,
    /// What is done.
    pub aim: Aim,
}

/// What is done with a machine and a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Aim {
    /// The machine is saved, and ends.
    Suspend,
    /// The machine is saved, and runs on.
    Copy,
    /// The machine is started from the file, which is then used up.
    Resume,
}

impl Task {
    pub(super) fn record(&self, directory: &Path, machine: &str) -> Result<(), Problem> {
        let path = path(directory, machine);
        let text = serde_json::to_vec_pretty(self).expect("a task is JSON");
        let written = fs::create_dir_all(directory).and_then(|()| durable::replace(&path, &text));
        written.map_err(|error| {
            let what = format!("machine `{machine}`: {}: {error}", path.display());
            Problem::failed(what, "make room in the daemon's state directory")
        })
    }

    /// The task of this number, if it came to be recorded.
    pub(super) fn read(directory: &Path, machine: &str, id: Id) -> Result<Option<Self>, Problem> {
        let path = path(directory, machine);
        let failed = |error: &dyn std::fmt::Display| {
            let what = format!("machine `{machine}`: {}: {error}", path.display());
            Problem::failed(what, "mend the state directory's disk, and start the daemon again")
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let task: Self = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        Ok(Some(task).filter(|task| task.id == id))
    }

    /// Forgets what was done with a machine.
    pub(super) fn forget(directory: &Path, machine: &str) {
        if let Err(error) = durable::remove(&path(directory, machine)) {
            tracing::warn!(machine, %error, "a record of what is done with is left");
        }
    }
}

fn path(directory: &Path, machine: &str) -> PathBuf {
    directory.join(format!("{machine}.json"))
}
