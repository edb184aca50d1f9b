//! One move of one fresh guest, and what it cost as seen from outside.

use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Mode, Policy, PostCopy, Promise, Report};
use punctual_guest::qemu::qmp::QmpError;
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::MigrateRequest;
use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE, Probability};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Value;

use super::contender::Contender;
use super::native::{Waiting, monitor};
use super::traffic::sent_by;
use super::{BenchSpec, Load};
use crate::client::ControlError;
use crate::scene::{Guest, GuestSpec, Scene, SceneError};
use crate::{NoSuchPlace, RunError, TapError};

/// How long the guest settles after its boot, and how long it is then watched undisturbed.
const SETTLE: Duration = Duration::from_secs(1);
const BASELINE: Duration = Duration::from_secs(2);
/// How long it is watched after the move.
const AFTER: Duration = Duration::from_secs(2);

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
    /// How long the undisturbed guest would have worked for what it did not do, in seconds; zero
    /// for a guest that has nothing to do.
    pub work_lost_s: f64,
    /// How many pages the guest writes, again and again; zero where it was not said.
    #[serde(default)]
    pub written_pages: u64,
    /// The downtime that the mover itself reports, in milliseconds.
    pub reported_downtime_ms: Option<f64>,
    /// How Punctual moved it, and what became of its promise.
    #[serde(default)]
    pub how: Option<How>,
    /// Why the guest counts as lost: it did not arrive, restarted, or found a wrong byte in itself.
    pub lost: Option<String>,
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

/// Starts a guest at host `a`, has it moved to host `b`, asks it how it feels, and ends it.
pub(super) fn make(
    scene: &Scene,
    spec: &BenchSpec,
    contender: Contender,
    load: Load,
) -> Result<Trial, TrialError> {
    let guest = scene.start_guest("a", &guest_spec(scene, spec, load)?)?;
    std::thread::sleep(SETTLE);
    let watched = Instant::now();
    std::thread::sleep(BASELINE);

    let machine = scene.machine("a", &guest.name)?;
    let waiting = (contender != Contender::Punctual)
        .then(|| Waiting::start(scene, &machine, &spec.qemu, contender))
        .transpose()?;
    let bytes_before = sent_by(scene.lab(), "a")?;
    let begun = Instant::now();
    let moved = match &waiting {
        Some(waiting) => by_qemu(waiting, spec),
        None => by_punctual(scene, spec, &guest)?,
    };
    let bytes = sent_by(scene.lab(), "a")?.saturating_sub(bytes_before);
    std::thread::sleep(AFTER);
    let seen = Instant::now();
    let lost = moved.lost.or_else(|| complaint(scene, &guest));

    let longest = |window| {
        let reception = guest.beacon.arrivals(|arrivals| arrivals.reception(window));
        reception.map_or(f64::NAN, |seen| milliseconds(seen.largest.length()))
    };
    let work = |arrivals: &crate::client::Arrivals| arrivals.work_lost(watched..begun, begun..seen);
    let trial = Trial {
        contender,
        load,
        gap_ms: longest(begun..seen),
        baseline_gap_ms: longest(watched..begun),
        total_s: moved.ended.duration_since(begun).as_secs_f64(),
        bytes,
        work_lost_s: guest.beacon.arrivals(work).map_or(0.0, |lost| lost.time.as_secs_f64()),
        written_pages: options(spec, load).set / PAGE_SIZE.get(),
        reported_downtime_ms: moved.downtime.map(milliseconds),
        how: moved.how,
        lost,
    };
    clear(scene, &guest, waiting)?;
    Ok(trial)
}

/// The guest's memory on links that are slower than this is small, so that a round takes seconds.
const FAST: BytesPerSecond = BytesPerSecond::megabits(500);
/// What is filled, and what is written of it, on fast links and on slow ones.
const LARGE: (u64, u64) = (200 << 20, 160 << 20);
const SMALL: (u64, u64) = (64 << 20, 48 << 20);

fn options(spec: &BenchSpec, load: Load) -> Options {
    let (mut fill, mut set) = (200 << 20, 64 << 20);
    let (workload, rate) = match load {
        Load::Idle => (Workload::Idle, 0),
        Load::Writes(rate) => (Workload::Uniform, rate),
        Load::Share { pattern, percent } => {
            let link = spec.rate.unwrap_or(BytesPerSecond::megabits(1000));
            (fill, set) = if link < FAST { SMALL } else { LARGE };
            (pattern, link.get() / PAGE_SIZE.get() * u64::from(percent) / 100)
        }
    };
    Options { workload, rate, fill, set, ..Options::default() }
}

fn guest_spec(scene: &Scene, spec: &BenchSpec, load: Load) -> Result<GuestSpec, TrialError> {
    let mut guest = GuestSpec::new("bench", spec.qemu.clone(), options(spec, load));
    let socket = monitor(scene.lab().host("a")?, &guest.name);
    let extra = ["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())];
    let extra = extra.into_iter().map(Value::String).collect();
    guest.more.insert("extra".to_owned(), Value::Array(extra));
    Ok(guest)
}

fn by_punctual(scene: &Scene, spec: &BenchSpec, guest: &Guest) -> Result<Moved, TrialError> {
    let asked = MigrateRequest::new(&guest.name, "b", spec.downtime, spec.within);
    let request = if spec.planned {
        asked
    } else {
        // Only the move itself is compared. QEMU's limit holds what it expects, not what it is
        // sure of; each mover is told the same.
        let confidence = Probability::saturating(0.5);
        MigrateRequest { look: Some(Duration::ZERO), confidence, ..asked }
    };
    let migration = scene.migrate("a", &request, |_| ())?;
    let ended = Instant::now();
    let report = migration.report.as_ref();
    let completed = report.is_some_and(|report| report.outcome == Ending::Completed);
    let reason = || report.map_or("the daemon ended".to_owned(), |report| report.reason.clone());
    Ok(Moved {
        ended,
        downtime: report.and_then(|report| report.measured.downtime),
        how: report.map(how),
        lost: (!completed).then(reason),
    })
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
