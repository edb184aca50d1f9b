//! How much work is due: a rate held by the clock, in small bursts.

use std::time::Duration;

/// Time between two bursts.
const TICK: Duration = Duration::from_millis(1);

/// Holds a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Units a second.
    rate: u64,
    /// How much missed work is made up for. A guest that stood still for longer loses the rest, so
    /// that it does not come back with a burst that no real workload would make.
    catch_up: Duration,
    /// Up to when work was handed out.
    settled: Duration,
    /// Billionths of a unit that are due beyond what was handed out.
    remainder: u128,
}

impl Pace {
    /// Makes up for `catch_up` of missed work, and for no less than a tick's.
    pub(crate) fn new(rate: u64, catch_up: Duration, now: Duration) -> Self {
        Self { rate, catch_up: catch_up.max(TICK), settled: now, remainder: 0 }
    }

    /// Goes on at another rate; what is due is forgotten.
    pub(crate) fn change(&mut self, rate: u64, now: Duration) {
        *self = Self::new(rate, self.catch_up, now);
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// Units that have become due since the last call.
    pub(crate) fn take_due(&mut self, now: Duration) -> u64 {
        let elapsed = now.saturating_sub(self.settled).min(self.catch_up);
        self.settled = self.settled.max(now);
        let billionths = elapsed.as_nanos() * u128::from(self.rate) + self.remainder;
        self.remainder = billionths % 1_000_000_000;
        u64::try_from(billionths / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

/// When the next burst is: the next multiple of the tick, so that a late burst delays no other.
pub(crate) fn next_tick(now: Duration) -> Duration {
    let ticks = now.as_nanos() / TICK.as_nanos() + 1;
    Duration::from_nanos((ticks * TICK.as_nanos()) as u64)
}

/// Units of work in the last full second.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Duration,
    work: u64,
    rate: f64,
}

impl Meter {
    pub(crate) fn new(now: Duration) -> Self {
        Self { since: now, work: 0, rate: 0.0 }
    }

    pub(crate) fn count(&mut self, units: u64, now: Duration) {
        self.work += units;
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= Duration::from_secs(1) {
            self.rate = self.work as f64 / elapsed.as_secs_f64();
            (self.since, self.work) = (now, 0);
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATCH_UP: Duration = Duration::from_millis(50);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn the_rate_is_held_exactly_over_uneven_steps() {
        for rate in [1, 7, 2000, 20_000] {
            let mut pace = Pace::new(rate, CATCH_UP, Duration::ZERO);
            let steps = [0, 130, 1000, 1001, 1999, 8000].into_iter().cycle();
            let mut now = 0;
            let mut done = 0;
            for step in steps.take(6000) {
                now += step;
                done += pace.take_due(micros(now));
            }
            assert_eq!(done, now * rate / 1_000_000, "at {rate}/s");
        }
    }

    #[test]
    fn a_long_stop_gives_a_bounded_burst() {
        let mut pace = Pace::new(20_000, CATCH_UP, Duration::ZERO);
        assert_eq!(pace.take_due(Duration::from_secs(60)), 1000);
        assert_eq!(pace.take_due(Duration::from_secs(60) + micros(1000)), 20);
    }

    #[test]
    fn a_guest_that_makes_up_for_less_loses_more() {
        let step = Duration::from_millis(5);
        let mut pace = Pace::new(20_000, step, Duration::ZERO);
        assert_eq!(pace.take_due(step), 100, "late, but no later than is made up for");
        assert_eq!(pace.take_due(step + Duration::from_millis(60)), 100);
        pace.change(1000, Duration::from_secs(1));
        assert_eq!(pace.take_due(Duration::from_secs(2)), 5, "also at another rate");
        assert_eq!(Pace::new(1000, Duration::ZERO, Duration::ZERO).take_due(step), 1);
    }

    #[test]
    fn ticks_are_whole_milliseconds() {
        assert_eq!(next_tick(micros(1999)), micros(2000));
        assert_eq!(next_tick(micros(2000)), micros(3000));
    }

    #[test]
    fn the_meter_shows_the_last_second() {
        let mut meter = Meter::new(Duration::ZERO);
        for millisecond in 1..=1000 {
            meter.count(20, micros(millisecond * 1000));
        }
        assert!((meter.rate() - 20_000.0).abs() < 1e-6);
    }
}
