//! Machines in files: suspended, resumed, cloned.

use std::path::PathBuf;
use std::time::Duration;

use punctual_units::Bytes;
use serde::{Deserialize, Serialize};

use super::{MachineSummary, Problem};

/// Asks to write a machine to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendRequest {
    /// The file, which is not there yet; absolute, as the daemon sees it.
    pub file: PathBuf,
    /// Whether the machine runs on here; else it ends once the file is durable.
    #[serde(default)]
    pub keep_running: bool,
}

/// Asks to run a machine from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The file, absolute, as the daemon sees it.
    pub file: PathBuf,
    /// The name that the machine gets; `None`: the one that it had.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether the file of a suspended machine keeps its name, and so can be resumed once more.
    #[serde(default)]
    pub keep: bool,
    /// Whether it is resumed although disks were changed since.
    #[serde(default)]
    pub force: bool,
    /// Whether a second machine like one that ran on has its network from the start.
    #[serde(default)]
    pub link_up: bool,
}

impl ResumeRequest {
    /// Asks to run the machine in `file` as it was, once.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), name: None, keep: false, force: false, link_up: false }
    }
}

/// Asks for a second machine like one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneRequest {
    /// The name that it gets.
    pub name: String,
    /// Whether it has its network from the start.
    #[serde(default)]
    pub link_up: bool,
}

/// How it goes on that a machine is written to a file, or read from one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotEvent {
    /// It is under way.
    Progress(SnapshotProgress),
    /// The machine is in its file.
    Saved(Saved),
    /// The machine runs from its file.
    Restored(Restored),
    /// It was ended early, as was asked for; the text says what is the case.
    Cancelled(String),
    /// It has come to nothing.
    Failed(Problem),
}

/// What is being done with a machine and its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotPhase {
    /// Its memory is being written while it runs.
    Copying,
    /// It stands, and what is left is being written.
    Finishing,
    /// All is written; the disk is waited for.
    Syncing,
    /// Its memory is being read from the file.
    Loading,
    /// Whether its memory is what it was is being checked.
    Checking,
}

impl std::fmt::Display for SnapshotPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Copying => "copying",
            Self::Finishing => "finishing",
            Self::Syncing => "syncing",
            Self::Loading => "loading",
            Self::Checking => "checking",
        })
    }
}

/// Where that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// The machine that it is done with.
    pub machine: String,
    /// What is being done.
    pub phase: SnapshotPhase,
    /// Since it was begun.
    pub elapsed: Duration,
    /// How much memory (to a file) or file (from one) is done with.
    pub done: Bytes,
    /// How much there is, as far as is known.
    pub total: Bytes,
    /// When this is expected to be through, at the rate so far; `None` before anything is known.
    pub ends_in: Option<Duration>,
}

/// A machine that is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The machine.
    pub machine: String,
    /// Its file.
    pub file: PathBuf,
    /// Whether it runs on here.
    pub keeps_running: bool,
    /// How much of its memory held anything.
    pub memory: Bytes,
    /// The size of the file.
    pub size: Bytes,
    /// The digest of its memory when it stood: 32 hexadecimal digits.
    pub ram_digest: String,
    /// How long it stood, if it runs on; else from its stop until its file was durable.
    #[serde(rename = "stood_ms", with = "milliseconds")]
    pub stood: Duration,
    /// How long all of it took.
    #[serde(rename = "took_ms", with = "milliseconds")]
    pub took: Duration,
    /// What is to be known about it, in whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A machine that runs from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The machine.
    pub machine: MachineSummary,
    /// Its file, as it is called now; `None` where it was only for a moment.
    pub file: Option<PathBuf>,
    /// The digest of its memory, which is that of the machine in the file.
    pub ram_digest: String,
    /// How long it took.
    #[serde(rename = "took_ms", with = "milliseconds")]
    pub took: Duration,
    /// What is to be known about it, in whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Times as results show them.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64() * 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let milliseconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(milliseconds / 1e3).map_err(de::Error::custom)
    }
}
