//! Recording a trace: a machine, a schedule, and what the scans find.
//!
//! ```text
//!  arm ─► settle ─► scan ─► gap ─► scan ─► gap ─► … ─► last scan ─► sample ─► Trace
//!                   │        │ what is written again is packed, in the longer gaps
//!                   └ the trace begins
//! ```

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use punctual_engine::Cancel;
use punctual_guest::{MachineError, Ram, RamIoError, SourceMachine};
use punctual_trace::schedule::Schedule;
use punctual_trace::{About, Flaw, Scan, Trace};
use punctual_units::{PageSet, Pages, Probability};
use thiserror::Error;

use super::sample::{self, Rewrites};

/// The runs of pages that a recording may find: some 20 MB in a file, 128 MiB in memory.
pub(crate) const MOST_RUNS: usize = 1 << 23;
/// Gaps from this on leave time to look at what was written.
const LEISURE: Duration = Duration::from_millis(50);
/// Between two looks at whether the recording is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// The machine's name.
    pub machine: String,
    /// Its virtual processors.
    pub processors: NonZeroU32,
    /// Whether one of its disks is open with direct I/O.
    pub direct_io: bool,
    /// For how long.
    pub length: Duration,
    /// The share of the guest's work that it may take.
    pub cost: Probability,
}

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    /// Since the trace began.
    pub elapsed: Duration,
    /// Scans so far.
    pub scans: usize,
    /// Distinct pages found by a scan, a second, so far.
    pub rate: f64,
    /// What it has cost the guest so far.
    pub cost: Probability,
}

/// Why nothing was recorded.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Its memory.
    #[error(transparent)]
    Ram(#[from] RamIoError),
    /// It is none that a trace can be of.
    #[error(transparent)]
    Flaw(#[from] Flaw),
}

/// Records which pages a machine writes, for as long as is wanted, until `cancel`, or until the trace
/// is full; what there is then is a trace. `observe` is told after each scan.
///
/// The machine is traced from then on: dropping it, or tracing it anew, ends that. It runs on all the
/// time; one thread of it stands for some 0.1 ms.
///
/// # Errors
/// The machine cannot be traced or is gone.
pub(crate) fn record(
    machine: &mut dyn SourceMachine,
    wanted: &Wanted,
    cancel: &Cancel,
    observe: &mut dyn FnMut(Progress),
) -> Result<Trace, RecordError> {
    let mut recorder = Recorder::arm(machine, wanted)?;
    recorder.scan()?;
    // At least once: what ends at once is a trace too.
    loop {
        let left = wanted.length.saturating_sub(recorder.elapsed());
        recorder.wait(left, cancel)?;
        recorder.scan()?;
        observe(recorder.progress());
        if cancel.is_cancelled() || !recorder.goes_on(wanted.length) {
            return recorder.finish(wanted);
        }
    }
}

struct Recorder<'a> {
    machine: &'a mut dyn SourceMachine,
    ram: Arc<Ram>,
    schedule: Schedule,
    /// The end of the scan at which the trace began.
    begun: Instant,
    /// The end of the last scan, or of arming.
    last: Instant,
    /// What the last scan found.
    written: PageSet,
    rewrites: Rewrites,
    scans: Vec<Scan>,
    runs: usize,
    found: Pages,
}

impl<'a> Recorder<'a> {
    /// Arms the tracer, and waits until what is left of that in the guest's page tables is over.
    fn arm(machine: &'a mut dyn SourceMachine, wanted: &Wanted) -> Result<Self, RecordError> {
        let ram = Arc::clone(machine.ram());
        let before = Instant::now();
        machine.start_tracing()?;
        let armed = Instant::now();
        let schedule = Schedule::new(wanted.cost, wanted.processors, armed - before);
        thread::sleep(schedule.gap());
        Ok(Self {
            machine,
            written: PageSet::empty(ram.layout().pages()),
            rewrites: Rewrites::new(&ram),
            ram,
            schedule,
            begun: armed,
            last: armed,
            scans: Vec::new(),
            runs: 0,
            found: Pages::ZERO,
        })
    }

    fn scan(&mut self) -> Result<(), RecordError> {
        self.written.clear();
        let before = Instant::now();
        self.machine.collect_written(&mut self.written)?;
        let now = Instant::now();
        let settled = !self.schedule.is_settling();
        self.schedule.scanned(now - self.last, now - before, self.written.len());
        self.last = now;
        if settled {
            let written: Vec<_> = self.written.ranges().collect();
            self.runs += written.len();
            self.found += self.written.len();
            self.scans.push(Scan { at: now - self.begun, written });
        } else {
            self.begun = now;
        }
        Ok(())
    }

    /// Waits for the next scan: as long as the schedule says, at most `longest`, or soon after
    /// `cancel`.
    fn wait(&mut self, longest: Duration, cancel: &Cancel) -> Result<(), RecordError> {
        let gap = self.schedule.gap().min(longest);
        if gap >= LEISURE {
            self.rewrites.look(&self.ram, &self.written)?;
        }
        let due = self.last + gap;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            thread::sleep(left.min(LOOK));
            if left <= LOOK || cancel.is_cancelled() {
                return Ok(());
            }
        }
    }

    fn goes_on(&self, length: Duration) -> bool {
        self.elapsed() < length && self.runs < MOST_RUNS && self.scans.len() < Trace::MOST_SCANS
    }

    /// How much of the trace has been recorded.
    fn elapsed(&self) -> Duration {
        self.last - self.begun
    }

    fn progress(&self) -> Progress {
        let elapsed = self.elapsed();
        Progress {
            elapsed,
            scans: self.scans.len(),
            rate: self.found.get() as f64 / elapsed.as_secs_f64(),
            cost: self.schedule.cost(),
        }
    }

    fn finish(self, wanted: &Wanted) -> Result<Trace, RecordError> {
        let populated = self.ram.populated()?;
        let content = sample::content(&self.ram, &populated, &self.rewrites)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let about = About {
            machine: wanted.machine.clone(),
            layout: self.ram.layout().clone(),
            populated,
            direct_io: wanted.direct_io,
            content,
            recorded_at: now.map_or(0, |since| since.as_secs()),
            guest_cost: self.schedule.cost(),
        };
        Ok(Trace::new(about, self.scans)?)
    }
}
