//! When to scan: often enough to see what is written within milliseconds, rarely enough for the
//! guest not to feel it.
//!
//! Gaps of mixed length follow each other, short ones between longer ones. What tracing has cost the
//! guest so far is estimated from what the scans found, and the longer gaps are stretched until the
//! cost, what the next scans are expected to cost included, is within the bound. A guest that goes on
//! to pages that it has not written yet pays for each, however rare the scans are: there the bound
//! may not be kept, and the trace says so.
//!
//! ```text
//!  │ 5 │      100 ms or more      │ 10 │      200 ms or more      │ 20 │ 50 … │  500 ms or more  │ 5 │
//! ```

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_units::{Pages, Probability};

/// What tracing takes from a guest.
///
/// Bounds from above to what `punctual bench tracing` measured (`docs/benchmarks.md`): 0.3 to 1.9 µs
/// of processor time for each page found written, by rate and period, scans included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Processor time of the guest for the fault at the first write to a page after a scan.
    pub fault: Duration,
    /// The share of a scan's time for which the guest stands, waiting for the locks on its page
    /// tables.
    pub scan_share: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { fault: Duration::from_micros(2), scan_share: 0.25 }
    }
}

impl Costs {
    /// What one scan and the writes that it found took from the guest.
    #[must_use]
    pub fn of_scan(&self, took: Duration, found: Pages) -> Duration {
        let seconds =
            self.fault.as_secs_f64() * found.get() as f64 + took.as_secs_f64() * self.scan_share;
        Duration::from_secs_f64(seconds)
    }
}

/// Between arming the tracer and the scan at which the trace begins: the first write to each page
/// makes a fault then, so that what is found is not what comes later.
const SETTLING: Duration = Duration::from_millis(100);
/// The gaps, over and over.
const CYCLE: [Duration; 7] = [
    Duration::from_millis(5),
    Duration::from_millis(100),
    Duration::from_millis(10),
    Duration::from_millis(200),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(500),
];
/// Gaps up to this stay as they are, the others may be longer.
const SHORT: Duration = Duration::from_millis(20);
/// No gap is longer, whatever it costs.
const LONGEST: Duration = Duration::from_secs(3600);

/// Decides when to scan. Time comes in by [`Schedule::scanned`].
#[derive(Debug, Clone)]
pub struct Schedule {
    costs: Costs,
    /// Seconds that may be lost each second, of all processors together.
    allowed: f64,
    processors: f64,
    /// Since the tracer was armed, in seconds.
    elapsed: f64,
    /// What the guest has lost of its processors' time, in seconds.
    lost: f64,
    /// The most that one scan cost.
    most: f64,
    /// What the last long gap cost, for each second of it.
    rate: f64,
    /// What the last short gap at each place of the cycle cost.
    short: [Option<f64>; CYCLE.len()],
    /// The place in the cycle of the gap under way; `None` while it settles.
    place: Option<usize>,
}

impl Schedule {
    /// A schedule that takes at most the share `bound` of what `processors` of a guest could do.
    /// `armed` is how long it took to arm the tracer.
    #[must_use]
    pub fn new(bound: Probability, processors: NonZeroU32, armed: Duration) -> Self {
        let costs = Costs::default();
        let processors = f64::from(processors.get());
        Self {
            costs,
            allowed: bound.get() * processors,
            processors,
            elapsed: armed.as_secs_f64(),
            lost: armed.as_secs_f64() * costs.scan_share,
            most: 0.0,
            rate: 0.0,
            short: [None; CYCLE.len()],
            place: None,
        }
    }

