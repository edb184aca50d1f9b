use std::collections::VecDeque;
use std::time::Duration;

use punctual_units::Pages;
use serde::{Deserialize, Serialize};

/// So many intervals are remembered.
const MOST: usize = 1024;
/// Fewer windows than this say nothing about how much they differ.
const FEWEST_WINDOWS: usize = 4;
/// Interval lengths are compared within an octave of microseconds.
const OCTAVES: usize = 48;

/// How many distinct pages were found written in the last intervals, oldest first; at most 1,024.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    samples: VecDeque<Sample>,
}

/// What one interval showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the interval ended, since the watching began.
    pub at: Duration,
    /// How long it was.
    pub interval: Duration,
    /// How many distinct pages were found written in it.
    pub written: Pages,
}

impl Sample {
    /// Distinct pages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.written.get() as f64 / self.interval.as_secs_f64()
    }
}

impl Activity {
    /// Adds what the newest interval showed; the oldest is forgotten where there are too many. An
    /// interval without length is left out: it has no rate.
    pub fn push(&mut self, sample: Sample) {
        if sample.interval.is_zero() {
            return;
        }
        if self.samples.len() == MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The intervals, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// How much time the remembered intervals cover together.
    #[must_use]
    pub fn covers(&self) -> Duration {
        self.samples.iter().map(|sample| sample.interval).sum()
    }

    /// The relative variance of the activity seen in windows of this length: 0 where each window
    /// shows the same, 0.04 where they differ by 20 %, 4 where all falls into one window of five.
    ///
    /// Where fewer than four such windows were seen, shorter ones are looked at; they differ more.
    /// The chance of single pages (1/n for windows of n pages) is taken off: it is counted apart.
    /// Source: the index of dispersion for counts, in windows of growing length (Fano).
    #[must_use]
    pub fn dispersion(&self, time: Duration) -> f64 {
        let longest = self.covers() / FEWEST_WINDOWS as u32;
        self.dispersion_in(time.min(longest)).max(0.0)
    }

    fn dispersion_in(&self, window: Duration) -> f64 {
        let usual = self.usual_rates();
        let (mut windows, mut length, mut intensity, mut pages) =
            (Vec::new(), Duration::ZERO, 0.0, 0);
        for sample in &self.samples {
            length += sample.interval;
            pages += sample.written.get();
            let usual = usual[octave(sample.interval)];
            intensity += if usual > 0.0 { sample.written.get() as f64 / usual } else { 0.0 };
            if length >= window {
                windows.push(Window { intensity: intensity / length.as_secs_f64(), pages });
                (length, intensity, pages) = (Duration::ZERO, 0.0, 0);
            }
        }
        relative_variance(&windows)
    }

    /// Pages a second, on average, for each octave of interval lengths. A long interval finds fewer
    /// distinct pages a second than a short one; that is no burst.
    fn usual_rates(&self) -> [f64; OCTAVES] {
        let mut sums = [(0.0, 0.0); OCTAVES];
        for sample in &self.samples {
            let (pages, seconds) = &mut sums[octave(sample.interval)];
            *pages += sample.written.get() as f64;
            *seconds += sample.interval.as_secs_f64();
        }
        sums.map(|(pages, seconds)| if seconds > 0.0 { pages / seconds } else { 0.0 })
    }
}

struct Window {
    /// Pages written, as a ratio to what is usual.
    intensity: f64,
    pages: u64,
}

fn relative_variance(windows: &[Window]) -> f64 {
    if windows.len() < 2 {
        return 0.0;
    }
    let count = windows.len() as f64;
    let mean = windows.iter().map(|window| window.intensity).sum::<f64>() / count;
    let pages = windows.iter().map(|window| window.pages).sum::<u64>() as f64 / count;
    if mean <= 0.0 || pages <= 0.0 {
        return 0.0;
    }
    let squares = windows.iter().map(|window| (window.intensity - mean).powi(2)).sum::<f64>();
    squares / (count - 1.0) / (mean * mean) - 1.0 / pages
}

fn octave(interval: Duration) -> usize {
    (interval.as_micros().max(1).ilog2() as usize).min(OCTAVES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: impl IntoIterator<Item = (u64, u64)>) -> Activity {
        let (mut activity, mut at) = (Activity::default(), Duration::ZERO);
        for (ms, pages) in samples {
            let interval = Duration::from_millis(ms);
            at += interval;
            activity.push(Sample { at, interval, written: Pages::new(pages) });
        }
        activity
    }

    #[test]
    fn even_activity_does_not_spread_whatever_the_intervals() {
        // Long intervals find fewer distinct pages a second.
        let even = series((0..200).map(|i| if i % 4 == 0 { (10, 90) } else { (100, 500) }));
        for ms in [1, 100, 1000] {
            assert!(even.dispersion(Duration::from_millis(ms)) < 0.01, "{ms} ms");
        }
    }

    #[test]
    fn a_second_in_five_spreads_over_a_second_and_hardly_over_ten() {
        let bursts = series((0..1000).map(|i| (100, if i % 50 < 10 { 1000 } else { 0 })));
        let second = bursts.dispersion(Duration::from_secs(1));
        let ten = bursts.dispersion(Duration::from_secs(10));
        assert!((3.9..4.2).contains(&second), "{second}");
        assert!(ten < 0.01, "{ten}");
    }

    #[test]
    fn the_oldest_is_forgotten_and_nothing_is_no_interval() {
        let mut activity = series((0..2000).map(|i| (10, i)));
        assert_eq!(activity.iter().len(), 1024);
        assert_eq!(activity.iter().next().unwrap().written, Pages::new(976));
        assert_eq!(activity.covers(), Duration::from_millis(10_240));
        let before = activity.clone();
        activity.push(Sample { interval: Duration::ZERO, ..*before.iter().next_back().unwrap() });
        assert_eq!(activity, before);
    }
}
