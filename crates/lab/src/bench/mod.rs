//! The benchmark: the same guest over the same link, moved by Punctual and by QEMU itself, in turn.
//!
//! ```text
//!  for each repetition          so that a machine whose speed drifts treats all alike
//!    for each load              idle, 2,000 and 20,000 single-byte writes a second
//!      for each contender       a fresh guest each time: Trial
//! ```
//!
//! [`Bench::summary`] puts the medians side by side, as ratios to QEMU's best.

pub mod busy;
mod contender;
pub mod local;
pub mod memory;
pub mod modes;
mod native;
pub mod predict;
mod summary;
pub mod throughput;
pub mod tracing;
mod traffic;
mod trial;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use punctual_guest_protocol::Workload;
use punctual_images::Qemu;
use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};

pub use contender::Contender;
pub use summary::{Figures, Row, Spread, Summary};
pub use trial::{How, Trial, TrialError};

use crate::scene::Scene;
use crate::{LabName, LabSpec};

/// What the guest does while it is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Nothing but its beacon.
    Idle,
    /// So many single-byte writes a second, spread evenly over 64 MiB.
    Writes(u64),
    /// Writes to as many pages a second as would take this share of the link's rate, in percent.
    Share {
        /// Which pages it writes.
        pattern: Workload,
        /// The share, in percent.
        percent: u32,
    },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.pad("idle"),
            Self::Writes(rate) => f.pad(&format!("{rate} writes/s")),
            Self::Share { pattern, percent } => {
                f.pad(&format!("{pattern} {:.1} × link", f64::from(*percent) / 100.0))
            }
        }
    }
}

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct BenchSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The rate of the hosts' links; `None` leaves them unshaped.
    pub rate: Option<BytesPerSecond>,
    /// The longest interruption that each mover is told.
    pub downtime: Duration,
    /// A move that takes longer counts as lost.
    pub within: Duration,
    /// The QEMU that runs the guests.
    pub qemu: Qemu,
    /// What the guest does.
    pub loads: Vec<Load>,
    /// Who moves it.
    pub contenders: Vec<Contender>,
    /// Whether Punctual looks before it moves, and goes the way that its plan chooses; else only
    /// its bare pre-copy is compared.
    pub planned: bool,
    /// How often.
    pub repetitions: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bench {
    /// The rate of the links.
    pub rate: Option<BytesPerSecond>,
    /// The downtime asked for, in milliseconds.
    pub downtime_ms: f64,
    /// The version of QEMU.
    pub qemu: String,
    /// Every move, in the order in which they were made.
    pub trials: Vec<Trial>,
}

impl BenchSpec {
    /// How many moves it takes.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.repetitions * self.loads.len() * self.contenders.len()
    }
}

/// Makes all moves, telling each when it is done. `program` is the command `punctual`, run as the
/// hosts' daemons.
///
/// # Errors
/// A trial could not be made. A guest that is lost is no error: it counts.
pub fn run(
    spec: &BenchSpec,
    program: &Path,
    mut tell: impl FnMut(&Trial),
) -> Result<Bench, TrialError> {
    let lab = LabSpec::two_hosts(spec.lab.clone(), spec.rate);
    let mut trials = Vec::with_capacity(spec.moves());
    let scene = Scene::set_up(&lab, program)?;
    for _ in 0..spec.repetitions {
        for load in &spec.loads {
            for contender in &spec.contenders {
                let trial = trial::make(&scene, spec, *contender, *load)?;
                tell(&trial);
                trials.push(trial);
            }
        }
    }
    scene.take_down()?;
    Ok(Bench {
        rate: spec.rate,
        downtime_ms: spec.downtime.as_secs_f64() * 1e3,
        qemu: spec.qemu.version.clone(),
        trials,
    })
}
