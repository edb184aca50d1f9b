//! The machines of this host, one small durable file each, so that a daemon that is started again
//! knows them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::api::Id;
use crate::durable;

/// What is kept of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name, and that of its file.
    pub name: String,
    /// Whether it is at home here.
    pub standing: Standing,
    /// What its hypervisor needs to find it again; only that knows the shape.
    pub handle: serde_json::Value,
    /// The same of the process that is to take its place, see [`Standing::Replacing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<serde_json::Value>,
}

impl Record {
    /// The record of a machine with one process.
    pub(crate) fn new(
        name: impl Into<String>,
        standing: Standing,
        handle: serde_json::Value,
    ) -> Self {
        Self { name: name.into(), standing, handle, successor: None }
    }
}

/// Whether a machine is at home here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is.
    Resident,
    /// It is being started; a crash may have left parts of it.
    Starting,
    /// It is being ended; a crash may have left parts of it.
    Ending,
    /// It runs here, and its page writes are being recorded.
    Traced,
    /// It is being written to a file by this undertaking. It runs here, or has come to an end: the
    /// file tells.
    Suspending(Id),
    /// It comes from a file by this undertaking, and may have to be discarded.
    Resuming(Id),
    /// It runs here, but may be gone by this migration.
    Leaving(Id),
    /// It runs here, and another process takes its place by this migration: the record's handle is
    /// that of the first, and its successor, once there is anything of it, the other. The journal
    /// says which of them is the machine.
    Replacing(Id),
    /// It comes in by this migration and may have to be discarded.
    Arriving(Id),
    /// It went by this migration, and the destination has not been heard to run it. What is left
    /// here cannot run.
    Departed(Id),
    /// It went by this migration and runs at the destination, which lacks pages of it yet: what is
    /// left here cannot run, and is kept for them.
    Serving(Id),
    /// It came by this migration and runs here, and lacks pages that its source has yet.
    Depending(Id),
    /// Whose it is by this migration is not known before the journal is read again.
    Undecided(Id),
}

impl Standing {
    /// The attempt that it names.
    pub(crate) fn attempt(self) -> Option<Id> {
        match self {
            Self::Leaving(id)
            | Self::Replacing(id)
            | Self::Arriving(id)
            | Self::Departed(id)
            | Self::Serving(id)
            | Self::Depending(id)
            | Self::Undecided(id) => Some(id),
            // No migration has their numbers.
            Self::Suspending(_) | Self::Resuming(_) => None,
            Self::Resident | Self::Starting | Self::Ending | Self::Traced => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resident => "is at home here",
            Self::Starting => "is being started",
            Self::Ending => "is being ended",
            Self::Traced => "is not free: a recording of its page writes is under way",
            Self::Suspending(_) => "is not free: it is being written to a file",
            Self::Resuming(_) => "comes from a file and has not run here yet",
            Self::Leaving(_) => "is not free: another migration is under way",
            Self::Replacing(_) => "is not free: its QEMU is being replaced",
            Self::Arriving(_) => "is arriving and has not run here yet",
            Self::Departed(_) => "belongs to another host, to which it was moved",
            Self::Serving(_) => "runs at another host, which still needs pages of it from here",
            Self::Depending(_) => "runs here, but still lacks pages from the host it came from",
            Self::Undecided(_) => "is paused: it is not known whether its move was committed",
        })
    }
}

/// Why the registry could not be read or written.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The name cannot be that of a machine.
    #[error(
        "`{0}` cannot be the name of a machine: use 1 to 64 of a-z, A-Z, 0-9, `_`, `.` and `-`, beginning with a letter or digit"
    )]
    Name(String),
    /// There is a machine of that name.
    #[error("there is a machine called `{0}` on this host: choose another name, or stop that one")]
    Taken(String),
    /// There is no machine of that name.
    #[error("there is no machine called `{0}` on this host: `punctual list` shows those there are")]
    Unknown(String),
    /// The machine is not in a position for what was asked.
    #[error("machine `{name}` {standing}")]
    Busy {
        /// Its name.
        name: String,
        /// How it stands.
        standing: Standing,
    },
    /// A file could not be read or written.
    #[error("machine record {path}: {source}: check the state directory's disk and permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there but makes no sense.
    #[error(
        "machine record {path}: {source}: restore the file, or delete it and attach the machine anew"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The machines that this host knows.
#[derive(Debug)]
pub(crate) struct Registry {
    directory: PathBuf,
    records: Mutex<BTreeMap<String, Record>>,
    removed: Condvar,
}

