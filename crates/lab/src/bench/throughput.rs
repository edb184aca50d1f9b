//! How fast RAM moves over an unshaped link, beside one stream of iperf3 between the same hosts.
//!
//! ```text
//!  for each size of a guest     Linux, its RAM filled with data that cannot be compressed
//!    for each repetition        in turn, so that a machine whose speed drifts treats both alike
//!      iperf3 a → b, the guest a → b, iperf3 b → a, the guest b → a
//! ```
//!
//! The guest runs all the time and checks its memory at the end.
//!
//! Before each move as much memory as the guest has is written and given back at the destination.
//! Where all this runs in a virtual machine itself, its hypervisor may take free memory away (free
//! page reporting, seen after 2 s), and then a page costs some 2 s for a GB when it is first
//! written, which is neither the mover's nor the network's doing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use punctual_engine::Report;
use punctual_engine::report::{Ending, Sample};
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::MigrateRequest;
use punctual_images::Qemu;
use punctual_units::{Bytes, BytesPerSecond};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::memory::{Watch, limit};
use super::summary::Spread;
use crate::bandwidth::{self, BandwidthError};
use crate::client::ControlError;
use crate::scene::{Guest, GuestSpec, Scene, SceneError};
use crate::{LabName, LabSpec, NoSuchPlace};

/// How long iperf3 sends.
const STREAM: Duration = Duration::from_secs(2);
/// What the guest's kernel and program need beside the fill.
const NOT_FILLED: Bytes = Bytes::mib(192);
/// The promise of each move, which is not what is measured here.
const DOWNTIME: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct ThroughputSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The QEMU that runs the guests.
    pub qemu: Qemu,
    /// The guests' RAM: more than 192 MiB, all but that is filled.
    pub memory: Vec<Bytes>,
    /// How often each guest goes there and back.
    pub repetitions: usize,
}

/// One stream of iperf3, and one move the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// The guest's RAM.
    pub memory: Bytes,
    /// The host that sent.
    pub from: String,
    /// The host that received.
    pub to: String,
    /// Payload of iperf3's stream.
    pub stream: BytesPerSecond,
    /// What the first round put on the wire.
    pub copied: Bytes,
    /// As a rate, from the first byte of the round until the destination had acknowledged the last.
    pub copy: BytesPerSecond,
    /// All that was put on the wire, over the time from the command to the end.
    pub whole: BytesPerSecond,
    /// The downtime that the report tells, in milliseconds.
    pub downtime_ms: Option<f64>,
    /// The most memory that the sending daemon had for itself; see [`super::memory`].
    pub source_memory: Bytes,
    /// The most that the receiving daemon had.
    pub destination_memory: Bytes,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Throughput {
    /// The version of QEMU.
    pub qemu: String,
    /// In the order in which they were made.
    pub passages: Vec<Passage>,
}

