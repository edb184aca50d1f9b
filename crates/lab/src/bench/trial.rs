//! One move of one fresh guest, and what it cost as seen from outside.

use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Mode, Policy, PostCopy, Promise, Report};
use punctual_guest::qemu::qmp::QmpError;
use punctual_host::api::MigrateRequest;
use punctual_units::{Bytes, PAGE_SIZE, Probability};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::contender::Contender;
use super::minute::Minute;
use super::native::Waiting;
use super::template::Template;
use super::traffic::sent_by;
use super::{BenchSpec, Load};
use crate::client::ControlError;
use crate::scene::{Guest, Scene, SceneError};
use crate::{NoSuchPlace, RunError, TapError};

/// How long the guest settles after its start.
const SETTLE: Duration = Duration::from_secs(1);

/// What one move cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Who moved the guest.
    pub contender: Contender,
    /// What the guest did.
    pub load: Load,
    /// The longest silence at the client, in milliseconds.
    pub gap_ms: f64,
    /// The longest silence while nothing disturbed the guest.
    pub baseline_gap_ms: f64,
    /// From the command until the machine ran at the destination and needed the source no more.
    pub total_s: f64,
    /// What the source's host put on its link meanwhile, headers included.
    pub bytes: Bytes,
    /// How long the undisturbed guest would have worked for what it did not do in the minute around
    /// the move, in seconds; zero for a guest that has nothing to do. Guests make up for no more than
    /// [`CATCH_UP`](super::CATCH_UP).
    pub work_lost_s: f64,
    /// Units of work a second before the move.
    #[serde(default)]
    pub work_rate: f64,
    /// How many pages the guest writes, again and again; zero where it was not said.
    #[serde(default)]
    pub written_pages: u64,
    /// The downtime that the mover itself reports, in milliseconds.
    pub reported_downtime_ms: Option<f64>,
    /// How Punctual moved it, and what became of its promise.
    #[serde(default)]
    pub how: Option<How>,
    /// Why the guest counts as lost: it did not arrive, or was harmed.
    pub lost: Option<String>,
    /// What was wrong with the guest afterwards, wherever it ran: it restarted, does not answer, or
    /// found a wrong byte in itself.
    #[serde(default)]
    pub harmed: Option<String>,
}

/// How Punctual moved a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct How {
    /// How it changed hosts.
    pub mode: Mode,
    /// How its memory was moved while it ran.
    pub policy: Policy,
    /// What became of the promise.
    pub promise: Option<Promise>,
    /// What it took until all pages were there, where they followed.
    pub post_copy: Option<PostCopy>,
}

