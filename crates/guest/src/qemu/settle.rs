//! Making certain that no direct I/O is on its way into the guest's RAM.
//!
//! QEMU counts for each virtio queue the requests that it took and has not answered (`inuse`). A
//! queue seen at zero has ended every request from before; those taken later do not matter. So
//! each queue has to be seen at zero once, at a moment of its own.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{self, Disk};
use super::qmp::{Qmp, QmpError};
use crate::Settled;

/// How long to look for idle queues before the machine is paused instead.
const LOOK: Duration = Duration::from_millis(8);

/// A virtio queue: the device's path in QEMU's object model, and the queue's number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Queue {
    path: String,
    number: u64,
}

#[derive(Deserialize)]
struct VirtioDevice {
    name: String,
    path: String,
}

/// Returns once every request that was in flight at the call has ended.
pub(super) fn settle(qmp: &Qmp, disks: &[Disk]) -> Result<Settled, QmpError> {
    if !disks.iter().any(|disk| disk.direct) {
        return Ok(Settled::NoDirectIo);
    }
    if only_virtio(qmp)? && seen_idle(qmp)? {
        return Ok(Settled::SeenIdle);
    }
    pause(qmp).map(Settled::Paused)
}

/// Stops the machine, which waits for its requests, and lets it run on.
fn pause(qmp: &Qmp) -> Result<Duration, QmpError> {
    let began = Instant::now();
    let was_running = describe::state(qmp)? == "running";
    qmp.execute("stop", json!({}))?;
    if was_running {
        qmp.execute("cont", json!({}))?;
    }
    Ok(began.elapsed())
}

/// Whether every disk with direct I/O is behind a virtio device: those that QEMU emulates otherwise have no queues
/// to look at.
fn only_virtio(qmp: &Qmp) -> Result<bool, QmpError> {
    let disks = qmp.execute("query-block", json!({}))?;
    for disk in disks.as_array().into_iter().flatten() {
        if disk["inserted"]["cache"]["direct"] != true {
            continue;
        }
        let Some(device) = disk["qdev"].as_str() else { continue };
        let bus = match qmp.property(device, "parent_bus")? {
            Some(Value::String(bus)) => bus,
            _ => String::new(),
        };
        // virtio-blk is itself behind the device, a SCSI disk behind the bus of a virtio-scsi.
        let virtio = |path: &str| path.contains("virtio-backend") || path.contains("virtio-bus");
        if !virtio(device) && !virtio(&bus) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks at the queues one after another until each was seen idle; says whether that came in time.
fn seen_idle(qmp: &Qmp) -> Result<bool, QmpError> {
    let deadline = Instant::now() + LOOK;
    let mut busy = queues(qmp)?;
    loop {
        let mut still = Vec::new();
        for queue in busy {
            if !is_idle(qmp, &queue)? {
                still.push(queue);
            }
        }
        if still.is_empty() {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        busy = still;
    }
}

fn queues(qmp: &Qmp) -> Result<Vec<Queue>, QmpError> {
    let devices: Vec<VirtioDevice> = qmp.query("x-query-virtio", json!({}))?;
    let mut queues = Vec::new();
    for device in devices {
        if !matches!(device.name.as_str(), "virtio-blk" | "virtio-scsi") {
            continue;
        }
        let status = qmp.execute("x-query-virtio-status", json!({ "path": device.path }))?;
        let count = status["num-vqs"].as_u64().unwrap_or(0);
        let queue = |number| Queue { path: device.path.clone(), number };
        queues.extend((0..count).map(queue));
    }
    Ok(queues)
}

fn is_idle(qmp: &Qmp, queue: &Queue) -> Result<bool, QmpError> {
    let which = json!({ "path": queue.path, "queue": queue.number });
    let status = qmp.execute("x-query-virtio-queue-status", which)?;
    Ok(status["inuse"] == 0)
}
