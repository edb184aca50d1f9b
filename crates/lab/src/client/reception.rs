//! What came through in a stretch of time, and what did not.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::arrivals::{Arrival, Arrivals, Kind};

/// A stretch of the client's monotonic time.
pub type Window = Range<Instant>;

/// A time in which nothing new came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When the last new datagram before it came.
    pub from: Instant,
    /// When the next new one came.
    pub to: Instant,
}

/// How a guest's beacon was received in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// The longest time without a new datagram of which at least a part is in the window.
    pub largest: Gap,
    /// Of all such times, the one that 99 % do not exceed.
    pub p99: Duration,
    /// New datagrams.
    pub received: u64,
    /// Numbers skipped in the window that never came, in it or later.
    pub lost: u64,
    /// Datagrams that came again.
    pub duplicated: u64,
    /// Datagrams that were overtaken.
    pub reordered: u64,
}

/// How much of its work a guest could not do in a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorkLost {
    /// Work a second while nothing disturbed the guest.
    pub rate: f64,
    /// Work that it would have done in the window at that rate.
    pub expected: f64,
    /// Work that it did.
    pub done: u64,
    /// How long the guest would work, undisturbed, for what is missing; zero if nothing is.
    pub time: Duration,
}

impl Gap {
    /// How long it lasted.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

impl Arrivals {
    /// How the beacon was received in `window`, which should not reach into the future: before the
    /// first datagram and after the last the window's own ends count as arrivals.
    ///
    /// `None` if the window is empty, or begins before what is still remembered.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use punctual_lab::client::Arrivals;
    /// let start = Instant::now();
    /// let at = |milliseconds| start + Duration::from_millis(milliseconds);
    /// let mut arrivals = Arrivals::new(1000);
    /// for (sequence, milliseconds) in [0, 1, 2, 30, 31].into_iter().enumerate() {
    ///     arrivals.note(sequence as u64, at(milliseconds), 0);
    /// }
    /// let reception = arrivals.reception(at(0)..at(32)).expect("all is remembered");
    /// assert_eq!(reception.largest.length(), Duration::from_millis(28));
    /// assert_eq!((reception.received, reception.lost), (5, 0));
    /// ```
    #[must_use]
    pub fn reception(&self, window: Window) -> Option<Reception> {
        if window.is_empty() || !self.remembers(window.start) {
            return None;
        }
        let inside = || self.between(&window);
        let count = |kind| inside().filter(|arrival| arrival.kind == kind).count() as u64;
        let gaps = self.gaps(&window);
        Some(Reception {
            largest: *gaps.iter().max_by_key(|gap| gap.length()).expect("ends make a gap"),
            p99: percentile(gaps.iter().map(|gap| gap.length()).collect(), 99),
            received: count(Kind::New),
            lost: self.lost(&window),
            duplicated: count(Kind::Duplicate),
            reordered: count(Kind::Late),
        })
    }

    /// How much work the guest missed in `window`, by its rate of work in `baseline`.
    ///
    /// `None` if no work was done in the baseline, or if either window begins before the first
    /// datagram or what is still remembered.
    #[must_use]
    pub fn work_lost(&self, baseline: Window, window: Window) -> Option<WorkLost> {
        let (before, after) = (self.work_at(baseline.start)?, self.work_at(baseline.end)?);
        let rate = after.saturating_sub(before) as f64 / seconds(&baseline)?;
        if rate <= 0.0 {
            return None;
        }
        let done = self.work_at(window.end)?.saturating_sub(self.work_at(window.start)?);
        let expected = rate * seconds(&window)?;
        let missing = (expected - done as f64).max(0.0);
        Some(WorkLost { rate, expected, done, time: Duration::from_secs_f64(missing / rate) })
    }

    /// The work done by `moment`, as the last new datagram before it said.
    fn work_at(&self, moment: Instant) -> Option<u64> {
        if !self.remembers(moment) {
            return None;
        }
        self.before(moment).map(|arrival| arrival.work)
    }