/// Why a trial could not be made.
#[derive(Debug, Error)]
pub enum TrialError {
    /// The scene.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A host of the lab.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// A program in the lab.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A tap in the lab.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A monitor.
    #[error("QEMU: {0}")]
    Qmp(#[from] QmpError),
    /// The guest.
    #[error("the guest: {0}")]
    Control(#[from] ControlError),
    /// QEMU's own migration did not come to its end.
    #[error("{0}")]
    Native(String),
    /// The guest of which all are copies.
    #[error("the guest could not be written to its file, or run from it: {0}")]
    Template(String),
    /// A file or a socket.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// How a mover ended.
struct Moved {
    ended: Instant,
    downtime: Option<Duration>,
    how: Option<How>,
    lost: Option<String>,
}

/// Runs a copy of the guest at host `a`, has it moved to host `b`, asks it how it feels, and ends it.
pub(super) fn make(
    scene: &Scene,
    spec: &BenchSpec,
    template: &Template,
    contender: Contender,
    load: Load,
) -> Result<Trial, TrialError> {
    let guest = template.copy(scene, load, spec.rate)?;
    std::thread::sleep(SETTLE);
    let mut minute = Minute::before(&guest.beacon);

    let machine = scene.machine("a", &guest.name)?;
    let waiting = (contender != Contender::Punctual)
        .then(|| Waiting::start(scene, &machine, &spec.qemu, contender))
        .transpose()?;
    let bytes_before = sent_by(scene.lab(), "a")?;
    minute.begin();
    let begun = minute.begun;
    let moved = match &waiting {
        Some(waiting) => by_qemu(waiting, spec),
        None => by_punctual(scene, spec, &guest),
    };
    let bytes = sent_by(scene.lab(), "a")?.saturating_sub(bytes_before);
    let seen = minute.after(moved.ended);
    let harmed = complaint(scene, &guest);
    let trial = Trial {
        contender,
        load,
        gap_ms: seen.gap.map_or(f64::NAN, milliseconds),
        baseline_gap_ms: seen.baseline_gap.map_or(f64::NAN, milliseconds),
        total_s: moved.ended.duration_since(begun).as_secs_f64(),
        bytes,
        work_lost_s: seen.work_lost.as_secs_f64(),
        work_rate: seen.work_rate,
        written_pages: spec.memory.set.get() / PAGE_SIZE.get(),
        reported_downtime_ms: moved.downtime.map(milliseconds),
        how: moved.how,
        lost: moved.lost.or_else(|| harmed.clone()),
        harmed,
    };
    clear(scene, &guest, waiting)?;
    Ok(trial)
}

fn by_punctual(scene: &Scene, spec: &BenchSpec, guest: &Guest) -> Moved {
    let asked = MigrateRequest::new(&guest.name, "b", spec.downtime, spec.within);
    let request = if spec.planned {
        asked
    } else {
        // Only the move itself is compared. QEMU's limit holds what it expects, not what it is
        // sure of; each mover is told the same.
        let confidence = Probability::saturating(0.5);
        MigrateRequest { look: Some(Duration::ZERO), confidence, ..asked }
    };
    let migration = scene.migrate("a", &request, |_| ());
    let ended = Instant::now();
    let report = match &migration {
        Ok(migration) => migration.report.as_ref().ok_or("the daemon ended".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let lost = match report {
        Ok(report) if report.outcome == Ending::Completed => None,
        Ok(report) => Some(report.reason.clone()),
        Err(ref reason) => Some(reason.clone()),
    };
    let report = report.ok();
    Moved {
        ended,
        downtime: report.and_then(|report| report.measured.downtime),
        how: report.map(how),
        lost,
    }
}

fn how(report: &Report) -> How {
    let Report { mode, policy, promise, measured, .. } = report;
    How { mode: *mode, policy: *policy, promise: *promise, post_copy: measured.post_copy }
}

fn by_qemu(waiting: &Waiting, spec: &BenchSpec) -> Moved {
    let outcome = waiting.migrate(spec.downtime, spec.within);
    let ended = Instant::now();
    Moved {
        ended,
        downtime: waiting.reported_downtime(),
        how: None,
        lost: outcome.err().map(|e| e.to_string()),
    }
}

/// What is wrong with a guest after its move.
fn complaint(scene: &Scene, guest: &Guest) -> Option<String> {
    if guest.beacon.signs().restarted.is_some() {
        return Some("the guest restarted".to_owned());
    }
    match scene.control(guest).and_then(|mut control| control.check()) {
        Ok(check) if check.ok => None,
        Ok(check) => Some(format!("wrong byte: {:?}", check.wrong)),
        Err(error) => Some(format!("the guest does not answer: {error}")),
    }
}

/// Ends the guest wherever it is.
fn clear(scene: &Scene, guest: &Guest, waiting: Option<Waiting>) -> Result<(), TrialError> {
    if let Some(waiting) = waiting {
        waiting.end(scene, &guest.name)?;
    }
    let name = guest.name.as_str();
    for host in ["a", "b"] {
        let machines = scene.ask(host, |client| async move { client.machines().await })?;
        if machines.iter().any(|machine| machine.name == name) {
            scene.ask(host, |client| async move { client.stop(name).await })?;
        }
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
