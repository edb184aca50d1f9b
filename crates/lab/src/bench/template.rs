//! A guest in a file, of which each move gets a copy: booted and filled once, then the same to the
//! byte for every mover.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::{ResumeRequest, SnapshotEvent, SuspendRequest};
use punctual_host::client::{Client, ClientError, Events};
use punctual_images::Qemu;
use toml::Value;

use super::native::monitor;
use super::trial::TrialError;
use super::{Load, Memory};
use crate::client::BeaconReceiver;
use crate::scene::{Guest, GuestSpec, Scene};

/// How much missed work the guests make up for. An interruption costs them all but this: what they
/// did not do cannot be hidden by doing it later. It is as much as the timers of an emulated
/// machine on a shared one may be late without anything being wrong.
pub const CATCH_UP: Duration = Duration::from_millis(5);

/// The guest of host `a`, in a file.
pub(super) struct Template {
    file: PathBuf,
    /// Its copies have its name, its address, and the place where its beacon goes to.
    name: String,
    address: std::net::Ipv4Addr,
    port: u16,
}

impl Template {
    /// Boots a guest at host `a`, waits until its memory is filled, and suspends it. Takes some
    /// seconds.
    pub(super) fn make(scene: &Scene, qemu: &Qemu, memory: Memory) -> Result<Self, TrialError> {
        let guest = scene.start_guest("a", &spec(scene, qemu, memory)?)?;
        // Opens when all of its memory is filled.
        drop(scene.control(&guest)?);
        let file = scene.lab().host("a")?.run_dir.join("template.snapshot");
        let request = SuspendRequest { file: file.clone(), keep_running: false };
        let name = guest.name.as_str();
        let suspend =
            |client: Client| async move { last(client.suspend(name, &request).await?).await };
        match scene.ask("a", suspend)? {
            Some(SnapshotEvent::Saved(_)) => {}
            other => return Err(TrialError::Template(format!("{other:?}"))),
        }
        let port = guest.beacon.address().port();
        Ok(Self { file, name: guest.name, address: guest.address, port })
    }

    /// Runs a copy at host `a`, once the one before has ended, and has it do what the load says.
    pub(super) fn copy(
        &self,
        scene: &Scene,
        load: Load,
        rate: Option<punctual_units::BytesPerSecond>,
    ) -> Result<Guest, TrialError> {
        let beacon = BeaconReceiver::listen(scene.lab(), self.port)?;
        let request = ResumeRequest { keep: true, ..ResumeRequest::new(&self.file) };
        let resume = |client: Client| async move { last(client.resume(&request).await?).await };
        match scene.ask("a", resume)? {
            Some(SnapshotEvent::Restored(_)) => {}
            other => return Err(TrialError::Template(format!("{other:?}"))),
        }
        let guest = Guest { name: self.name.clone(), address: self.address, beacon };
        let (workload, units) = load.work(rate);
        scene.control(&guest)?.workload(workload, Some(units), None)?;
        Ok(guest)
    }

    /// Removes the file.
    pub(super) fn remove(self) -> Result<(), TrialError> {
        Ok(fs::remove_file(self.file)?)
    }
}

fn spec(scene: &Scene, qemu: &Qemu, memory: Memory) -> Result<GuestSpec, TrialError> {
    let options = Options {
        workload: Workload::Idle,
        fill: memory.fill.get(),
        set: memory.set.get(),
        catch_up: CATCH_UP,
        ..Options::default()
    };
    let mut guest = GuestSpec::new("bench", qemu.clone(), options);
    let socket = monitor(scene.lab().host("a")?, &guest.name);
    let extra = ["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())];
    let extra = extra.into_iter().map(Value::String).collect();
    guest.more.insert("extra".to_owned(), Value::Array(extra));
    Ok(guest)
}

/// How it ended; `None` if the daemon did.
async fn last(mut events: Events<SnapshotEvent>) -> Result<Option<SnapshotEvent>, ClientError> {
    let mut last = None;
    while let Some(event) = events.next().await? {
        last = Some(event);
    }
    Ok(last)
}
