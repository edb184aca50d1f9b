//! What the daemon and its clients say to each other: JSON over HTTP on a unix socket.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/host` | | [`HostFacts`] |
//! | `GET /v1/machines` | | a list of [`MachineSummary`] |
//! | `POST /v1/machines` | [`RunRequest`] | [`MachineSummary`] |
//! | `POST /v1/machines/attach` | [`AttachRequest`] | [`MachineSummary`] |
//! | `GET /v1/machines/NAME` | | [`MachineDetails`] |
//! | `DELETE /v1/machines/NAME` | | [`MachineSummary`] as it was |
//! | `POST /v1/machines/NAME/traces` | [`TraceRequest`] | a line of [`TraceEvent`] now and then; the last is not `progress`. Who leaves ends the recording |
//! | `DELETE /v1/machines/NAME/traces` | | `null`; the recording ends soon after, with what there is |
//! | `GET /v1/machines/NAME/traces/last` | | the file (`docs/trace-format.md`) |
//! | `POST /v1/machines/NAME/recover` | [`RecoverRequest`] | [`MachineSummary`] |
//! | `POST /v1/machines/NAME/snapshots` | [`SuspendRequest`] | a line of [`SnapshotEvent`] now and then; the last is not `progress`. Who leaves ends it, as for the next two |
//! | `POST /v1/machines/NAME/clones` | [`CloneRequest`] | the same |
//! | `POST /v1/resumptions` | [`ResumeRequest`] | the same |
//! | `POST /v1/plans` | [`PlanRequest`] | a line of [`PlanEvent`] now and then; the last is the plan, or why there is none. Who leaves ends it |
//! | `POST /v1/surveys` | [`SurveyRequest`] | [`Facts`](punctual_plan::Facts) |
//! | `POST /v1/migrations` | [`MigrateRequest`] | [`Migration`] |
//! | `POST /v1/upgrades` | [`UpgradeRequest`] | [`Migration`], to this host itself |
//! | `GET /v1/migrations` | | a list of [`Migration`] |
//! | `GET /v1/migrations/ID` | | [`Migration`] |
//! | `DELETE /v1/migrations/ID` | | [`Migration`]; it is cancelled soon after |
//! | `GET /v1/migrations/ID/events` | | a line of [`Migration`] at each change, until it has ended |
//! | `GET /v1/events` | | the same for all migrations, without end |
//!
//! Whatever goes wrong is answered by a [`Problem`] and a status that fits its [`ProblemKind`].

mod migrations;
mod native;
mod planning;
mod snapshots;
mod upgrade;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_engine::report::Engine;
use punctual_units::{Bytes, Probability};
use punctual_wire::{MigrationId, Refusal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use migrations::{MigrateRequest, Migration, Queued};
pub use native::{Estimate, Native};
pub use planning::{PlanEvent, PlanRequest, SurveyRequest};
pub use snapshots::{
    CloneRequest, Restored, ResumeRequest, Saved, SnapshotEvent, SnapshotPhase, SnapshotProgress,
    SuspendRequest,
};
pub use upgrade::UpgradeRequest;

/// What stands before every path.
pub const VERSION: &str = "/v1";

/// The host and its daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's name.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// Where other hosts reach it.
    pub listen: String,
    /// The hosts it knows by name.
    pub peers: Vec<Peer>,
    /// RAM that new machines could have.
    pub free_memory: Bytes,
    /// What a handover is expected to cost beside the last pages.
    pub fixed_costs: FixedCost,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What this host calls it.
    pub name: String,
    /// `ADDRESS:PORT` of its daemon.
    pub address: String,
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// It runs.
    Running,
    /// It is there but does not run.
    Paused,
    /// It is being started.
    Starting,
    /// It is being ended.
    Ending,
    /// It comes from another host and has not run here yet.
    Arriving,
    /// It runs, and its page writes are being recorded.
    Traced,
    /// It is being written to a file, and runs most of that time.
    Suspending,
    /// It comes from a file and has not run here yet.
    Resuming,
    /// It runs, and waits for its turn to be moved to another host.
    Queued,
    /// It runs and is being moved to another host.
    Leaving,
    /// It runs, and its QEMU is being replaced.
    Replacing,
    /// It belongs to another host, which has not been heard to run it.
    Departed,
    /// It runs at another host, which still needs pages of it from here.
    Serving,
    /// It runs here, and still lacks pages from the host that it came from.
    Depending,
    /// It is paused until the daemon is started again and knows from its journal whose it is.
    Undecided,
    /// Its process is there, but does not answer.
    Silent,
    /// Its process has ended.
    Gone,
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Starting => "starting",
            Self::Ending => "ending",
            Self::Arriving => "arriving",
            Self::Traced => "traced",
            Self::Suspending => "suspending",
            Self::Resuming => "resuming",
            Self::Queued => "queued",
            Self::Leaving => "leaving",
            Self::Replacing => "replacing",
            Self::Departed => "departed",
            Self::Serving => "serving",
            Self::Depending => "depending",
            Self::Undecided => "undecided",
            Self::Silent => "silent",
            Self::Gone => "gone",
        })
    }
}

/// A machine in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSummary {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: MachineState,
    /// Its process; 0 while it has none.
    pub pid: u32,
    /// Its RAM; zero where it is not known since the machine is gone.
    pub memory: Bytes,
    /// The migration that is under way, if one is.
    pub migration: Option<Id>,
}

