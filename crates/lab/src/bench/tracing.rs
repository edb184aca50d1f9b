//! What tracing alone costs a guest that writes.
//!
//! One Linux guest; nothing is moved. Windows of time without and with a tracer follow each other,
//! so that a machine whose speed drifts treats both alike:
//!
//! ```text
//!  for each repetition
//!    for each writer            20,000 single-byte writes a second over 64 MiB; as many as it can
//!      for each period          between two scans, as a migration has them
//!        free window, traced window: one Pair
//! ```

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use punctual_guest::Ram;
use punctual_guest::qemu::qmp::{Qmp, QmpError};
use punctual_guest::qemu::{AttachError, Machine, OpenRamError};
use punctual_guest::trace::{Pid, TraceError, Tracer};
use punctual_guest_protocol::{Options, Workload};
use punctual_images::Qemu;
use punctual_units::{Bytes, PageSet};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Value;

use super::native::monitor;
use super::summary::Spread;
use crate::client::{BeaconReceiver, ControlError};
use crate::scene::{GuestSpec, Scene, SceneError};
use crate::{LabName, LabSpec, NoSuchPlace};

/// Between two scans. A migration scans at the end of each round: after some seconds at the end of
/// the first, after some ten milliseconds when it is about to stop the guest.
const PERIODS: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_secs(1)];
/// Long enough for a count of processor time in hundredths of a second.
const WINDOW: Duration = Duration::from_secs(4);
/// How long the guest settles at a new rate.
const SETTLE: Duration = Duration::from_millis(500);
/// More writes a second than a guest under TCG can do, but no more than that: the guest counts its
/// work, and sends it with its beacon, once in 50 ms of the rate asked for.
const AS_FAST_AS_IT_CAN: u64 = 4_000_000;
/// What the kernel counts processor time in for `/proc`, a second: its `USER_HZ`, the same on every
/// x86-64.
const TICKS: f64 = 100.0;
/// What it writes to.
const WRITTEN: Bytes = Bytes::mib(64);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct TracingSpec {
    /// The lab's name.
    pub lab: LabName,
    /// The QEMU that runs the guest, under TCG.
    pub qemu: Qemu,
    /// How often.
    pub repetitions: usize,
}

/// How much the guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writer {
    /// So many single bytes a second.
    Paced(u64),
    /// As many as it can.
    Saturating,
}

impl Writer {
    /// The two that are measured: the one that a promise is made for, and the hard case.
    pub const ALL: [Self; 2] = [Self::Paced(20_000), Self::Saturating];

    fn rate(self) -> u64 {
        match self {
            Self::Paced(rate) => rate,
            Self::Saturating => AS_FAST_AS_IT_CAN,
        }
    }
}

/// What the guest did in one window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Bytes written a second, as the guest counts them.
    pub writes_per_s: f64,
    /// The share of one processor that QEMU's vCPU thread had (`utime` and `stime` of
    /// `proc_pid_stat(5)`).
    pub processor: f64,
}

impl Window {
    /// The vCPU thread's time for each write, in microseconds.
    #[must_use]
    pub fn microseconds_per_write(&self) -> f64 {
        self.processor / self.writes_per_s * 1e6
    }
}

/// A window without a tracer and the next one with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// How much the guest wrote.
    pub writer: Writer,
    /// Between two scans, in milliseconds.
    pub period_ms: f64,
    /// Without a tracer.
    pub free: Window,
    /// With a tracer.
    pub traced: Window,
    /// To set up the tracer, while the guest ran, in milliseconds.
    pub attach_ms: f64,
    /// For how long a thread of QEMU stood still to begin with, in milliseconds.
    pub stopped_ms: f64,
    /// What a scan took, on average, in milliseconds.
    pub scan_ms: f64,
    /// Pages that a scan found, on average.
    pub pages_per_scan: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tracing {
    /// The version of QEMU.
    pub qemu: String,
    /// All pairs, in the order in which they were measured.
    pub pairs: Vec<Pair>,
}

