//! How many pages a machine writes within a while.

use std::time::Duration;

use punctual_units::{PageSet, Pages};
use serde::Serialize;

use crate::Trace;

/// How many distinct pages were written in windows of one length, each counted once a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorkingSet {
    /// The length asked for.
    pub window: Duration,
    /// That of the windows looked at, which end where scans do: the mean.
    pub length: Duration,
    /// How many windows there were.
    pub windows: usize,
    /// Pages written in a window: the mean.
    pub mean: f64,
    /// The most of any window.
    pub most: Pages,
}

/// How much longer than asked for a window may be to count.
const SLACK: f64 = 1.5;
/// The lengths of the curve, in each decade.
const STEPS: [u32; 3] = [1, 2, 5];

impl Trace {
    /// The working set over windows of this length, laid end to end from the first scan on.
    ///
    /// A window ends with the first scan that is not too early; one that becomes longer than 1.5
    /// times what was asked for is left out. So short windows are seen only where the schedule
    /// scanned often, and the result is `None` where it never did.
    ///
    /// Takes time in proportion to the runs of the trace, and a bit of memory for each page of the
    /// machine.
    #[must_use]
    pub fn working_set(&self, window: Duration) -> Option<WorkingSet> {
        let mut pages = PageSet::empty(self.about().layout.pages());
        let (mut windows, mut sum, mut most) = (0, 0, Pages::ZERO);
        let mut length = Duration::ZERO;
        let mut begun = Duration::ZERO;
        for scan in self.scans() {
            scan.written.iter().for_each(|run| pages.insert_range(*run));
            let so_far = scan.at - begun;
            if so_far < window {
                continue;
            }
            if so_far <= window.mul_f64(SLACK) {
                windows += 1;
                length += so_far;
                sum += pages.len().get();
                most = most.max(pages.len());
            }
            pages.clear();
            begun = scan.at;
        }
        let count = u32::try_from(windows).ok().filter(|count| *count > 0)?;
        let mean = sum as f64 / f64::from(count);
        Some(WorkingSet { window, length: length / count, windows, mean, most })
    }

    /// The working set over windows of 1, 2, 5, 10, 20, … ms up to the trace's duration, where they
    /// were seen.
    #[must_use]
    pub fn working_set_curve(&self) -> Vec<WorkingSet> {
        let decades = (0..).map(|decade| Duration::from_millis(10_u64.pow(decade)));
        let windows = decades.flat_map(|decade| STEPS.map(|step| decade * step));
        let within = windows.take_while(|window| *window <= self.duration());
        within.filter_map(|window| self.working_set(window)).collect()
    }

    /// All pages that were written.
    #[must_use]
    pub fn written(&self) -> PageSet {
        let mut pages = PageSet::empty(self.about().layout.pages());
        let runs = self.scans().iter().flat_map(|scan| &scan.written);
        runs.for_each(|run| pages.insert_range(*run));
        pages
    }
}
