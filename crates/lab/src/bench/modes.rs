//! Every way of changing hosts, with the same guest: what of it is kept, what it takes, and whether
//! that could be told beforehand.

use std::path::Path;
use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Mode};
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::MigrateRequest;
use punctual_images::Qemu;
use punctual_units::BytesPerSecond;
use serde::Serialize;

use super::trial::TrialError;
use crate::scene::{GuestSpec, Scene, Witness};
use crate::{LabName, LabSpec};

/// How long the guest settles after its boot.
const SETTLE: Duration = Duration::from_secs(2);
/// What is asked of modes in which the guest runs nearly all the time, and of the others.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(120);
const WITHIN: Duration = Duration::from_secs(180);
/// How often the guest writes a byte.
const WRITES: u64 = 5_000;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct ModesSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The rate of the hosts' links.
    pub rate: BytesPerSecond,
    /// The QEMU that runs the guests.
    pub qemu: Qemu,
    /// Which modes.
    pub modes: Vec<Mode>,
    /// How often.
    pub repetitions: usize,
}

/// One guest that has changed hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// How.
    pub mode: Mode,
    /// Whether it runs at the destination.
    pub arrived: bool,
    /// Whether it went on there where it had been stopped, with every byte of its memory.
    pub state_kept: bool,
    /// Whether its client's connections outlived it.
    pub connections_kept: bool,
    /// The interruption by the report, in milliseconds.
    pub downtime_ms: Option<f64>,
    /// The longest silence at the client, in milliseconds.
    pub gap_ms: f64,
    /// From the offer until nothing was left at the source, in seconds: the look before it is not in
    /// it, as it is in no prediction.
    pub total_s: f64,
    /// What was predicted as likely: the interruption in milliseconds, and the whole in seconds.
    pub predicted: Option<(f64, f64)>,
    /// What was not as before, in words.
    pub remarks: Vec<String>,
}

/// Tries every mode in turn, telling each change when it is done.
///
/// # Errors
/// A guest could not be started or asked.
pub fn run(
    spec: &ModesSpec,
    program: &Path,
    mut tell: impl FnMut(&Change),
) -> Result<Vec<Change>, TrialError> {
    let lab = LabSpec::two_hosts(spec.lab.clone(), Some(spec.rate));
    let scene = Scene::set_up(&lab, program)?;
    let mut changes = Vec::new();
    for _ in 0..spec.repetitions {
        for mode in &spec.modes {
            let change = change(&scene, spec, *mode)?;
            tell(&change);
            changes.push(change);
        }
    }
    scene.take_down()?;
    Ok(changes)
}

fn change(scene: &Scene, spec: &ModesSpec, mode: Mode) -> Result<Change, TrialError> {
    let options = Options {
        workload: Workload::HotCold,
        rate: WRITES,
        fill: 128 << 20,
        set: 64 << 20,
        ..Options::default()
    };
    let guest = GuestSpec::new("modes", spec.qemu.clone(), options);
    let guest = scene.start_guest("a", &guest)?;
    let mut witness = Witness::new(scene, guest)?;
    std::thread::sleep(SETTLE);
    let begun = Instant::now();
    let migration = scene.migrate("a", &request(mode), |_| ())?;
    let measured = migration.report.as_ref().map(|report| &report.measured);
    let arrived =
        migration.report.as_ref().is_some_and(|report| report.outcome == Ending::Completed);
    let remarks = if arrived {
        witness.complaints()
    } else {
        migration.report.iter().map(|report| report.reason.clone()).collect()
    };
    let of = |what: &str| remarks.iter().any(|remark| remark.contains(what));
    let predicted = migration.forecast.as_ref().and_then(|forecast| forecast.predicted);
    let change = Change {
        mode,
        arrived,
        state_kept: arrived && !of("anew") && !of("memory") && !of("wrong bytes"),
        connections_kept: arrived && !of("connection") && !of("does not answer"),
        downtime_ms: measured.and_then(|measured| measured.downtime).map(milliseconds),
        gap_ms: witness.longest_silence(begun).map_or(f64::NAN, milliseconds),
        total_s: measured.map_or(f64::NAN, |measured| measured.total.as_secs_f64()),
        predicted: predicted.map(|predicted| {
            (milliseconds(predicted.downtime.p50), predicted.total.p50.as_secs_f64())
        }),
        remarks,
    };
    drop(witness);
    for host in ["a", "b"] {
        let machines = scene.ask(host, |client| async move { client.machines().await })?;
        if machines.iter().any(|machine| machine.name == "modes") {
            scene.ask(host, |client| async move { client.stop("modes").await })?;
        }
    }
    Ok(change)
}

fn request(mode: Mode) -> MigrateRequest {
    let stands = matches!(mode, Mode::StopAndCopy | Mode::Restart);
    let downtime = if stands { LONG } else { SHORT };
    MigrateRequest {
        mode: Some(mode),
        // The test guest has no power button: it is switched off.
        force: mode == Mode::Restart,
        ..MigrateRequest::new("modes", "b", downtime, WITHIN)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
