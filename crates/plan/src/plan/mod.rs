//! The plan of a move: what each way of moving would do, and which one is taken.

mod choose;
mod depending;
mod exposure;
mod file;
mod make;
mod other_ways;
mod search;
mod way;

use std::time::Duration;

use punctual_engine::report::Predicted;
use punctual_engine::times::{in_milliseconds, in_seconds};
use punctual_model::{Mode, Policy, Strategy, quantile};
use punctual_units::{Bytes, BytesPerSecond, Probability};
use punctual_wire::HostName;
use serde::{Deserialize, Serialize};

pub use exposure::Exposure;
pub use file::PlanError;
pub use make::{plan, plan_with};
pub use other_ways::restart_forecast;
pub use way::Way;

use crate::Ask;

/// What each way of moving a machine would do, and which one is taken. It is also the file that a
/// move can be carried out from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`Plan::VERSION`].
    pub plan_version: u32,
    /// The machine.
    pub machine: String,
    /// Which process on which host it is, as that host marks it: the plan is for no other of the
    /// same name. `None` for a plan that was made from a trace alone, which nobody can carry out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What was asked.
    pub ask: Ask,
    /// What it was planned from.
    pub basis: Basis,
    /// The ways, in the order of [`Way::ALL`].
    pub ways: Vec<Forecast>,
    /// The least bandwidth with which the way taken keeps what was asked. Where no pre-copy does, the
    /// least with which the best one would, if it were there. `None` where no bandwidth helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheapest_bandwidth: Option<BytesPerSecond>,
    /// What to do.
    pub choice: Choice,
}

/// What a plan was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// How long the machine was traced.
    #[serde(rename = "trace_s", with = "in_seconds")]
    pub trace: Duration,
    /// When that ended, in seconds since 1970 (UTC).
    pub recorded_at: u64,
    /// How much of its memory holds anything.
    pub populated: Bytes,
    /// Distinct pages found written in a second of the trace: the mean.
    pub written_rate: f64,
    /// What the link was taken to carry for this move.
    pub bandwidth: BytesPerSecond,
    /// How many simulated moves a forecast rests on.
    pub samples: u32,
    /// Of so many pages one was simulated, standing for the others.
    pub thinning: u32,
    /// What had to be assumed, as sentences.
    pub assumed: Vec<String>,
}

/// What one way would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The way.
    pub way: Way,
    /// Why it is not to be chosen, whatever it keeps; `None` where it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// How often both the interruption and the whole move would be as asked.
    pub keeps: Probability,
    /// How often the engine would give up and leave the machine running where it is.
    pub gives_up: Probability,
    /// What it takes where it comes to its end; `None` where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted>,
    /// What it takes at most, with the confidence that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<AtMost>,
    /// How long the machine would depend on two hosts; `None` where it never would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// What the simulated moves alone say: what a measured move is compared with, to make up for it
    /// the next time.
    #[serde(rename = "simulated_s", default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<Simulated>,
    /// What stands against this way, and what its figures rest on where that is not the trace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What simulated moves say, in seconds, before past errors are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// Of the interruption.
    pub downtime: quantile::Forecast,
    /// Of the whole move.
    pub total: quantile::Forecast,
}

/// An upper bound of the times of a move, at the confidence that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtMost {
    /// The interruption.
    #[serde(rename = "downtime_ms", with = "in_milliseconds")]
    pub downtime: Duration,
    /// The whole move.
    #[serde(rename = "total_s", with = "in_seconds")]
    pub total: Duration,
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Choice {
    /// This way keeps what was asked.
    Take {
        /// The way.
        way: Way,
        /// Why this one.
        why: String,
    },
    /// No way that may be chosen keeps what was asked.
    None {
        /// The way that comes nearest, and what it reaches at the confidence asked for.
        best: Option<Reachable>,
        /// Why not, and what would help.
        why: String,
    },
}

/// The best that can be had where what was asked cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    /// The way.
    pub way: Way,
    /// What it reaches.
    pub at_most: AtMost,
}

/// What a plan tells a host to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Instructions {
    /// The machine.
    pub machine: String,
    /// The host that it goes to.
    pub to: HostName,
    /// How it changes hosts.
    pub mode: Mode,
    /// How its memory is copied while it runs, by name.
    pub policy: Policy,
    /// How, in every detail.
    pub strategy: Strategy,
    /// No faster than this.
    pub bandwidth: Option<BytesPerSecond>,
    /// The longest interruption.
    pub downtime: Duration,
    /// The longest time.
    pub within: Duration,
    /// With which probability.
    pub confidence: Probability,
    /// Whether the machine may come to run there while pages of it are still here.
    pub post_copy: bool,
    /// What was predicted.
    pub predicted: Option<Predicted>,
}

impl Plan {
    /// The forecast of a way.
    #[must_use]
    pub fn forecast(&self, way: Way) -> Option<&Forecast> {
        self.ways.iter().find(|forecast| forecast.way == way)
    }

    /// What to do; `None` where no way keeps what was asked.
    #[must_use]
    pub fn instructions(&self) -> Option<Instructions> {
        match self.choice {
            Choice::Take { way, .. } => self.instructions_for(way),
            Choice::None { .. } => None,
        }
    }

    /// What to do to go another way than the one taken; `None` for one that was not forecast.
    #[must_use]
    pub fn instructions_for(&self, way: Way) -> Option<Instructions> {
        let predicted = self.forecast(way)?.predicted;
        let policy = way.copies_by();
        let Ask { to, downtime, within, confidence, bandwidth, mode: _, post_copy } =
            self.ask.clone();
        Some(Instructions {
            machine: self.machine.clone(),
            to,
            mode: way.mode(),
            policy,
            strategy: policy.strategy(),
            bandwidth,
            downtime,
            within,
            confidence,
            post_copy,
            predicted,
        })
    }
}

#[cfg(test)]
mod tests;