impl Registry {
    /// Reads all records in `directory`, which is made if it is not there.
    pub(crate) fn open(directory: &Path) -> Result<Self, RegistryError> {
        let io = |source| RegistryError::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(io)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            // Anything else was left by a write that a crash cut short.
            if path.extension().is_some_and(|ending| ending == "json") {
                let record = read(&path)?;
                records.insert(record.name.clone(), record);
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            records: Mutex::new(records),
            removed: Condvar::new(),
        })
    }

    /// Adds a machine under a name that is free.
    pub(crate) fn add(&self, record: Record) -> Result<(), RegistryError> {
        check_name(&record.name)?;
        let mut records = self.lock();
        if records.contains_key(&record.name) {
            return Err(RegistryError::Taken(record.name));
        }
        self.write(&record)?;
        records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Changes how a machine stands, if it stands as one of `from`; returns its new record.
    pub(crate) fn shift(
        &self,
        name: &str,
        from: impl FnOnce(Standing) -> bool,
        to: Standing,
    ) -> Result<Record, RegistryError> {
        let mut records = self.lock();
        let record =
            records.get_mut(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))?;
        if !from(record.standing) {
            return Err(RegistryError::Busy { name: name.to_owned(), standing: record.standing });
        }
        let shifted = Record { standing: to, ..record.clone() };
        self.write(&shifted)?;
        *record = shifted.clone();
        Ok(shifted)
    }

    /// Replaces the record of a machine, or adds it.
    pub(crate) fn put(&self, record: Record) -> Result<(), RegistryError> {
        let mut records = self.lock();
        self.write(&record)?;
        records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Forgets a machine. That it is not known is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), RegistryError> {
        let mut records = self.lock();
        let path = self.path(name);
        durable::remove(&path).map_err(|source| RegistryError::Io { path, source })?;
        records.remove(name);
        self.removed.notify_all();
        Ok(())
    }

    /// Waits until a machine that is arriving has come to its end or `timeout` is over. Returns
    /// the record that then stands in the way of another of that name.
    pub(crate) fn wait_for_name(&self, name: &str, timeout: Duration) -> Option<Record> {
        let is_arriving = |records: &mut BTreeMap<String, Record>| {
            let standing = records.get(name).map(|record| record.standing);
            matches!(standing, Some(Standing::Arriving(_)))
        };
        let waited = self.removed.wait_timeout_while(self.lock(), timeout, is_arriving);
        let (records, _) = waited.expect("no thread panics while it holds the registry");
        records.get(name).cloned()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Record, RegistryError> {
        self.lock().get(name).cloned().ok_or_else(|| RegistryError::Unknown(name.to_owned()))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        self.lock().values().cloned().collect()
    }

    fn write(&self, record: &Record) -> Result<(), RegistryError> {
        let path = self.path(&record.name);
        let text = serde_json::to_vec_pretty(record).expect("a record is JSON");
        durable::replace(&path, &text).map_err(|source| RegistryError::Io { path, source })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().expect("no thread panics while it holds the registry")
    }
}

/// Refuses what could not be a file's name or would be taken for an option.
pub(crate) fn check_name(name: &str) -> Result<(), RegistryError> {
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if fits { Ok(()) } else { Err(RegistryError::Name(name.to_owned())) }
}

fn read(path: &Path) -> Result<Record, RegistryError> {
    let text =
        fs::read(path).map_err(|source| RegistryError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| RegistryError::Malformed { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        Record::new(name, Standing::Resident, serde_json::json!({ "pid": 7 }))
    }

    #[test]
    fn machines_are_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(directory.path()).unwrap();
        registry.add(record("web")).unwrap();
        registry.add(record("mail.example")).unwrap();
        assert!(matches!(registry.add(record("web")), Err(RegistryError::Taken(_))));
        registry.shift("web", |from| from == Standing::Resident, Standing::Ending).unwrap();
        let busy = registry.shift("web", |from| from == Standing::Resident, Standing::Ending);
        assert!(matches!(busy, Err(RegistryError::Busy { standing: Standing::Ending, .. })));
        registry.remove("web").unwrap();
        registry.remove("web").unwrap();
        let registry = Registry::open(directory.path()).unwrap();
        assert_eq!(registry.all(), [record("mail.example")]);
        assert!(matches!(registry.get("web"), Err(RegistryError::Unknown(_))));
    }

    #[test]
    fn what_a_crash_left_beside_is_no_machine() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("web.new"), "{").unwrap();
        assert!(Registry::open(directory.path()).unwrap().all().is_empty());
        fs::write(directory.path().join("web.json"), "{").unwrap();
        let error = Registry::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("web.json"), "{error}");
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for wrong in ["", ".", "..", "a/b", "-x", "a b", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