/// What the passages of one size have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThroughputRow {
    /// The guest's RAM.
    pub memory: Bytes,
    /// How many passages there are.
    pub passages: usize,
    /// iperf3, in bytes a second.
    pub stream: Spread,
    /// The first round, in bytes a second.
    pub copy: Spread,
    /// The first round, as a ratio to iperf3 just before.
    pub copy_ratio: Spread,
    /// The whole move, as a ratio to iperf3 just before.
    pub whole_ratio: Spread,
    /// The most memory that a sending daemon had for itself.
    pub source_memory: Bytes,
    /// The most memory that a receiving daemon had for itself.
    pub destination_memory: Bytes,
    /// What a daemon may have.
    pub memory_limit: Bytes,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum ThroughputError {
    /// The scene.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A host of the lab.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// The memory at the destination.
    #[error("cannot use the memory that the guest is to get: {0}")]
    Memory(#[from] io::Error),
    /// iperf3.
    #[error(transparent)]
    Bandwidth(#[from] BandwidthError),
    /// The guest does not answer.
    #[error("the guest: {0}")]
    Control(#[from] ControlError),
    /// Too small a guest.
    #[error("a guest needs {NOT_FILLED} for itself: state more than that, not {0}")]
    TooSmall(Bytes),
    /// A move did not come to its end.
    #[error("the guest of {memory} did not move from {from} to {to}: {reason}")]
    NotMoved {
        /// Its RAM.
        memory: Bytes,
        /// Where it stays.
        from: String,
        /// Where it was to go.
        to: String,
        /// Why.
        reason: String,
    },
    /// The guest's own check failed: its memory is not what it was.
    #[error("the guest of {memory} found a wrong byte in itself after its moves: {found}")]
    WrongByte {
        /// Its RAM.
        memory: Bytes,
        /// Where.
        found: String,
    },
}

/// Makes all passages, telling each when it is done. `program` is the command `punctual`.
///
/// # Errors
/// See [`ThroughputError`]; nothing is left behind.
pub fn run(
    spec: &ThroughputSpec,
    program: &Path,
    mut tell: impl FnMut(&Passage),
) -> Result<Throughput, ThroughputError> {
    let too_small = spec.memory.iter().find(|memory| **memory <= NOT_FILLED);
    if let Some(memory) = too_small {
        return Err(ThroughputError::TooSmall(*memory));
    }
    let scene = Scene::set_up(&LabSpec::two_hosts(spec.lab.clone(), None), program)?;
    let mut passages = Vec::new();
    for memory in &spec.memory {
        let guest = start(&scene, spec, *memory)?;
        for _ in 0..spec.repetitions {
            for (from, to) in [("a", "b"), ("b", "a")] {
                let passage = pass(&scene, &guest, *memory, from, to)?;
                tell(&passage);
                passages.push(passage);
            }
        }
        check(&scene, &guest, *memory)?;
        let name = guest.name.as_str();
        scene.ask("a", |client| async move { client.stop(name).await })?;
    }
    scene.take_down()?;
    Ok(Throughput { qemu: spec.qemu.version.clone(), passages })
}

/// Starts a guest and waits until its memory is filled: only then it answers questions.
fn start(scene: &Scene, spec: &ThroughputSpec, memory: Bytes) -> Result<Guest, ThroughputError> {
    let fill = memory.saturating_sub(NOT_FILLED).get();
    let options = Options { workload: Workload::Idle, fill, set: 1 << 20, ..Options::default() };
    let guest = GuestSpec { memory, ..GuestSpec::new("full", spec.qemu.clone(), options) };
    let guest = scene.start_guest("a", &guest)?;
    scene.control(&guest)?.status()?;
    Ok(guest)
}

fn pass(
    scene: &Scene,
    guest: &Guest,
    memory: Bytes,
    from: &str,
    to: &str,
) -> Result<Passage, ThroughputError> {
    let stream = bandwidth::measure(scene.lab(), from, to, STREAM)?.rate;
    warm(&scene.lab().host(to)?.ram_dir, memory)?;
    let watches = [from, to].map(|host| Watch::begin(scene.daemon(host)));
    // Only the move itself is compared.
    let request = MigrateRequest {
        look: Some(Duration::ZERO),
        ..MigrateRequest::new(&guest.name, to, DOWNTIME, WITHIN)
    };
    let migration = scene.migrate(from, &request, |_| ());
    let [source_memory, destination_memory] = watches.map(Watch::end);
    let not_moved = |reason: &str| ThroughputError::NotMoved {
        memory,
        from: from.to_owned(),
        to: to.to_owned(),
        reason: reason.to_owned(),
    };
    let report = migration?.report.ok_or_else(|| not_moved("the daemon ended"))?;
    if report.outcome != Ending::Completed {
        return Err(not_moved(&report.reason));
    }
    let (copied, time) = first_round(&report).ok_or_else(|| not_moved("it had no first round"))?;
    let measured = &report.measured;
    Ok(Passage {
        memory,
        from: from.to_owned(),
        to: to.to_owned(),
        stream,
        copied,
        copy: copied.per(time).unwrap_or_default(),
        whole: measured.wire_bytes.per(measured.total).unwrap_or_default(),
        downtime_ms: measured.downtime.map(|downtime| downtime.as_secs_f64() * 1e3),
        source_memory,
        destination_memory,
    })
}

/// Has the kernel get, and keep at hand, as much memory as `memory`.
fn warm(directory: &Path, memory: Bytes) -> io::Result<()> {
    const PIECE: usize = 2 << 20;
    let path = directory.join("warm");
    let written = File::create(&path).and_then(|mut file| {
        let piece = vec![1; PIECE];
        (0..memory.get().div_ceil(PIECE as u64)).try_for_each(|_| file.write_all(&piece))
    });
    fs::remove_file(&path)?;
    written
}

/// What the first round sent, and in what time: from the sample at its begin to the one at its end,
/// which is taken when all of it has been acknowledged.
fn first_round(report: &Report) -> Option<(Bytes, Duration)> {
    let mut round = report.samples.iter().filter(|sample| sample.round == 1);
    let begin: &Sample = round.next()?;
    let end = round.next_back()?;
    Some((end.sent.saturating_sub(begin.sent), end.at.saturating_sub(begin.at)))
}

fn check(scene: &Scene, guest: &Guest, memory: Bytes) -> Result<(), ThroughputError> {
    let check = scene.control(guest)?.check()?;
    match check.wrong {
        None => Ok(()),
        Some(wrong) => Err(ThroughputError::WrongByte { memory, found: wrong.to_string() }),
    }
}

impl Throughput {
    /// The medians, one row for each size.
    #[must_use]
    pub fn rows(&self) -> Vec<ThroughputRow> {
        let mut sizes: Vec<Bytes> = self.passages.iter().map(|passage| passage.memory).collect();
        sizes.sort();
        sizes.dedup();
        sizes.into_iter().filter_map(|memory| self.row(memory)).collect()
    }

    fn row(&self, memory: Bytes) -> Option<ThroughputRow> {
        let of_row = |passage: &&Passage| passage.memory == memory;
        let passages: Vec<&Passage> = self.passages.iter().filter(of_row).collect();
        let spread = |figure: fn(&Passage) -> f64| {
            Spread::of(passages.iter().map(|passage| figure(passage)))
        };
        let most = |figure: fn(&Passage) -> Bytes| {
            passages.iter().map(|passage| figure(passage)).max().unwrap_or_default()
        };
        Some(ThroughputRow {
            memory,
            passages: passages.len(),
            stream: spread(|passage| passage.stream.get() as f64)?,
            copy: spread(|passage| passage.copy.get() as f64)?,
            copy_ratio: spread(|passage| ratio(passage.copy, passage.stream))?,
            whole_ratio: spread(|passage| ratio(passage.whole, passage.stream))?,
            source_memory: most(|passage| passage.source_memory),
            destination_memory: most(|passage| passage.destination_memory),
            memory_limit: limit(memory),
        })
    }
}

fn ratio(rate: BytesPerSecond, to: BytesPerSecond) -> f64 {
    rate.get() as f64 / to.get() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(memory: u64, copy: u64) -> Passage {
        Passage {
            memory: Bytes::mib(memory),
            from: "a".to_owned(),
            to: "b".to_owned(),
            stream: BytesPerSecond::new(1000),
            copied: Bytes::mib(memory),
            copy: BytesPerSecond::new(copy),
            whole: BytesPerSecond::new(copy / 2),
            downtime_ms: None,
            source_memory: Bytes::new(copy),
            destination_memory: Bytes::mib(1),
        }
    }

    #[test]
    fn sizes_stay_apart() {
        let passages = vec![passage(2048, 900), passage(512, 800), passage(512, 400)];
        let rows = Throughput { qemu: "10".to_owned(), passages }.rows();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].memory, rows[0].passages), (Bytes::mib(512), 2));
        assert!((rows[0].copy_ratio.median - 0.6).abs() < 1e-9);
        assert!((rows[0].whole_ratio.most - 0.4).abs() < 1e-9);
        assert_eq!(rows[0].source_memory, Bytes::new(800));
    }
}