    /// Whether the trace has not begun: what the next scan finds is not yet part of it.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.place.is_none()
    }

    /// How long to wait for the next scan.
    #[must_use]
    pub fn gap(&self) -> Duration {
        let Some(place) = self.place else { return SETTLING };
        let least = CYCLE[place];
        if least <= SHORT {
            return least;
        }
        let affordable = Duration::try_from_secs_f64(self.affordable(place).max(0.0));
        affordable.unwrap_or(LONGEST).clamp(least, LONGEST)
    }

    /// The gap after which all is within the bound, in seconds: what has been lost, what this gap
    /// will cost, and the short one behind it, which comes as it is.
    ///
    /// A longer gap costs no more for each second than a shorter one did, since pages written again
    /// cost nothing; and hardly more than twice the most that any scan has cost.
    fn affordable(&self, place: usize) -> f64 {
        let next = (place + 1) % CYCLE.len();
        let (follows, after) = match CYCLE[next] {
            short if short <= SHORT => (self.short[next].unwrap_or(self.most), short.as_secs_f64()),
            _ => (0.0, 0.0),
        };
        let owed = self.lost + follows - self.allowed * (self.elapsed + after);
        let at_the_rate = match self.allowed - self.rate {
            spare if spare > 0.0 => owed / spare,
            _ => f64::INFINITY,
        };
        at_the_rate.min((owed + 2.0 * self.most) / self.allowed)
    }

    /// Notes a scan: the time since the one before (or since the tracer was armed) to its end, how
    /// long of that it took, and how many pages it found.
    pub fn scanned(&mut self, since: Duration, took: Duration, found: Pages) {
        let cost = self.costs.of_scan(took, found).as_secs_f64();
        self.elapsed += since.as_secs_f64();
        self.lost += cost;
        self.most = self.most.max(cost);
        match self.place {
            Some(place) if CYCLE[place] <= SHORT => self.short[place] = Some(cost),
            _ => self.rate = cost / since.as_secs_f64().max(f64::MIN_POSITIVE),
        }
        self.place = Some(self.place.map_or(0, |place| (place + 1) % CYCLE.len()));
    }

    /// What it has cost so far: the share of what the guest's processors could have done.
    #[must_use]
    pub fn cost(&self) -> Probability {
        let could = self.elapsed * self.processors;
        Probability::saturating(if could > 0.0 { self.lost / could } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that writes `rate` times a second to any of `set` pages.
    struct Guest {
        set: f64,
        rate: f64,
    }

    impl Guest {
        /// Distinct pages written in `time`.
        fn writes(&self, time: f64) -> Pages {
            Pages::new((self.set * (1.0 - (-self.rate * time / self.set).exp())).round() as u64)
        }

        /// The gaps that a schedule chooses in `length`, and its last word on the cost.
        fn traced(&self, bound: f64, processors: u32, length: f64) -> (Vec<Duration>, f64) {
            let processors = NonZeroU32::new(processors).unwrap();
            let armed = Duration::from_millis(30);
            let mut schedule = Schedule::new(Probability::saturating(bound), processors, armed);
            let scan = Duration::from_millis(2);
            let mut gaps = Vec::new();
            let mut now = 0.0;
            while now < length {
                let gap = schedule.gap().min(Duration::from_secs_f64(length - now));
                let since = gap + scan;
                let found = self.writes(since.as_secs_f64());
                schedule.scanned(since, scan, found);
                gaps.push(gap);
                now += since.as_secs_f64();
            }
            (gaps, schedule.cost().get())
        }
    }

    #[test]
    fn the_bound_is_kept_where_it_can_be() {
        for (set, rate) in [(1e3, 1e3), (16_384.0, 2e4), (16_384.0, 4e6), (1e5, 1e5), (1e6, 2e4)] {
            for bound in [0.005, 0.02, 0.1] {
                let guest = Guest { set, rate };
                // The first write to each page costs a fault even if there is but one scan, at the end.
                let settled = guest.writes(0.1) + guest.writes(60.0);
                let least = (settled.get() as f64 * 2e-6 + 0.01) / 60.0;
                let (gaps, cost) = guest.traced(bound, 1, 60.0);
                // The last gap may cost more than expected, and nothing comes after it.
                let most = bound.max(least) * 1.5;
                assert!(cost <= most, "{set} {rate} {bound}: {cost} in {} scans", gaps.len());
            }
        }
    }

    #[test]
    fn short_and_long_gaps_are_mixed() {
        let (gaps, cost) = Guest { set: 16_384.0, rate: 2000.0 }.traced(0.02, 1, 30.0);
        for least in CYCLE {
            let count = gaps.iter().filter(|gap| **gap == least).count();
            assert!(count >= 10, "{least:?} {count} times");
        }
        assert!(cost < 0.02, "{cost}");
        // One that writes a lot has longer gaps, but the short ones stay.
        let (gaps, _) = Guest { set: 16_384.0, rate: 4e6 }.traced(0.02, 1, 60.0);
        let short = gaps.iter().filter(|gap| **gap <= SHORT).count();
        assert!(short >= 8, "{short} of {}", gaps.len());
        assert!(gaps.iter().any(|gap| *gap > Duration::from_secs(1)));
    }

    #[test]
    fn more_processors_allow_more_scans() {
        let guest = Guest { set: 1e5, rate: 1e6 };
        let (one, _) = guest.traced(0.02, 1, 60.0);
        let (eight, cost) = guest.traced(0.02, 8, 60.0);
        assert!(eight.len() > 4 * one.len(), "{} and {}", one.len(), eight.len());
        assert!(cost <= 0.025, "{cost}");
    }

    /// The table of `docs/benchmarks.md`: period, pages found, share of a processor lost.
    #[test]
    fn the_estimate_is_not_below_what_was_measured() {
        let in_64_mib = |rate: f64, period: f64| Guest { set: 16_384.0, rate }.writes(period);
        for (rate, period, lost) in [
            (2e4, 0.02, 0.037),
            (2e4, 0.1, 0.005),
            (2e4, 1.0, 0.003),
            (4e6, 0.02, 0.7),
            (4e6, 0.1, 0.15),
            (4e6, 1.0, 0.006),
        ] {
            let scan = Duration::from_millis(1);
            let estimated = Costs::default().of_scan(scan, in_64_mib(rate, period)).as_secs_f64();
            assert!(estimated / period >= lost, "{rate} {period}: {}", estimated / period);
        }
    }

    #[test]
    fn a_bound_of_nothing_waits_as_long_as_can_be() {
        let mut schedule = Schedule::new(Probability::ZERO, NonZeroU32::MIN, Duration::ZERO);
        assert!(schedule.is_settling() && schedule.cost() == Probability::ZERO);
        let second = Duration::from_secs(1);
        schedule.scanned(second, second, Pages::new(1));
        schedule.scanned(second, second, Pages::new(1));
        assert_eq!(schedule.gap(), LONGEST);
    }
}