    fn between(&self, window: &Window) -> impl Iterator<Item = &Arrival> {
        let (start, end) = (self.place_of(window.start), self.place_of(window.end));
        self.iter().skip(start).take(end - start)
    }

    /// The last new datagram that came before `moment`.
    fn before(&self, moment: Instant) -> Option<&Arrival> {
        self.iter().take(self.place_of(moment)).rev().find(is_new)
    }

    /// The first new datagram that came at `moment` or later.
    fn after(&self, moment: Instant) -> Option<&Arrival> {
        self.iter().skip(self.place_of(moment)).find(is_new)
    }

    /// The times between new datagrams of which a part is in the window, for plots: at least one,
    /// one after the other. Datagrams that are no longer remembered are not known of.
    #[must_use]
    pub fn gaps(&self, window: &Window) -> Vec<Gap> {
        let first = self.before(window.start).map_or(window.start, |arrival| arrival.at);
        let last = self.after(window.end).map_or(window.end, |arrival| arrival.at);
        let inner = self.between(window).filter(is_new).map(|arrival| arrival.at);
        let mut from = first;
        let mut gaps = Vec::new();
        for to in inner.chain([last]) {
            gaps.push(Gap { from, to });
            from = to;
        }
        gaps
    }

    /// Numbers skipped between the new datagrams of the window that did not come late either.
    fn lost(&self, window: &Window) -> u64 {
        let new = self.between(window).filter(is_new).chain(self.after(window.end));
        let mut last = self.before(window.start);
        let mut skipped = Vec::new();
        for arrival in new {
            skipped.extend(last.map(|last| last.sequence + 1..arrival.sequence));
            last = Some(arrival);
        }
        skipped.retain(|numbers| !numbers.is_empty());
        let late = self.iter().filter(|arrival| arrival.kind == Kind::Late);
        let late: BTreeSet<_> = late.map(|arrival| arrival.sequence).collect();
        let came = |numbers: &Range<u64>| late.range(numbers.clone()).count() as u64;
        skipped.iter().map(|numbers| numbers.end - numbers.start - came(numbers)).sum()
    }
}

fn is_new(arrival: &&Arrival) -> bool {
    arrival.kind == Kind::New
}

fn seconds(window: &Window) -> Option<f64> {
    let length = window.end.saturating_duration_since(window.start);
    (!length.is_zero()).then_some(length.as_secs_f64())
}

/// The smallest of `lengths` that `percent` of them do not exceed.
fn percentile(mut lengths: Vec<Duration>, percent: usize) -> Duration {
    lengths.sort_unstable();
    let rank = (lengths.len() * percent).div_ceil(100);
    lengths.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A beacon of 1 kHz that does 10 units of work between two datagrams; each of `heard` is a
    /// number and the millisecond at which it comes.
    fn heard(start: Instant, heard: impl IntoIterator<Item = (u64, u32)>) -> Arrivals {
        let mut arrivals = Arrivals::new(10_000);
        for (sequence, at) in heard {
            arrivals.note(sequence, start + MILLISECOND * at, sequence * 10);
        }
        arrivals
    }

    fn steady(count: u32) -> impl Iterator<Item = (u64, u32)> {
        (0..count).map(|number| (u64::from(number), number))
    }

    #[test]
    fn silence_is_one_gap() {
        let start = Instant::now();
        let reception = Arrivals::new(10).reception(start..start + MILLISECOND).unwrap();
        assert_eq!(reception.largest.length(), MILLISECOND);
        assert_eq!((reception.received, reception.lost), (0, 0));
        assert_eq!(Arrivals::new(10).reception(start..start), None);
    }

    #[test]
    fn a_gap_that_reaches_over_the_edge_counts_whole() {
        let start = Instant::now();
        let arrivals = heard(start, [(0, 0), (1, 1), (2, 51), (3, 52)]);
        let window = |from, to| start + MILLISECOND * from..start + MILLISECOND * to;
        for window in [window(30, 60), window(0, 20), window(20, 30)] {
            assert_eq!(arrivals.reception(window).unwrap().largest.length(), MILLISECOND * 50);
        }
        assert_eq!(arrivals.reception(window(52, 53)).unwrap().largest.length(), MILLISECOND);
    }

    #[test]
    fn what_comes_again_or_late_is_no_sign_of_life() {
        let start = Instant::now();
        let arrivals = heard(start, [(0, 0), (2, 1), (2, 10), (1, 20), (4, 30), (5, 31)]);
        let reception = arrivals.reception(start..start + MILLISECOND * 32).unwrap();
        assert_eq!(reception.largest.length(), MILLISECOND * 29);
        assert_eq!((reception.duplicated, reception.reordered, reception.lost), (1, 1, 1));
    }

    #[test]
    fn a_guest_that_stood_still_lost_that_much_work() {
        let start = Instant::now();
        // 1000 datagrams, 50 ms of nothing, and on where it was.
        let still = (1000..2000).map(|number| (u64::from(number), number + 50));
        let arrivals = heard(start, steady(1000).chain(still));
        let window = |from, to| start + MILLISECOND * from..start + MILLISECOND * to;
        let lost = arrivals.work_lost(window(100, 900), window(950, 1150)).unwrap();
        assert!((lost.rate - 10_000.0).abs() < 1.0, "{lost:?}");
        assert_eq!(lost.done, 1500);
        assert_eq!(lost.time.as_millis(), 50);

        let more = arrivals.work_lost(window(990, 1090), window(100, 200)).unwrap();
        assert_eq!(more.time, Duration::ZERO, "more work than expected is none lost");
    }

    #[test]
    fn work_before_the_first_datagram_is_not_known() {
        let start = Instant::now();
        let arrivals = heard(start + MILLISECOND, steady(100));
        let later = start + MILLISECOND * 50..start + MILLISECOND * 60;
        assert_eq!(arrivals.work_lost(start..start + MILLISECOND * 50, later), None);
    }

    proptest! {
        /// Whatever is dropped, the figures are those that the dropped numbers give.
        #[test]
        fn every_dropped_datagram_is_counted(kept in prop::collection::vec(any::<bool>(), 1..300)) {
            let start = Instant::now();
            let last = kept.len() as u32 + 1;
            // The ends came, so that what is missing between them is known.
            let is_kept = |number: u32| number == 0 || number == last || kept[number as usize - 1];
            let all = steady(last + 1).filter(|(_, number)| is_kept(*number));
            let reception =
                heard(start, all).reception(start..start + MILLISECOND * (last + 1)).unwrap();

            let dropped = kept.iter().filter(|kept| !**kept).count() as u64;
            prop_assert_eq!(reception.lost, dropped);
            prop_assert_eq!(reception.received, u64::from(last) + 1 - dropped);
            let longest = kept.split(|kept| *kept).map(<[bool]>::len).max().unwrap_or(0) as u32;
            prop_assert_eq!(reception.largest.length(), MILLISECOND * (longest + 1));
            prop_assert!(reception.p99 <= reception.largest.length());
        }

        /// The gaps of neighbouring windows cover all the time, and none is longer than in both.
        #[test]
        fn a_window_in_two_parts_shows_the_same_largest_gap(
            lengths in prop::collection::vec(1u32..50, 2..50), cut in 0.0f64..1.0,
        ) {
            let start = Instant::now();
            let mut at = 0;
            let times = lengths.iter().enumerate().map(|(number, length)| {
                at += length;
                (number as u64, at)
            });
            let arrivals = heard(start, times);
            let whole = lengths.iter().sum::<u32>() + 1;
            let middle = 1 + (f64::from(whole - 2) * cut) as u32;
            let (middle, end) = (start + MILLISECOND * middle, start + MILLISECOND * whole);
            let largest = |window| arrivals.reception(window).unwrap().largest.length();
            let parts = largest(start..middle).max(largest(middle..end));
            prop_assert_eq!(parts, largest(start..end));
        }
    }
}
