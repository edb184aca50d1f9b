//! What it costs a client that a guest gets another QEMU on its host, beside what no move of it to
//! another host can do without.

mod announced;
mod row;
mod watched;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use punctual_engine::Report;
use punctual_engine::report::{Ending, Phases};
use punctual_host::api::{MigrateRequest, UpgradeRequest};
use punctual_images::Qemu;
use punctual_units::{Bytes, Pages};
use serde::Serialize;

use self::announced::Announcements;
pub use self::row::{LocalRow, Parts};
use self::watched::Watched;
use super::TrialError;
use crate::client::Gap;
use crate::scene::{Scene, SceneError};
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
    /// The QEMU that runs the guest.
    pub qemu: Qemu,
    /// The one that takes its place; `None`: the same again.
    pub successor: Option<Qemu>,
    /// What the machine runs on, and with that the guest.
    pub accel: Accel,
    /// The guest's RAM.
    pub memory: Bytes,
    /// How often.
    pub repetitions: usize,
}

/// What machines run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// QEMU's translator, and an idle Linux guest.
    Tcg,
    /// The processor, and the bare-metal guest, which any KVM runs. It checks and writes 16 pages each
    /// millisecond, and waits between.
    Kvm,
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
    /// Where the whole of that interruption went.
    pub move_phases: Phases,
    /// The longest silence at the client in that move, with the same noise about it.
    pub move_gap_ms: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Local {
    /// The version of QEMU.
    pub qemu: String,
    /// The version of the one that took its place.
    pub successor: String,
    /// What the machines ran on.
    pub accel: Accel,
    /// The guest's RAM.
    pub memory: Bytes,
    /// Each guest.
    pub replacements: Vec<Replacement>,
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
    let LocalSpec { qemu, successor, accel, memory, .. } = spec;
    let successor = successor.as_ref().unwrap_or(qemu).version.clone();
    let (qemu, accel, memory) = (qemu.version.clone(), *accel, *memory);
    Ok(Local { qemu, successor, accel, memory, replacements })
}

fn measure(scene: &Scene, spec: &LocalSpec) -> Result<Replacement, TrialError> {
    let guest = Watched::start(scene, spec)?;
    let name = guest.name();
    let announcements = Announcements::listen(scene.lab()).map_err(SceneError::from)?;
    std::thread::sleep(SETTLE);
    let watched = Instant::now();
    std::thread::sleep(BASELINE);
    let begun = Instant::now();
    let report = upgrade(scene, name, spec.successor.as_ref())?;
    std::thread::sleep(AFTER);
    let seen = Instant::now();
    let announced = announcements.take();
    let moved = move_away(scene, name)?;
    std::thread::sleep(AFTER);
    let moved_away = Instant::now();
    move_home(scene, name)?;
    if let Some(complaint) = guest.complaint(scene)? {
        return Err(TrialError::Native(format!("the guest was harmed: {complaint}")));
    }
    scene.ask("a", |client| async move { client.stop(name).await })?;
    let length = |gap: Option<Gap>| gap.map_or(f64::NAN, |gap| milliseconds(gap.length()));
    let gap = guest.longest_silence(begun..seen);
    let downtime = |report: &Report| report.measured.downtime.unwrap_or_default();
    Ok(Replacement {
        gap_ms: length(gap),
        until_announced_ms: gap.and_then(|gap| until_announced(gap, &announced)),
        baseline_gap_ms: length(guest.longest_silence(watched..begun)),
        downtime_ms: milliseconds(downtime(&report)),
        phases: report.measured.phases,
        wire_bytes: report.measured.wire_bytes,
        pages_sent: report.measured.pages_sent,
        total_s: report.measured.total.as_secs_f64(),
        fixed_ms: milliseconds(downtime(&moved).saturating_sub(moved.measured.phases.final_copy)),
        move_phases: moved.measured.phases,
        move_gap_ms: length(guest.longest_silence(seen..moved_away)),
    })
}

/// How long into a silence the first announcement came.
fn until_announced(gap: Gap, announced: &[Instant]) -> Option<f64> {
    let inside = announced.iter().find(|at| (gap.from..gap.to).contains(at))?;
    Some(milliseconds(inside.saturating_duration_since(gap.from)))
}

fn upgrade(scene: &Scene, name: &str, by: Option<&Qemu>) -> Result<Report, TrialError> {
    let directory = &scene.lab().host("a")?.run_dir;
    let program = |by: &Qemu| -> io::Result<_> {
        let program = directory.join(format!("qemu-{}", by.version));
        by.write_program(&program)?;
        Ok(program)
    };
    let request = UpgradeRequest {
        machine: name.to_owned(),
        program: by.map(program).transpose()?,
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

fn move_away(scene: &Scene, name: &str) -> Result<Report, TrialError> {
    let request = MigrateRequest {
        look: Some(Duration::ZERO),
        ..MigrateRequest::new(name, "b", DOWNTIME, WITHIN)
    };
    completed(scene.migrate("a", &request, |_| ())?.report)
}

/// Moves a guest back, now that nothing is measured any more, and has both hosts say what is in all of
/// its memory.
fn move_home(scene: &Scene, name: &str) -> Result<(), TrialError> {
    let request = MigrateRequest {
        look: Some(Duration::ZERO),
        verify: true,
        ..MigrateRequest::new(name, "a", DOWNTIME, WITHIN)
    };
    match completed(scene.migrate("b", &request, |_| ())?.report)?.ram_digest_equal {
        Some(true) => Ok(()),
        _ => Err(TrialError::Native("the digests of its memory differ between hosts".to_owned())),
    }
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
