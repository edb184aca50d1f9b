//! What is asked of a move, and how one goes on.

use std::time::Duration;

use punctual_engine::report::{Engine, Mode, OnMiss, Policy};
use punctual_engine::{Progress, Report, Request};
use punctual_plan::{Forecast, Plan};
use punctual_units::{BytesPerSecond, Probability};
use serde::{Deserialize, Serialize};

use super::{Id, Native};

/// Asks to move a machine.
///
/// Unless it is forced, a move is refused before anything is touched if no way of moving keeps the
/// limits with the confidence asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrateRequest {
    /// The machine.
    pub machine: String,
    /// A peer's name or `ADDRESS:PORT`.
    pub to: String,
    /// The longest interruption.
    pub downtime: Duration,
    /// The longest time in all.
    pub within: Duration,
    /// The rate to keep to, and to count on; `None` takes what the link gives.
    pub bandwidth: Option<BytesPerSecond>,
    /// Whether both sides compute a digest of the memory.
    pub verify: bool,
    /// Whether it is only asked what would happen.
    pub dry_run: bool,
    /// Whether the machine is to be moved even if that takes longer than was asked for.
    #[serde(default)]
    pub force: bool,
    /// With which probability the limits are to be kept.
    #[serde(default = "confidence")]
    pub confidence: Probability,
    /// How long the machine is traced before it is moved. `None` uses the last trace if it is of
    /// this process and at most ten minutes old, else traces for [`MigrateRequest::LOOK`]. Zero
    /// uses such a trace if there is one, else moves without a prediction.
    #[serde(default)]
    pub look: Option<Duration>,
    /// How the machine changes hosts; `None` leaves it to the plan.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Whether the plan may have the machine run there while pages of it are still here.
    #[serde(default = "yes")]
    pub post_copy: bool,
    /// Whether it is refused where it would have to wait for its turn.
    #[serde(default)]
    pub no_wait: bool,
    /// What is done where the promise turns out to be unreachable.
    #[serde(default)]
    pub on_miss: OnMiss,
    /// How the memory is moved; `None` leaves it to the plan.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// What moves it; `None` for Punctual where it can, the machine's own hypervisor where its
    /// memory cannot be traced.
    #[serde(default)]
    pub engine: Option<Engine>,
    /// A plan to be carried out: it says the limits, and the machine is not traced for another.
    #[serde(default)]
    pub plan: Option<Box<Plan>>,
}

fn yes() -> bool {
    true
}

fn confidence() -> Probability {
    Probability::saturating(Request::CONFIDENCE)
}

impl MigrateRequest {
    /// How long a machine is traced where nobody said.
    pub const LOOK: Duration = Duration::from_secs(2);

    /// Asks to move a machine within these times, and for nothing else.
    #[must_use]
    pub fn new(machine: &str, to: &str, downtime: Duration, within: Duration) -> Self {
        Self {
            machine: machine.to_owned(),
            to: to.to_owned(),
            downtime,
            within,
            bandwidth: None,
            verify: false,
            dry_run: false,
            force: false,
            confidence: confidence(),
            look: None,
            mode: None,
            post_copy: true,
            no_wait: false,
            on_miss: OnMiss::default(),
            policy: None,
            engine: None,
            plan: None,
        }
    }
}

/// A migration, under way or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// Which one.
    pub id: Id,
    /// The machine.
    pub machine: String,
    /// The host it goes to, as it was asked for.
    pub to: String,
    /// Where it stands while it waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Queued>,
    /// What it is expected to take, by the way that it goes; `None` where nobody looked, and before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Box<Forecast>>,
    /// For a move by the machine's own hypervisor: what is known of it beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Box<Native>>,
    /// Where it stands; `None` before the first look.
    pub progress: Option<Progress>,
    /// For a dry run that was accepted: the command line at the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command_line: Vec<String>,
    /// How it ended; `None` while it is under way.
    pub report: Option<Report>,
}

impl Migration {
    /// One that has ended before it began.
    pub(crate) fn ended(id: Id, request: &MigrateRequest, report: Report) -> Self {
        let (machine, to) = (request.machine.clone(), request.to.clone());
        Self {
            id,
            machine,
            to,
            queued: None,
            forecast: None,
            native: None,
            progress: None,
            command_line: vec![],
            report: Some(report),
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.report.is_some()
    }
}

/// How a migration waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// 1 for the one that goes next.
    pub position: usize,
    /// When it is likely to begin, from now: by what those before it still take. `None` where that is
    /// not known.
    #[serde(
        rename = "starts_in_s",
        with = "punctual_engine::times::in_seconds_if_any",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub starts_in: Option<Duration>,
    /// Why it waits.
    pub because: String,
}
