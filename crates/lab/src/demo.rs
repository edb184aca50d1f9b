//! The demonstration: a guest that streams to a client is moved while the client watches.

use std::path::Path;
use std::time::{Duration, Instant};

use punctual_engine::Report;
use punctual_guest_protocol::control::CheckReport;
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::{MigrateRequest, Migration};
use punctual_images::Qemu;
use punctual_page::ClientView;
use punctual_units::BytesPerSecond;
use thiserror::Error;

use crate::client::{ControlError, StreamEnd, Window};
use crate::scene::{Guest, GuestSpec, Scene, SceneError};
use crate::{LabName, LabSpec};

/// How long the client watches before the move, for the baseline.
const BEFORE: Duration = Duration::from_secs(3);
/// How long the client watches after the move.
const AFTER: Duration = Duration::from_secs(1);

/// What is to be shown.
#[derive(Debug, Clone)]
pub struct DemoSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The rate of the hosts' links.
    pub rate: BytesPerSecond,
    /// The longest interruption allowed.
    pub downtime: Duration,
    /// The longest time in all.
    pub within: Duration,
    /// Whether digests of the RAM are compared.
    pub verify: bool,
    /// What the guest does, besides streaming.
    pub workload: Workload,
    /// Its page writes a second.
    pub write_rate: u64,
    /// The QEMU that runs it.
    pub qemu: Qemu,
    /// `kvm`, `tcg` or `auto`.
    pub accel: String,
}

/// Where the demonstration stands.
#[derive(Debug)]
pub enum Scenery<'a> {
    /// The lab is made and its daemons started.
    Making,
    /// The guest boots.
    Booting,
    /// The client watches the guest, before or after the move, for this long.
    Watching(Duration),
    /// The guest moves.
    Moving(&'a Migration),
    /// The guest checks its own memory.
    Checking,
}

/// What was seen.
#[derive(Debug)]
pub struct Demo {
    /// The report of the move, with what the client saw.
    pub report: Report,
    /// The client's view of the beacon.
    pub client: ClientView,
    /// How the stream's connection broke, if it did.
    pub stream_broke: Option<StreamEnd>,
    /// What the guest said of its own memory, if it could be asked.
    pub check: CheckReport,
}

/// Why there was nothing to be seen.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The scene could not be set, or the daemon refused.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The guest could not be asked.
    #[error("the guest: {0}")]
    Control(#[from] ControlError),
    /// The move has no report.
    #[error("the daemon of host a ended while the guest was moving; its log is in the lab")]
    NoReport,
}

/// Sets the scene, moves the guest from host `a` to host `b`, and takes the scene down again.
/// `program` is the command `punctual`, run as the hosts' daemons.
///
/// # Errors
/// The scene could not be set. A move that failed is no error: it has a report.
pub fn play(
    spec: &DemoSpec,
    program: &Path,
    mut tell: impl FnMut(Scenery<'_>),
) -> Result<Demo, DemoError> {
    tell(Scenery::Making);
    let lab = LabSpec::two_hosts(spec.lab.clone(), Some(spec.rate));
    let scene = Scene::set_up(&lab, program)?;
    tell(Scenery::Booting);
    let guest = scene.start_guest("a", &guest_spec(spec))?;
    let demo = watch_the_move(spec, &scene, &guest, tell)?;
    drop(guest);
    scene.take_down()?;
    Ok(demo)
}

fn guest_spec(spec: &DemoSpec) -> GuestSpec {
    let options = Options {
        workload: spec.workload,
        fill: 128 << 20,
        set: 64 << 20,
        rate: spec.write_rate,
        ..Options::default()
    };
    GuestSpec { accel: spec.accel.clone(), ..GuestSpec::new("demo", spec.qemu.clone(), options) }
}

fn watch_the_move(
    spec: &DemoSpec,
    scene: &Scene,
    guest: &Guest,
    mut tell: impl FnMut(Scenery<'_>),
) -> Result<Demo, DemoError> {
    let stream = scene.stream(guest)?;
    tell(Scenery::Watching(BEFORE));
    let watched = Instant::now();
    std::thread::sleep(BEFORE);

    let request = MigrateRequest {
        verify: spec.verify,
        ..MigrateRequest::new(&guest.name, "b", spec.downtime, spec.within)
    };
    let begun = Instant::now();
    let migration = scene.migrate("a", &request, |migration| tell(Scenery::Moving(migration)))?;
    let mut report = migration.report.ok_or(DemoError::NoReport)?;
    tell(Scenery::Watching(AFTER));
    std::thread::sleep(AFTER);
    let ended = Instant::now();

    let client = view(guest, watched, begun, ended);
    report.measured.client_gap = longest(guest, begun..ended);
    tell(Scenery::Checking);
    let check = scene.control(guest)?.check()?;
    Ok(Demo { report, client, stream_broke: stream.end(), check })
}

/// The longest silence in a window.
fn longest(guest: &Guest, window: Window) -> Option<Duration> {
    guest.beacon.arrivals(|arrivals| arrivals.reception(window)).map(|seen| seen.largest.length())
}

fn view(guest: &Guest, watched: Instant, begun: Instant, ended: Instant) -> ClientView {
    let since = |moment: Instant| {
        let later = moment.saturating_duration_since(begun).as_secs_f64();
        later - begun.saturating_duration_since(moment).as_secs_f64()
    };
    let gaps = guest.beacon.arrivals(|arrivals| arrivals.gaps(&(watched..ended)));
    let arrivals =
        gaps.iter().map(|gap| (since(gap.to), gap.length().as_secs_f64() * 1e3)).collect();
    let baseline_gap = longest(guest, watched..begun).unwrap_or_default();
    ClientView { arrivals, baseline_gap }
}
