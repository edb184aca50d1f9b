//! How long faults took, in a memory of fixed size.

use std::time::Duration;

use punctual_wire::Faults;

/// Steps within each doubling of the time: what is told is off by at most 1/16.
const STEPS: u64 = 8;
/// Enough for any number of nanoseconds in 64 bits.
const CELLS: usize = 62 * STEPS as usize;

/// Counts of times, by their logarithm: 4 KiB, however many are added.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    cells: Box<[u64; CELLS]>,
    count: u64,
    longest: Duration,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self { cells: Box::new([0; CELLS]), count: 0, longest: Duration::ZERO }
    }

    pub(super) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cells[cell(nanos)] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    /// What is told of them; all zero if there were none.
    pub(super) fn faults(&self) -> Faults {
        Faults {
            count: self.count,
            median: self.quantile(1, 2),
            p99: self.quantile(99, 100),
            longest: self.longest,
        }
    }

    /// The time that `part` of `whole` did not exceed.
    fn quantile(&self, part: u64, whole: u64) -> Duration {
        let rank = (u128::from(self.count) * u128::from(part)).div_ceil(u128::from(whole)) as u64;
        let mut below = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            below += count;
            if *count > 0 && below >= rank {
                return Duration::from_nanos(middle(cell)).min(self.longest);
            }
        }
        Duration::ZERO
    }
}

/// Below [`STEPS`] each number has its own cell; above, each doubling has as many cells as steps.
fn cell(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let doublings = nanos.ilog2() - STEPS.ilog2();
    (u64::from(doublings) * STEPS + (nanos >> doublings)) as usize
}

/// The number in the middle of a cell.
fn middle(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < STEPS {
        return cell;
    }
    let doublings = cell / STEPS - 1;
    ((cell % STEPS + STEPS) << doublings) + (1 << doublings) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_took_no_time() {
        assert_eq!(Sketch::new().faults(), Faults::default());
    }

    #[test]
    fn one_long_fault_among_many_is_the_longest_and_no_more() {
        let mut sketch = Sketch::new();
        (0..199).for_each(|_| sketch.add(Duration::from_micros(300)));
        sketch.add(Duration::from_secs(90));
        let faults = sketch.faults();
        assert_eq!((faults.count, faults.longest), (200, Duration::from_secs(90)));
        assert!(faults.p99 < Duration::from_micros(320), "{faults:?}");
    }

    proptest! {
        #[test]
        fn every_number_is_near_the_middle_of_its_cell(nanos in any::<u64>(), shift in 0..64_u32) {
            let nanos = nanos >> shift;
            prop_assert!(cell(nanos) < CELLS);
            prop_assert!(middle(cell(nanos)).abs_diff(nanos) <= nanos / 16);
        }

        #[test]
        fn the_median_is_a_median(mut micros in proptest::collection::vec(1..1_000_000_u64, 1..200)) {
            let mut sketch = Sketch::new();
            micros.iter().for_each(|time| sketch.add(Duration::from_micros(*time)));
            micros.sort_unstable();
            let exact = micros[(micros.len() - 1) / 2] as f64;
            let told = sketch.faults().median.as_nanos() as f64 / 1000.0;
            prop_assert!((told - exact).abs() <= exact / 16.0 + 0.001, "{told} for {exact}");
        }
    }
}
