//! What is asked and answered before a machine moves.

use std::time::Duration;

use punctual_plan::{Ask, Plan};
use punctual_units::{BytesPerSecond, Probability};
use serde::{Deserialize, Serialize};

use super::Problem;

/// Asks what each way of moving a machine would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The machine.
    pub machine: String,
    /// Where to, and within which limits.
    pub ask: Ask,
    /// How long the machine is traced for it; see [`MigrateRequest::look`](super::MigrateRequest).
    #[serde(default)]
    pub look: Option<Duration>,
}

/// How a plan comes about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanEvent {
    /// The other host and the link to it are being looked at.
    Surveying,
    /// The machine is being traced.
    Looking {
        /// Since the trace began.
        elapsed: Duration,
        /// How long it will be.
        length: Duration,
        /// Distinct pages found written by a scan, a second, so far.
        rate: f64,
        /// The share of the guest's work that it has taken so far.
        cost: Probability,
    },
    /// The ways are being simulated.
    Planning,
    /// The plan. It is the last event.
    Planned(Box<Plan>),
    /// There is none, and this is why. It is the last event.
    Failed(Problem),
}

/// Asks what is known of moves to another host, and has the link to it measured: some 0.2 s of
/// test traffic, in all some 150 ms of what the link carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyRequest {
    /// A peer's name or `ADDRESS:PORT`.
    pub to: String,
    /// The most bandwidth that a move would use: no more than a quarter above it is tried.
    #[serde(default)]
    pub bandwidth: Option<BytesPerSecond>,
}