/// All that is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineDetails {
    /// In one line.
    #[serde(flatten)]
    pub summary: MachineSummary,
    /// How its process was started; this and what follows is empty where it cannot be asked.
    pub command_line: Vec<String>,
    /// Where its QMP socket is, if it has one.
    pub qmp: Option<PathBuf>,
    /// The files that hold its RAM.
    pub ram: Vec<RamFile>,
    /// What would move it where nobody says.
    #[serde(default)]
    pub engine: Engine,
    /// Why it is not Punctual itself; empty where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub engine_reason: String,
    /// What is in the way of a migration, as far as this host can tell.
    pub obstacles: Vec<Refusal>,
}

/// A file that holds a part of a machine's RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamFile {
    /// What QEMU calls the part.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// How much of it holds anything.
    pub populated: Bytes,
}

/// Asks to start a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The specification, in TOML.
    pub spec: String,
    /// The directory that relative paths in it start from.
    pub directory: PathBuf,
}

/// Asks to adopt a machine that something else started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The name it gets.
    pub name: String,
    /// Its QMP socket.
    pub qmp: PathBuf,
}

/// Asks to seek at once the destination of a machine whose pages follow it, where the link was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverRequest {
    /// Where it is now, if it moved meanwhile: a peer's name or `ADDRESS:PORT`.
    #[serde(default)]
    pub to: Option<String>,
}

/// Asks to record which pages a machine writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// For how long, at most a day.
    #[serde(rename = "for")]
    pub length: Duration,
    /// The share of the guest's work that it may take.
    pub cost: Probability,
}

/// How a recording goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceEvent {
    /// It is under way.
    Progress {
        /// Since the trace began.
        elapsed: Duration,
        /// For how long it was asked for.
        length: Duration,
        /// Scans so far.
        scans: usize,
        /// Distinct pages found written by a scan, a second, so far.
        rate: f64,
        /// The share of the guest's work that it has taken so far.
        cost: Probability,
    },
    /// It has ended, at the end of its time or early, and the trace is kept.
    Recorded(TraceSummary),
    /// It has ended, and there is no trace.
    Failed(Problem),
}

/// A trace in one line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// What it covers.
    pub duration: Duration,
    /// How many scans.
    pub scans: usize,
    /// Distinct pages found written by a scan, a second.
    pub rate: f64,
    /// The share of the guest's work that it took, estimated.
    pub cost: Probability,
    /// The size of its file.
    pub size: Bytes,
}

/// The number of a migration, written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(u128);

/// A text is not the number of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not the number of a migration: it has 32 hexadecimal digits")]
pub struct IdError(String);

impl From<MigrationId> for Id {
    fn from(migration: MigrationId) -> Self {
        Self(migration.0)
    }
}

impl From<Id> for MigrationId {
    fn from(id: Id) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:032x}", self.0))
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| IdError(text.to_owned()))
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

/// Why a request could not be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{what}")]
pub struct Problem {
    /// The kind, for programs.
    pub kind: ProblemKind,
    /// What is wrong: machine, phase, value.
    pub what: String,
    /// What to do about it; empty where `what` says it already.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Where a machine or a host was looked at: a stable word for each reason, for programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request itself is wrong.
    Usage,
    /// What it names is not there.
    Unknown,
    /// It is not possible as things are; nothing has changed.
    Refused,
    /// It was tried and did not work.
    Failed,
}

impl Problem {
    /// The request itself is wrong.
    #[must_use]
    pub fn usage(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(ProblemKind::Usage, what, remedy)
    }

    /// What the request names is not there.
    #[must_use]
    pub fn unknown(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(ProblemKind::Unknown, what, remedy)
    }

    /// It is not possible as things are.
    #[must_use]
    pub fn refused(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(ProblemKind::Refused, what, remedy)
    }

    /// It was tried and did not work.
    #[must_use]
    pub fn failed(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(ProblemKind::Failed, what, remedy)
    }

    fn new(kind: ProblemKind, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { kind, what: what.to_string(), remedy: remedy.to_string(), codes: Vec::new() }
    }
}

/// Several reasons in one problem, each with its remedy.
impl From<&[Refusal]> for Problem {
    fn from(refusals: &[Refusal]) -> Self {
        let join =
            |part: fn(&Refusal) -> &str| refusals.iter().map(part).collect::<Vec<_>>().join("; ");
        let told = Self::refused(join(|refusal| &refusal.reason), join(|refusal| &refusal.remedy));
        Self { codes: Refusal::codes(refusals), ..told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_digits_that_every_language_can_hold() {
        let id = Id(0xfeed);
        assert_eq!(id.to_string(), "0000000000000000000000000000feed");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), serde_json::json!(id.to_string()));
        for wrong in ["", "feed", "+000000000000000000000000000feed"] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn refusals_become_one_problem() {
        let refusal = |reason: &str, remedy: &str| Refusal {
            code: "code".to_owned(),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        };
        let problem = Problem::from(&[refusal("a", "b"), refusal("c", "d")][..]);
        assert_eq!((problem.what.as_str(), problem.remedy.as_str()), ("a; c", "b; d"));
        assert_eq!(problem.codes, ["code", "code"]);
    }
}
