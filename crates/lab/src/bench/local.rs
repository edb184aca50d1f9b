//! What it costs a client that a guest gets another QEMU on its host, beside what no move of it to
//! another host can do without.

mod announced;

use std::path::Path;
use std::time::{Duration, Instant};

use punctual_engine::Report;
use punctual_engine::report::{Ending, Phases};
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::{MigrateRequest, UpgradeRequest};
use punctual_images::Qemu;
use punctual_units::{Bytes, Pages};
use serde::Serialize;

use self::announced::Announcements;
use super::{Spread, TrialError};
use crate::client::Gap;
use crate::scene::{Guest, GuestSpec, Scene, SceneError};
use crate::{LabName, LabSpec};

/// How long the guest settles after its boot and after its move, and how long it is then watched
/// undisturbed.
const SETTLE: Duration = Duration::from_secs(1);
const BASELINE: Duration = Duration::from_secs(2);
/// How long it is watched after each interruption.
const AFTER: Duration = Duration::from_secs(2);
/// What is asked; nothing is to be refused.
const DOWNTIME: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct LocalSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The QEMU that runs the guest, before and after.
    pub qemu: Qemu,
    /// The guest's RAM.
    pub memory: Bytes,
    /// How often.
    pub repetitions: usize,
}

/// One guest that got another QEMU, and was then moved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Replacement {
    /// The longest silence at the client when it got another QEMU, in milliseconds.
    pub gap_ms: f64,
    /// Its first part, until the client heard that the new QEMU lets the guest run; nothing if it
    /// did not within that silence.
    pub until_announced_ms: Option<f64>,
    /// The longest silence while nothing disturbed the guest.
    pub baseline_gap_ms: f64,
    /// The interruption by the report.
    pub downtime_ms: f64,
    /// Where that went.
    pub phases: Phases,
    /// What went from the one process to the other: the state of the devices.
    pub wire_bytes: Bytes,
    /// Pages of RAM that did.
    pub pages_sent: Pages,
    /// From the request to the end.
    pub total_s: f64,
    /// The interruption of the same guest's move to another host, by the report, without the copy
    /// of its last pages.
    pub fixed_ms: f64,
    /// The longest silence at the client in that move, with the same noise about it.
    pub move_gap_ms: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Local {
    /// The version of QEMU.
    pub qemu: String,
    /// The guest's RAM.
    pub memory: Bytes,
    /// Each guest.
    pub replacements: Vec<Replacement>,
}

/// The medians, and how far the figures lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LocalRow {
    /// See [`Replacement::gap_ms`]; as for those that follow.
    pub gap_ms: Spread,
    /// Its part before the new QEMU was heard.
    pub until_announced_ms: Option<Spread>,
    /// Its part behind that: until the guest itself was heard.
    pub until_heard_ms: Option<Spread>,
    /// The silence without any interruption.
    pub baseline_gap_ms: Spread,
    /// The interruption by the report.
    pub downtime_ms: Spread,
    /// Its parts, in their order.
    pub parts: Parts,
    /// The fixed part of a move.
    pub fixed_ms: Spread,
    /// The silence in a move.
    pub move_gap_ms: Spread,
    /// The gap, divided by the fixed part of the same guest's move.
    pub ratio: Spread,
}

/// Where the time of an interruption went that copied nothing, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parts {
    /// The processors stood; until the disks were quiet, too.
    pub stop_ms: Spread,
    /// Until the state of the devices was saved.
    pub save_ms: Spread,
    /// Until the new process had loaded it.
    pub load_ms: Spread,
    /// Until the commit was recorded.
    pub commit_ms: Spread,
    /// Until it was heard that the machine runs.
    pub run_ms: Spread,
}

impl Replacement {
    /// The part of the gap behind the announcement.
    fn until_heard_ms(&self) -> Option<f64> {
        self.until_announced_ms.map(|until| self.gap_ms - until)
    }
}

impl Local {
    /// The medians; `None` without a guest.
    #[must_use]
    pub fn row(&self) -> Option<LocalRow> {
        let all = || self.replacements.iter();
        let of = |figure: fn(&Replacement) -> f64| Spread::of(all().map(figure));
        let part = |part: fn(&Phases) -> Duration| {
            Spread::of(all().map(|one| milliseconds(part(&one.phases))))
        };
        Some(LocalRow {
            gap_ms: of(|one| one.gap_ms)?,
            until_announced_ms: Spread::of(all().filter_map(|one| one.until_announced_ms)),
            until_heard_ms: Spread::of(all().filter_map(Replacement::until_heard_ms)),
            baseline_gap_ms: of(|one| one.baseline_gap_ms)?,
            downtime_ms: of(|one| one.downtime_ms)?,
            parts: Parts {
                stop_ms: part(|phases| phases.stop)?,
                save_ms: part(|phases| phases.final_copy)?,
                load_ms: part(|phases| phases.device_state)?,
                commit_ms: part(|phases| phases.commit)?,
                run_ms: part(|phases| phases.resume)?,
            },
            fixed_ms: of(|one| one.fixed_ms)?,
            move_gap_ms: of(|one| one.move_gap_ms)?,
            ratio: of(|one| one.gap_ms / one.fixed_ms)?,
        })
    }
}

