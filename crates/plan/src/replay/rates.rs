use std::time::Duration;

use punctual_units::Pages;

use super::{Interval, Run};

/// Lengths of intervals are told apart by a factor of √2 from a microsecond on.
const LENGTHS: usize = 80;
/// Rates at which the expected number of sightings is computed.
const POINTS: usize = 256;

/// How often each page is written, from how many intervals it was found written in.
///
/// All pages are looked at in the same intervals, so a page's number of sightings alone tells its
/// rate λ: the one at which Σ(1 − e^(−λ·length)) over all intervals is that number.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    /// In how many intervals each page was found written, up to 65,535.
    seen: Vec<u16>,
    /// Expected sightings and the rate for them, both rising.
    curve: Vec<(f64, f64)>,
    /// More than a page found in every interval can be said to have.
    most: f64,
}

impl Rates {
    pub(super) fn new(pages: Pages, intervals: &[Interval], runs: &[Run]) -> Self {
        let mut seen = vec![0_u16; pages.get() as usize];
        for run in runs {
            for count in &mut seen[run.start as usize..run.end as usize] {
                *count = count.saturating_add(1);
            }
        }
        let lengths = lengths(intervals);
        let expected = |rate: f64| -> f64 {
            lengths.iter().map(|(length, count)| count * -(-rate * length).exp_m1()).sum()
        };
        // From once in a month to ten million a second.
        let curve: Vec<_> = (0..POINTS)
            .map(|point| 10_f64.powf(-6.5 + 13.5 * point as f64 / (POINTS - 1) as f64))
            .map(|rate| (expected(rate), rate))
            .collect();
        Self { seen, curve, most: intervals.len() as f64 - 0.5 }
    }

    /// In how many intervals each page was found written.
    pub(super) fn seen(&self) -> &[u16] {
        &self.seen
    }

    /// How often a page with so many sightings is written, in writes a second.
    pub(super) fn rate(&self, seen: u16) -> f64 {
        let sightings = f64::from(seen).min(self.most);
        let above = self.curve.partition_point(|(expected, _)| *expected < sightings);
        let Some(high) = self.curve.get(above) else {
            return self.curve.last().map_or(0.0, |(_, rate)| *rate);
        };
        let Some(low) = above.checked_sub(1).map(|below| self.curve[below]) else { return high.1 };
        let share = (sightings - low.0) / (high.0 - low.0);
        (low.1.ln() + share * (high.1 / low.1).ln()).exp()
    }
}

/// The lengths of the intervals in seconds, similar ones together, and how many there are of each.
fn lengths(intervals: &[Interval]) -> Vec<(f64, f64)> {
    let mut classes = vec![(0.0, 0.0); LENGTHS];
    for interval in intervals {
        let length = (interval.end - interval.begin).max(Duration::from_micros(1)).as_secs_f64();
        let class = ((length * 1e6).log2() * 2.0) as usize;
        let (sum, count) = &mut classes[class.min(LENGTHS - 1)];
        *sum += length;
        *count += 1.0;
    }
    classes.retain(|(_, count)| *count > 0.0);
    classes.into_iter().map(|(sum, count)| (sum / count, count)).collect()
}
