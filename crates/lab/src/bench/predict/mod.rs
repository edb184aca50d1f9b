//! Predictions, checked: many moves, each beside what was said of it before it began.
//!
//! ```text
//!  boot one guest for each workload; freeze it
//!  cold moves, then the warm ones        any guest, any link, any downtime, in shuffled order
//!    set the rate of the links; thaw the guest, watch it for a second
//!    move it: where it is, to the other host
//!    if Punctual says no: force it, and see whether it was right
//!    the guest checks its memory; freeze it
//!  one more move for each guest, both hosts computing a digest of its RAM
//! ```
//!
//! A wrong byte, a guest that restarted or one that nobody has ends the benchmark with an error.
//! [`Predictions::summary`] has the figures, and what was aimed at beside them.

mod errands;
mod figures;
mod occupation;
mod players;
mod summary;
mod trip;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use punctual_engine::Report;
use punctual_engine::report::{Ending, Holder};
use punctual_engine::times::in_seconds;
use punctual_host::api::MigrateRequest;
use punctual_images::Qemu;
use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use figures::{Accuracy, Counts, Figures, Share};
pub use occupation::{Occupation, UnknownOccupation};
pub use summary::{Row, Summary, Target};
pub use trip::{Fate, Stage, Trip, Verdict};

use crate::client::ControlError;
use crate::rates::RateError;
use crate::scene::{Scene, SceneError};
use crate::{LabName, LabSpec};
use errands::{Errand, errands};
use players::Player;

/// How long a guest is watched after its move.
const AFTER: Duration = Duration::from_millis(500);

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct PredictSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The QEMU that runs the guests.
    pub qemu: Qemu,
    /// What the guests do.
    pub workloads: Vec<Occupation>,
    /// The rates of the hosts' links.
    pub links: Vec<BytesPerSecond>,
    /// The downtimes asked for.
    pub downtimes: Vec<Duration>,
    /// The time asked for in all.
    pub within: Duration,
    /// How many moves are made first, of which the hosts learn.
    pub cold: usize,
    /// How often each workload is then moved over each link with each downtime.
    pub repetitions: usize,
    /// From which the order follows.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// The version of QEMU.
    pub qemu: String,
    /// From which the order followed.
    pub seed: u64,
    /// The time asked for in all.
    #[serde(rename = "within_s", with = "in_seconds")]
    pub within: Duration,
    /// How many moves were to be made, those not counted that were forced.
    pub planned: usize,
    /// Those that were made, in their order.
    pub trips: Vec<Trip>,
}

/// Where the benchmark stands.
#[derive(Debug)]
pub enum News<'a> {
    /// The guest of this workload is being booted.
    Booting(Occupation),
    /// One more move was made, the last of these.
    Moved(&'a Predictions),
}

