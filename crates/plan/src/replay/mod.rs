//! A recorded trace made ready to be played again and again, from any of its moments on.

mod playback;
mod rates;
#[cfg(test)]
mod tests;
mod thinning;

use std::time::Duration;

use punctual_model::Heat;
use punctual_trace::Trace;
use punctual_units::{PageIndex, PageRange, PageSet, Pages};

pub use playback::Playback;
use rates::Rates;
pub use thinning::Thinning;

use crate::simulate::Subject;

/// A trace made ready for simulated moves.
///
/// Three things are done once here, for all moves that are simulated from it:
/// - pages that hold nothing and are never written are left out, and of a large machine only a
///   part of the pages is kept, see [`Thinning`];
/// - for each page it is estimated how often it is written while it is written at all, so that a
///   part of an interval between two scans has fewer pages than the whole, see [`Playback`];
/// - pages that were seen written once stand for others that a longer trace would have shown.
///
/// Memory: some 10 bytes for each page that is kept, and 8 for each run of pages that a scan found.
#[derive(Debug, Clone)]
pub struct Replay {
    subject: Subject,
    intervals: Vec<Interval>,
    runs: Vec<Run>,
    rates: Rates,
    /// Pages that a page seen once may be the next time: those seen once, and as many that were
    /// never seen as a longer trace would have shown.
    once: Vec<u32>,
    thinning: Thinning,
}

/// What a scan found, and of which time.
#[derive(Debug, Clone, Copy)]
struct Interval {
    begin: Duration,
    end: Duration,
    /// Where its runs end; they begin where those of the interval before end.
    runs_end: usize,
}

/// Pages of the thinned machine, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    fn range(self) -> PageRange {
        PageRange::new(u64::from(self.start), u64::from(self.end))
    }
}

impl Replay {
    /// Makes `trace` ready, with at most `most` pages simulated.
    ///
    /// Cost: some 30 ns for each run of pages in the trace, and some milliseconds a million pages.
    #[must_use]
    pub fn new(trace: &Trace, most: Pages) -> Self {
        let about = trace.about();
        let mut there = trace.written();
        there.union(&about.populated);
        let thinning = Thinning::new(&there, most);
        let (mut intervals, mut runs) = (Vec::with_capacity(trace.scans().len()), Vec::new());
        let mut begin = Duration::ZERO;
        for scan in trace.scans() {
            runs.extend(thinning.runs(scan.written.iter().copied()));
            intervals.push(Interval { begin, end: scan.at, runs_end: runs.len() });
            begin = scan.at;
        }
        let mut populated = PageSet::empty(thinning.kept());
        for run in thinning.runs(about.populated.ranges()) {
            populated.insert_range(run.range());
        }
        let rates = Rates::new(thinning.kept(), &intervals, &runs);
        let once = once(&rates, &populated);
        let subject = Subject {
            machine: about.machine.clone(),
            populated,
            content: about.content,
            direct_io: about.direct_io,
            thinning: thinning.one_in(),
        };
        Self { subject, intervals, runs, rates, once, thinning }
    }

    /// The machine, as a simulated move sees it.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How long was recorded.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.intervals.last().map_or(Duration::ZERO, |interval| interval.end)
    }

    /// How many pages are simulated for each that the machine has.
    #[must_use]
    pub fn thinning(&self) -> &Thinning {
        &self.thinning
    }

    /// What would have been learnt by watching the machine for `time` until `start`, or as long as
    /// the trace is where that is shorter. Only whole intervals between scans count.
    ///
    /// Where less of the trace lies before `start`, its end comes before its beginning, as in a
    /// [`Playback`].
    #[must_use]
    pub fn heat(&self, start: Duration, time: Duration) -> Heat {
        let mut heat = Heat::new(self.subject.populated.capacity());
        let before = self.intervals.partition_point(|interval| interval.end <= start);
        let order = (before..self.intervals.len()).chain(0..before);
        let whole = self.duration();
        let mut skip = whole.saturating_sub(time);
        let mut at = Duration::ZERO;
        for index in order {
            let Interval { begin, end, .. } = self.intervals[index];
            let length = end - begin;
            if skip >= length {
                skip -= length;
                continue;
            }
            at += length;
            heat.record(at, self.found(index).iter().map(|run| run.range()));
        }
        heat
    }

    /// What the scan at the end of an interval found.
    fn found(&self, interval: usize) -> &[Run] {
        let begin = interval.checked_sub(1).map_or(0, |before| self.intervals[before].runs_end);
        &self.runs[begin..self.intervals[interval].runs_end]
    }
}

/// The pages that were seen once, and so many of those never seen as a trace without end would have
/// shown: f₁²/(2·f₂), f₁ and f₂ being how many were seen once and twice (Chao's estimator).
fn once(rates: &Rates, populated: &PageSet) -> Vec<u32> {
    let mut counts = [0_u64; 3];
    let mut once = Vec::new();
    for (page, seen) in rates.seen().iter().enumerate() {
        let unseen_but_there = *seen == 0 && populated.contains(PageIndex(page as u64));
        match seen {
            0 => counts[0] += u64::from(unseen_but_there),
            1 => {
                counts[1] += 1;
                once.push(page as u32);
            }
            2 => counts[2] += 1,
            _ => {}
        }
    }
    let [unseen, ones, twos] = counts.map(|count| count as f64);
    let missing = (ones * (ones - 1.0).max(0.0) / (2.0 * (twos + 1.0))).min(unseen);
    if missing >= 1.0 {
        let step = unseen / missing;
        let mut due = 0.0;
        let never = (rates.seen().iter().enumerate())
            .filter(|(page, seen)| **seen == 0 && populated.contains(PageIndex(*page as u64)));
        for (nth, (page, _)) in never.enumerate() {
            if nth as f64 >= due {
                due += step;
                once.push(page as u32);
            }
        }
    }
    once
}