/// Measures, telling each guest when it is done. `program` is the command `punctual`, run as the
/// hosts' daemons.
///
/// # Errors
/// A guest could not be started, given another QEMU, or moved.
pub fn run(
    spec: &LocalSpec,
    program: &Path,
    mut tell: impl FnMut(&Replacement),
) -> Result<Local, TrialError> {
    let scene = Scene::set_up(&LabSpec::two_hosts(spec.lab.clone(), None), program)?;
    let mut replacements = Vec::with_capacity(spec.repetitions);
    for _ in 0..spec.repetitions {
        let replacement = measure(&scene, spec)?;
        tell(&replacement);
        replacements.push(replacement);
    }
    scene.take_down()?;
    Ok(Local { qemu: spec.qemu.version.clone(), memory: spec.memory, replacements })
}

fn measure(scene: &Scene, spec: &LocalSpec) -> Result<Replacement, TrialError> {
    let options = Options { workload: Workload::Idle, rate: 0, ..Options::default() };
    let guest = GuestSpec::new("local", spec.qemu.clone(), options);
    let guest = scene.start_guest("a", &GuestSpec { memory: spec.memory, ..guest })?;
    let announcements = Announcements::listen(scene.lab()).map_err(SceneError::from)?;
    std::thread::sleep(SETTLE);
    let watched = Instant::now();
    std::thread::sleep(BASELINE);
    let begun = Instant::now();
    let report = upgrade(scene, &guest)?;
    std::thread::sleep(AFTER);
    let seen = Instant::now();
    let announced = announcements.take();
    let moved = move_away(scene, &guest)?;
    std::thread::sleep(AFTER);
    let moved_away = Instant::now();
    let check = scene.control(&guest)?.check()?;
    if !check.ok || guest.beacon.signs().restarted.is_some() {
        return Err(TrialError::Native(format!("the guest was harmed: {check:?}")));
    }
    let name = guest.name.as_str();
    scene.ask("b", |client| async move { client.stop(name).await })?;
    let longest = |window| {
        let reception = guest.beacon.arrivals(|arrivals| arrivals.reception(window));
        reception.map(|seen| seen.largest)
    };
    let length = |gap: Option<Gap>| gap.map_or(f64::NAN, |gap| milliseconds(gap.length()));
    let gap = longest(begun..seen);
    let downtime = |report: &Report| report.measured.downtime.unwrap_or_default();
    Ok(Replacement {
        gap_ms: length(gap),
        until_announced_ms: gap.and_then(|gap| until_announced(gap, &announced)),
        baseline_gap_ms: length(longest(watched..begun)),
        downtime_ms: milliseconds(downtime(&report)),
        phases: report.measured.phases,
        wire_bytes: report.measured.wire_bytes,
        pages_sent: report.measured.pages_sent,
        total_s: report.measured.total.as_secs_f64(),
        fixed_ms: milliseconds(downtime(&moved).saturating_sub(moved.measured.phases.final_copy)),
        move_gap_ms: length(longest(seen..moved_away)),
    })
}

/// How long into a silence the first announcement came.
fn until_announced(gap: Gap, announced: &[Instant]) -> Option<f64> {
    let inside = announced.iter().find(|at| (gap.from..gap.to).contains(at))?;
    Some(milliseconds(inside.saturating_duration_since(gap.from)))
}

fn upgrade(scene: &Scene, guest: &Guest) -> Result<Report, TrialError> {
    let request = UpgradeRequest {
        machine: guest.name.clone(),
        program: None,
        downtime: DOWNTIME,
        within: WITHIN,
        dry_run: false,
    };
    let ended = scene.ask("a", |client| async move {
        let begun = client.upgrade(&request).await?;
        let mut events = client.follow(begun.id).await?;
        let mut last = begun;
        while let Some(migration) = events.next().await? {
            last = migration;
        }
        Ok(last)
    })?;
    completed(ended.report)
}

fn move_away(scene: &Scene, guest: &Guest) -> Result<Report, TrialError> {
    let request = MigrateRequest {
        look: Some(Duration::ZERO),
        ..MigrateRequest::new(&guest.name, "b", DOWNTIME, WITHIN)
    };
    completed(scene.migrate("a", &request, |_| ())?.report)
}

fn completed(report: Option<Report>) -> Result<Report, TrialError> {
    let lost = || TrialError::Native("the daemon ended".to_owned());
    let report = report.ok_or_else(lost)?;
    match report.outcome {
        Ending::Completed => Ok(report),
        _ => Err(TrialError::Native(report.reason)),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