/// Why the benchmark ended early.
#[derive(Debug, Error)]
pub enum PredictError {
    /// The scene.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The links.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A guest does not answer.
    #[error("the guest: {0}")]
    Control(#[from] ControlError),
    /// A guest's process cannot be frozen or thawed.
    #[error("the process of guest `{guest}` cannot be signalled: {source}")]
    Signal {
        /// Whose.
        guest: String,
        /// Why not.
        source: io::Error,
    },
    /// A guest's process has ended.
    #[error("the process of guest `{guest}` is gone")]
    Gone {
        /// Whose.
        guest: String,
    },
    /// A guest that was thawed is not heard.
    #[error("guest `{guest}` is not heard any more")]
    Silent {
        /// Which.
        guest: String,
    },
    /// A move has no report.
    #[error("the daemon of host {host} ended while `{guest}` was moving")]
    NoReport {
        /// The host it moved from.
        host: String,
        /// Which guest.
        guest: String,
    },
    /// A guest is nowhere.
    #[error("nobody knows who may run guest `{guest}`: {reason}")]
    Ownerless {
        /// Which.
        guest: String,
        /// How the move ended.
        reason: String,
    },
    /// A guest has lost what it did.
    #[error("guest `{guest}` has restarted")]
    Restarted {
        /// Which.
        guest: String,
    },
    /// A guest's memory is not what it was.
    #[error("guest `{guest}` found a wrong byte in itself after its move: {found}")]
    WrongByte {
        /// Which.
        guest: String,
        /// Where.
        found: String,
    },
    /// The hosts computed different digests.
    #[error("the RAM of guest `{guest}` has one digest at its source and another where it came to")]
    Digest {
        /// Which.
        guest: String,
    },
}

impl PredictSpec {
    /// How many moves it takes, those not counted that are forced.
    #[must_use]
    pub fn moves(&self) -> usize {
        let grid = self.workloads.len() * self.links.len() * self.downtimes.len();
        let cold = if grid == 0 { 0 } else { self.cold };
        cold + self.repetitions * grid + self.workloads.len()
    }
}

/// Makes all moves, telling what happens; ends early, as if all had been made, when it is told to
/// break off. `program` is the command `punctual`, run as the hosts' daemons.
///
/// # Errors
/// See [`PredictError`]; nothing is left behind. A move that was refused or that failed is no
/// error: it counts.
pub fn run(
    spec: &PredictSpec,
    program: &Path,
    mut tell: impl FnMut(News<'_>) -> ControlFlow<()>,
) -> Result<Predictions, PredictError> {
    let mut made = Predictions {
        qemu: spec.qemu.version.clone(),
        seed: spec.seed,
        within: spec.within,
        planned: spec.moves(),
        trips: Vec::with_capacity(spec.moves()),
    };
    let lab = LabSpec::two_hosts(spec.lab.clone(), spec.links.iter().max().copied());
    let scene = Scene::set_up(&lab, program)?;
    let mut players = Vec::with_capacity(spec.workloads.len());
    for (index, workload) in spec.workloads.iter().enumerate() {
        if tell(News::Booting(*workload)).is_break() {
            return Ok(made);
        }
        players.push(Player::start(&scene, &spec.qemu, index, *workload)?);
    }
    for (number, errand) in (1..).zip(errands(spec)) {
        let player = players.iter_mut().find(|player| player.occupation == errand.workload);
        let player = player.expect("each workload has its guest");
        made.trips.push(go(&scene, spec, player, &errand, number)?);
        if tell(News::Moved(&made)).is_break() {
            break;
        }
    }
    drop(players);
    scene.take_down()?;
    Ok(made)
}

/// Makes one move, and forces it if it is refused.
fn go(
    scene: &Scene,
    spec: &PredictSpec,
    player: &mut Player,
    errand: &Errand,
    number: usize,
) -> Result<Trip, PredictError> {
    scene.lab().set_rates(errand.link)?;
    let baseline_gap = player.thaw()?;
    let [from, to] = player.way;
    let request = MigrateRequest {
        verify: errand.stage == Stage::Digest,
        force: errand.stage == Stage::Digest,
        ..MigrateRequest::new(&player.guest.name, to, errand.downtime, spec.within)
    };
    let report = attempt(scene, player, from, &request)?;
    let forced = Fate::of(&report)
        .is_no()
        .then(|| attempt(scene, player, from, &MigrateRequest { force: true, ..request }))
        .transpose()?;
    player.check(scene)?;
    player.freeze()?;
    Ok(Trip {
        number,
        stage: errand.stage,
        workload: errand.workload,
        link: errand.link,
        asked: errand.downtime,
        baseline_gap,
        report,
        forced,
    })
}

fn attempt(
    scene: &Scene,
    player: &mut Player,
    from: &str,
    request: &MigrateRequest,
) -> Result<Report, PredictError> {
    let guest = || player.guest.name.clone();
    let migration = scene.migrate(from, request, |_| ())?;
    let ended = Instant::now();
    let no_report = || PredictError::NoReport { host: from.to_owned(), guest: guest() };
    let mut report = migration.report.ok_or_else(no_report)?;
    report.samples.clear();
    if report.owner == Holder::Unknown {
        return Err(PredictError::Ownerless { guest: guest(), reason: report.reason });
    }
    if report.ram_digest_equal == Some(false) {
        return Err(PredictError::Digest { guest: guest() });
    }
    if report.outcome == Ending::Completed {
        thread::sleep(AFTER);
        let begun = ended.checked_sub(report.measured.total).unwrap_or(ended);
        report.measured.client_gap = player.longest_silence(begun..Instant::now());
        player.arrived(scene)?;
    }
    Ok(report)
}
