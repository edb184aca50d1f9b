//! The benchmark: the same guest over the same link, moved by Punctual and by QEMU itself, in turn.
//!
//! ```text
//!  boot one guest, fill its memory, suspend it: Template
//!  for each repetition          so that a machine whose speed drifts treats all alike
//!    for each load              idle, 2,000 and 20,000 single-byte writes a second
//!      for each contender       a copy of the guest each time: Trial
//! ```
//!
//! [`Bench::summary`] puts the medians side by side, as ratios to QEMU's best.

pub mod busy;
mod contender;
mod forecast;
mod load;
pub mod local;
pub mod memory;
mod minute;
pub mod modes;
mod native;
pub mod predict;
mod round_trip;
mod summary;
mod template;
pub mod throughput;
pub mod tracing;
mod traffic;
mod trial;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use punctual_images::Qemu;
use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};

pub use contender::Contender;
pub use load::{Load, Memory};
pub use summary::{Figures, Row, Spread, Summary};
pub use template::CATCH_UP;
pub use trial::{How, Trial, TrialError};

use crate::scene::Scene;
use crate::{LabName, LabSpec};
use template::Template;

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
    /// What the guest holds.
    pub memory: Memory,
    /// What it does.
    pub loads: Vec<Load>,
    /// Who moves it.
    pub contenders: Vec<Contender>,
    /// Whether Punctual looks before it moves, and goes the way that its plan chooses; else only
    /// its bare pre-copy is compared.
    pub planned: bool,
    /// How often.
    pub repetitions: usize,
}

/// What came of it, or what has so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bench {
    /// The rate of the links.
    pub rate: Option<BytesPerSecond>,
    /// How long a word took to the other host and back while nothing else was on the link, in
    /// milliseconds; `None` before it was measured.
    pub round_trip_ms: Option<Spread>,
    /// The downtime asked for, in milliseconds.
    pub downtime_ms: f64,
    /// The time given to each mover, in seconds.
    pub within_s: f64,
    /// The version of QEMU.
    pub qemu: String,
    /// Every move, in the order in which they were made.
    pub trials: Vec<Trial>,
}

impl Bench {
    fn new(spec: &BenchSpec) -> Self {
        Self {
            rate: spec.rate,
            round_trip_ms: None,
            downtime_ms: spec.downtime.as_secs_f64() * 1e3,
            within_s: spec.within.as_secs_f64(),
            qemu: spec.qemu.version.clone(),
            trials: Vec::new(),
        }
    }
}

/// Makes all moves, telling what there is after each; ends early, as if all had been made, when it
/// is told to break off. `program` is the command `punctual`, run as the hosts' daemons.
///
/// # Errors
/// A trial could not be made. A guest that is lost is no error: it counts.
pub fn run(
    spec: &BenchSpec,
    program: &Path,
    mut tell: impl FnMut(&Bench) -> ControlFlow<()>,
) -> Result<Bench, TrialError> {
    let lab = LabSpec::two_hosts(spec.lab.clone(), spec.rate);
    let mut bench = Bench::new(spec);
    let scene = Scene::set_up(&lab, program)?;
    bench.round_trip_ms = round_trip::measure(scene.lab(), "a", "b")?;
    let template = Template::make(&scene, &spec.qemu, spec.memory)?;
    for (load, contender) in spec.moves() {
        bench.trials.push(trial::make(&scene, spec, &template, contender, load)?);
        if tell(&bench).is_break() {
            break;
        }
    }
    template.remove()?;
    scene.take_down()?;
    Ok(bench)
}