/// What the pairs of one writer and one period have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TracingRow {
    /// How much the guest wrote.
    pub writer: Writer,
    /// Between two scans, in milliseconds.
    pub period_ms: f64,
    /// How many pairs there are.
    pub pairs: usize,
    /// Writes a second without a tracer.
    pub free_writes_per_s: Spread,
    /// Writes a second, traced by free.
    pub rate_ratio: Spread,
    /// The vCPU thread's time for each write, traced by free.
    pub time_ratio: Spread,
    /// What tracing takes of one processor from the guest: the share that the traced vCPU thread
    /// has more than the free one would have had for as many writes.
    pub lost_share: Spread,
    /// What a scan took, in milliseconds; its processor time is not the guest's.
    pub scan_ms: Spread,
    /// Pages that a scan found.
    pub pages_per_scan: Spread,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum TracingError {
    /// The scene.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A host of the lab.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// The guest's machine.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Its memory.
    #[error(transparent)]
    Ram(#[from] OpenRamError),
    /// Its monitor.
    #[error("QEMU: {0}")]
    Qmp(#[from] QmpError),
    /// The tracer.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The guest.
    #[error("the guest: {0}")]
    Control(#[from] ControlError),
    /// The guest cannot be seen.
    #[error("{0}")]
    Unseen(String),
}

/// Measures all pairs, telling each when it is done. `program` is the command `punctual`.
///
/// # Errors
/// See [`TracingError`]; nothing is left behind.
pub fn run(
    spec: &TracingSpec,
    program: &Path,
    mut tell: impl FnMut(&Pair),
) -> Result<Tracing, TracingError> {
    let scene = Scene::set_up(&LabSpec::two_hosts(spec.lab.clone(), None), program)?;
    let options = Options { workload: Workload::Uniform, set: WRITTEN.get(), ..Options::default() };
    let mut guest = GuestSpec::new("traced", spec.qemu.clone(), options);
    let socket = monitor(scene.lab().host("a")?, &guest.name);
    let extra = ["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())];
    guest.more.insert("extra".to_owned(), extra.map(Value::String).to_vec().into());
    let guest = scene.start_guest("a", &guest)?;
    let mut control = scene.control(&guest)?;
    let stand = Stand::at(&socket, &guest.beacon)?;

    let mut pairs = Vec::new();
    for _ in 0..spec.repetitions {
        for writer in Writer::ALL {
            control.rate(writer.rate())?;
            thread::sleep(SETTLE);
            for period in PERIODS {
                let pair = stand.pair(writer, period)?;
                tell(&pair);
                pairs.push(pair);
            }
        }
    }
    drop(stand);
    scene.take_down()?;
    Ok(Tracing { qemu: spec.qemu.version.clone(), pairs })
}

impl Tracing {
    /// How many pairs `repetitions` make.
    #[must_use]
    pub fn pairs_of(repetitions: usize) -> usize {
        repetitions * Writer::ALL.len() * PERIODS.len()
    }

    /// The medians, one row for each writer and period.
    #[must_use]
    pub fn rows(&self) -> Vec<TracingRow> {
        let periods = PERIODS.map(|period| period.as_secs_f64() * 1e3);
        let rows =
            Writer::ALL.into_iter().flat_map(|writer| periods.map(|period| (writer, period)));
        rows.filter_map(|(writer, period)| self.row(writer, period)).collect()
    }

    fn row(&self, writer: Writer, period_ms: f64) -> Option<TracingRow> {
        let of_row = |pair: &&Pair| pair.writer == writer && pair.period_ms == period_ms;
        let pairs: Vec<&Pair> = self.pairs.iter().filter(of_row).collect();
        let spread = |figure: fn(&Pair) -> f64| Spread::of(pairs.iter().map(|pair| figure(pair)));
        Some(TracingRow {
            writer,
            period_ms,
            pairs: pairs.len(),
            free_writes_per_s: spread(|pair| pair.free.writes_per_s)?,
            rate_ratio: spread(|pair| pair.traced.writes_per_s / pair.free.writes_per_s)?,
            time_ratio: spread(Pair::time_ratio)?,
            lost_share: spread(|pair| pair.traced.processor * (1.0 - 1.0 / pair.time_ratio()))?,
            scan_ms: spread(|pair| pair.scan_ms)?,
            pages_per_scan: spread(|pair| pair.pages_per_scan)?,
        })
    }
}

impl Pair {
    fn time_ratio(&self) -> f64 {
        self.traced.microseconds_per_write() / self.free.microseconds_per_write()
    }
}

/// The running guest, and what looks at it.
struct Stand<'a> {
    pid: Pid,
    vcpus: Vec<u32>,
    ram: Ram,
    beacon: &'a BeaconReceiver,
}

/// What has been done up to a moment.
struct Reading {
    at: Instant,
    writes: u64,
    ticks: u64,
}

/// What a scanning thread saw.
#[derive(Default)]
struct Scans {
    count: u32,
    time: Duration,
    pages: u64,
}

impl<'a> Stand<'a> {
    fn at(monitor: &Path, beacon: &'a BeaconReceiver) -> Result<Self, TracingError> {
        let machine = Machine::attach(monitor)?;
        let gone = || TracingError::Unseen("QEMU has no process number".to_owned());
        let pid = i32::try_from(machine.description().program.pid).ok().and_then(Pid::from_raw);
        Ok(Self {
            pid: pid.ok_or_else(gone)?,
            vcpus: vcpu_threads(machine.qmp())?,
            ram: machine.open_ram()?,
            beacon,
        })
    }

    fn pair(&self, writer: Writer, period: Duration) -> Result<Pair, TracingError> {
        let free = self.window()?;
        let begun = Instant::now();
        let tracer = Tracer::attach(self.pid, &self.ram)?;
        let attach = begun.elapsed();
        let stopped = tracer.stopped();
        let (traced, scans) = self.traced_window(tracer, period)?;
        Ok(Pair {
            writer,
            period_ms: milliseconds(period),
            free,
            traced,
            attach_ms: milliseconds(attach),
            stopped_ms: milliseconds(stopped),
            scan_ms: milliseconds(scans.time) / f64::from(scans.count),
            pages_per_scan: scans.pages as f64 / f64::from(scans.count),
        })
    }

    fn window(&self) -> Result<Window, TracingError> {
        let before = self.read()?;
        thread::sleep(WINDOW);
        let after = self.read()?;
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let ticks = after.ticks.saturating_sub(before.ticks) as f64;
        Ok(Window {
            writes_per_s: after.writes.saturating_sub(before.writes) as f64 / seconds,
            processor: ticks / TICKS / seconds,
        })
    }

    /// The first scans, which find every page that is written at all, count too.
    fn traced_window(
        &self,
        mut tracer: Tracer,
        period: Duration,
    ) -> Result<(Window, Scans), TracingError> {
        let ended = AtomicBool::new(false);
        let mut written = PageSet::empty(self.ram.layout().pages());
        thread::scope(|scope| {
            let scanner = scope.spawn(|| -> Result<Scans, TraceError> {
                let mut scans = Scans::default();
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(period);
                    let begun = Instant::now();
                    tracer.collect(&mut written)?;
                    scans.time += begun.elapsed();
                    scans.count += 1;
                    scans.pages += written.len().get();
                    written.clear();
                }
                Ok(scans)
            });
            let window = self.window();
            ended.store(true, Ordering::Relaxed);
            let scans = scanner.join().expect("the scanning thread does not panic")?;
            Ok((window?, scans))
        })
    }

    fn read(&self) -> Result<Reading, TracingError> {
        let newest = self.beacon.arrivals(|arrivals| arrivals.newest().copied());
        let newest = newest.ok_or_else(|| TracingError::Unseen("no beacon is heard".to_owned()))?;
        let mut ticks = 0;
        for thread in &self.vcpus {
            let path = format!("/proc/{}/task/{thread}/stat", self.pid.as_raw_pid());
            let stat = fs::read_to_string(&path)
                .map_err(|error| TracingError::Unseen(format!("{path}: {error}")))?;
            ticks += processor_ticks(&stat)
                .ok_or_else(|| TracingError::Unseen(format!("{path} is not understood")))?;
        }
        Ok(Reading { at: newest.at, writes: newest.work, ticks })
    }
}

fn vcpu_threads(qmp: &Qmp) -> Result<Vec<u32>, QmpError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Vcpu {
        thread_id: u32,
    }
    let vcpus: Vec<Vcpu> = qmp.query("query-cpus-fast", serde_json::json!({}))?;
    Ok(vcpus.into_iter().map(|vcpu| vcpu.thread_id).collect())
}

/// The 14th and 15th field, of which the second, a name in brackets, may hold anything.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_is_read() {
        let stat = "77 (CPU 0) (TCG) R 1 77 77 0 -1 4194368 5 0 0 0 120 34 0 0 20 0 4 0 9 1 1";
        assert_eq!(processor_ticks(stat), Some(154));
        assert_eq!(processor_ticks("77 (x) R 1"), None);
    }

    #[test]
    fn ratios_are_of_each_pair() {
        let pair = |free, traced| Pair {
            writer: Writer::Saturating,
            period_ms: 20.0,
            free: Window { writes_per_s: free, processor: 0.5 },
            traced: Window { writes_per_s: traced, processor: 0.5 },
            attach_ms: 1.0,
            stopped_ms: 0.1,
            scan_ms: 1.0,
            pages_per_scan: 10.0,
        };
        let pairs = vec![pair(100.0, 50.0), pair(1000.0, 1000.0), pair(10.0, 8.0)];
        let rows = Tracing { qemu: "10".to_owned(), pairs }.rows();
        assert_eq!((rows.len(), rows[0].pairs), (1, 3));
        assert!((rows[0].rate_ratio.median - 0.8).abs() < 1e-9);
        assert!((rows[0].time_ratio.most - 2.0).abs() < 1e-9);
        assert!((rows[0].lost_share.most - 0.25).abs() < 1e-9);
    }
}
