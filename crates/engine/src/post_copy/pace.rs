//! How fast to push, so that answers to faults do not wait behind what was pushed.
//!
//! Faults are answered over another connection, but over the same bottleneck: a page that somebody
//! waits for stands behind everything that was pushed and has not passed it. So less is pushed than
//! the link can carry, and little is under way. How much that is is measured: the rate at which the
//! other host's kernel acknowledges.
//!
//! What waits in the socket for its turn, by the pace, is in nobody's way but that of what is pushed
//! next. It has to last until this thread runs again; where the link has run dry before, on a busy
//! host, more is given.
//!
//! ```text
//!  Seeking: not paced, twice as much  ──three measures in a row──►  Paced: at 95 % of the rate;
//!  under way with each measure          that show little more       each eighth measure is not
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use punctual_link::Way;
use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE, Pages};

/// What is under way beyond what the way itself holds takes so long to leave, ...
const QUEUE: Duration = Duration::from_millis(2);
/// ... or up to so long where the link runs dry meanwhile.
const LONGEST_QUEUE: Duration = Duration::from_millis(20);
/// What is given to the socket at once takes so long.
const AT_ONCE: Duration = Duration::from_micros(500);
/// At most so much is given at once, however fast the link.
const MOST_AT_ONCE: Pages = Pages::new(256);
/// At least so much may be under way, ...
const LEAST_UNDER_WAY: Bytes = Bytes::kib(32);
/// ... and so many pieces of what the way carries at once: 256 KiB over loopback.
const LEAST_SEGMENTS: u64 = 4;
/// The first guess of how much may be.
const FIRST_UNDER_WAY: Bytes = Bytes::kib(64);
/// A measure of the rate spans so long ...
const SPAN: Duration = Duration::from_millis(20);
/// ... and so many round trips.
const ROUND_TRIPS: u32 = 4;
/// The rate is the greatest of so many measures.
const MEASURES: usize = 16;
/// One measure of so many is made without pacing: it shows what has become free.
const FREE_EVERY: u32 = 8;
/// The search ends when so many measures in a row did not show a quarter more.
const NO_MORE: u32 = 3;

/// What is known of the link.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// The operator's limit.
    limit: Option<BytesPerSecond>,
    stage: Stage,
    /// The last measures.
    rates: VecDeque<BytesPerSecond>,
    /// Where the present measure began.
    since: Option<(Duration, Bytes)>,
    /// Whether there was nothing to push at a time in it ...
    disturbed: bool,
    /// ... or everything had left before more was given.
    dry: bool,
    /// How long what is under way takes to leave.
    queue: Duration,
    /// The least time there and back.
    round_trip: Duration,
    /// What travels in one piece.
    segment: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many measures in a row have shown little more; so much may be under way.
    Seeking { no_more: u32, under_way: Bytes },
    /// So many measures have been made.
    Paced { measures: u32 },
}

impl Pace {
    /// Of a link that carries no more than `limit`, as far as is known.
    pub(super) fn new(limit: Option<BytesPerSecond>) -> Self {
        let limit = limit.filter(|limit| limit.get() > 0);
        let seeking = Stage::Seeking { no_more: 0, under_way: FIRST_UNDER_WAY };
        Self {
            limit,
            stage: limit.map_or(seeking, |_| Stage::Paced { measures: 0 }),
            rates: limit.into_iter().collect(),
            since: None,
            disturbed: false,
            dry: false,
            queue: QUEUE,
            round_trip: Duration::ZERO,
            segment: Bytes::ZERO,
        }
    }

    /// Nothing was pushed for a while although something could have been.
    pub(super) fn paused(&mut self) {
        self.disturbed = true;
    }

    /// At `now`, of a clock that begins anywhere, `total` bytes have been acknowledged in all, and
    /// `under_way` not yet, on this `way`. Whether the rate to be kept has changed.
    pub(super) fn acknowledged(
        &mut self,
        now: Duration,
        total: Bytes,
        under_way: Bytes,
        way: Way,
    ) -> bool {
        let round_trip = way.least_round_trip;
        (self.round_trip, self.segment) = (round_trip, way.segment);
        self.dry |= under_way == Bytes::ZERO;
        let (since, before) = *self.since.get_or_insert((now, total));
        let time = now.saturating_sub(since);
        if time < SPAN.max(round_trip * ROUND_TRIPS) {
            return false;
        }
        self.since = Some((now, total));
        let dry = std::mem::take(&mut self.dry);
        self.queue = if dry { self.queue * 3 / 2 } else { self.queue * 7 / 8 };
        self.queue = self.queue.clamp(QUEUE, LONGEST_QUEUE);
        let seeking = matches!(self.stage, Stage::Seeking { .. });
        let disturbed = std::mem::take(&mut self.disturbed) || (dry && !seeking);
        let Some(rate) = total.saturating_sub(before).per(time) else { return false };
        // A link that had nothing to carry has shown nothing, unless it was faster than ever.
        if !disturbed || self.rate().is_some_and(|known| rate > known) {
            self.measured(rate);
            return true;
        }
        false
    }

    fn measured(&mut self, rate: BytesPerSecond) {
        let best = self.rate().map_or(0, BytesPerSecond::get);
        if self.rates.len() == MEASURES {
            self.rates.pop_front();
        }
        self.rates.push_back(self.limit.map_or(rate, |limit| limit.min(rate)));
        self.stage = match self.stage {
            Stage::Seeking { no_more, under_way } => {
                let no_more = if rate.get() >= best / 4 * 5 { 0 } else { no_more + 1 };
                let room = rate.bytes_in((self.round_trip + QUEUE) * 2).max(under_way);
                if no_more < NO_MORE {
                    Stage::Seeking { no_more, under_way: room }
                } else {
                    Stage::Paced { measures: 0 }
                }
            }
            Stage::Paced { measures } => Stage::Paced { measures: measures.wrapping_add(1) },
        };
    }

    /// The rate that the link is believed to carry.
    fn rate(&self) -> Option<BytesPerSecond> {
        self.rates.iter().copied().max()
    }

    /// The rate that the connection is to keep; `None`: as fast as can be.
    pub(super) fn to_keep(&self) -> Option<BytesPerSecond> {
        match self.stage {
            Stage::Paced { measures } if measures % FREE_EVERY != FREE_EVERY - 1 => {
                self.rate().map(|rate| BytesPerSecond::new(rate.get() / 20 * 19))
            }
            _ => self.limit,
        }
    }

    /// How much may be given to the socket and not be acknowledged.
    pub(super) fn under_way(&self) -> Bytes {
        let room = match (self.stage, self.rate()) {
            (Stage::Seeking { under_way, .. }, _) => under_way,
            (Stage::Paced { .. }, None) => FIRST_UNDER_WAY,
            (Stage::Paced { .. }, Some(rate)) => rate.bytes_in(self.round_trip + self.queue),
        };
        // With less than some pieces it would be waited for acknowledgements that come late.
        room.max(LEAST_UNDER_WAY).max(Bytes::new(self.segment.get() * LEAST_SEGMENTS))
    }

    /// How many pages to give to the socket at once.
    pub(super) fn at_once(&self) -> Pages {
        let bytes = self.rate().map_or(Bytes::ZERO, |rate| rate.bytes_in(AT_ONCE));
        Pages::new(bytes.get() / PAGE_SIZE.get()).clamp(Pages::new(4), MOST_AT_ONCE)
    }

    /// How long it takes until `bytes` have left.
    pub(super) fn time_for(&self, bytes: Bytes) -> Duration {
        let known = self.rate().map_or(Duration::ZERO, |rate| rate.time_for(bytes));
        known.clamp(Duration::from_micros(50), Duration::from_millis(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(500);

    /// A link that carries so much, behind a queue without end.
    struct Bottleneck {
        rate: BytesPerSecond,
        round_trip: Duration,
        now: Duration,
        given: Bytes,
        /// What has left the socket, and what has passed the bottleneck.
        left: f64,
        carried: f64,
        /// What was acknowledged when, in steps of the round trip.
        passed: VecDeque<f64>,
        longest: Duration,
    }

    impl Bottleneck {
        fn new(megabits: u64, round_trip: Duration) -> Self {
            let steps = (round_trip.as_secs_f64() / STEP.as_secs_f64()).ceil() as usize;
            Self {
                rate: BytesPerSecond::megabits(megabits),
                round_trip,
                now: Duration::ZERO,
                given: Bytes::ZERO,
                left: 0.0,
                carried: 0.0,
                passed: vec![0.0; steps.max(1)].into(),
                longest: Duration::ZERO,
            }
        }

        /// Pushes for so long, as fast as the pace allows; returns the rate that came of it.
        fn push(&mut self, pace: &mut Pace, time: Duration) -> BytesPerSecond {
            let (end, begin) = (self.now + time, self.carried);
            self.longest = Duration::ZERO;
            while self.now < end {
                let acknowledged = Bytes::new(self.passed[0] as u64);
                let under_way = self.given.saturating_sub(acknowledged);
                let way = Way {
                    least_round_trip: self.round_trip,
                    round_trip: self.round_trip,
                    segment: Bytes::new(1448),
                };
                pace.acknowledged(self.now, acknowledged, under_way, way);
                self.given += pace.under_way().saturating_sub(under_way);
                self.pass(pace, STEP);
            }
            Bytes::new((self.carried - begin) as u64).per(time).unwrap()
        }

        /// Nobody pushes for so long: what is in the socket leaves by the pace, and passes.
        fn pass(&mut self, pace: &Pace, time: Duration) {
            for _ in 0..time.as_micros() / STEP.as_micros() {
                let kept = pace.to_keep().map_or(f64::MAX, |rate| rate.bytes_in(STEP).get() as f64);
                self.left += kept.min(self.given.get() as f64 - self.left);
                let can = self.rate.bytes_in(STEP).get() as f64;
                self.carried += can.min(self.left - self.carried);
                let queue = Bytes::new((self.left - self.carried) as u64);
                self.longest = self.longest.max(self.rate.time_for(queue));
                self.passed.push_back(self.carried);
                self.passed.pop_front();
                self.now += STEP;
            }
        }
    }

    #[test]
    fn an_unknown_link_is_found_and_nearly_filled_with_a_short_queue() {
        for (megabits, round_trip) in [(1000, 1), (100, 1), (1000, 50), (100, 80), (10_000, 10)] {
            let mut link = Bottleneck::new(megabits, Duration::from_millis(round_trip));
            let mut pace = Pace::new(None);
            link.push(&mut pace, Duration::from_secs(8));
            let rate = link.push(&mut pace, Duration::from_secs(4));
            let least = BytesPerSecond::megabits(megabits / 10 * 9);
            assert!(rate >= least, "{rate} of {megabits} Mbit/s, {round_trip} ms: {pace:?}");
            let most = QUEUE * 2 + link.round_trip / 20;
            assert!(link.longest <= most, "{:?} of {most:?}: {pace:?}", link.longest);
        }
    }

    #[test]
    fn a_known_rate_is_kept_from_the_first_byte_and_never_exceeded() {
        let mut link = Bottleneck::new(1000, Duration::from_millis(1));
        let mut pace = Pace::new(Some(BytesPerSecond::megabits(400)));
        let rate = link.push(&mut pace, Duration::from_secs(1));
        assert!(rate <= BytesPerSecond::megabits(400) && rate >= BytesPerSecond::megabits(360));
        assert_eq!(link.longest, Duration::ZERO);
    }

    #[test]
    fn a_rate_that_was_promised_and_is_not_there_is_found_out() {
        let mut link = Bottleneck::new(100, Duration::from_millis(1));
        let mut pace = Pace::new(Some(BytesPerSecond::megabits(1000)));
        link.push(&mut pace, Duration::from_secs(3));
        link.push(&mut pace, Duration::from_secs(1));
        assert!(link.longest <= Duration::from_millis(4), "{:?}", link.longest);
    }

    #[test]
    fn a_link_that_becomes_faster_is_used() {
        let mut link = Bottleneck::new(100, Duration::from_millis(1));
        let mut pace = Pace::new(None);
        link.push(&mut pace, Duration::from_secs(2));
        link.rate = BytesPerSecond::megabits(1000);
        link.push(&mut pace, Duration::from_secs(20));
        let rate = link.push(&mut pace, Duration::from_secs(1));
        assert!(rate >= BytesPerSecond::megabits(800), "{rate}: {pace:?}");
    }

    #[test]
    fn a_host_that_comes_late_fills_the_link_all_the_same() {
        let mut link = Bottleneck::new(1000, Duration::from_millis(1));
        let mut pace = Pace::new(None);
        link.push(&mut pace, Duration::from_secs(1));
        let begin = link.carried;
        for _ in 0..1000 {
            // Nobody looks for 10 ms.
            link.push(&mut pace, STEP);
            link.pass(&pace, STEP * 19);
        }
        let rate = Bytes::new((link.carried - begin) as u64).per(STEP * 20_000).unwrap();
        assert!(rate >= BytesPerSecond::megabits(850), "{rate}: {pace:?}");
    }

    #[test]
    fn pauses_do_not_pass_for_a_slow_link() {
        let mut link = Bottleneck::new(1000, Duration::from_millis(1));
        let mut pace = Pace::new(None);
        link.push(&mut pace, Duration::from_secs(1));
        let before = pace.rate();
        for _ in 0..1000 {
            link.now += Duration::from_millis(19);
            pace.paused();
            link.push(&mut pace, Duration::from_millis(1));
        }
        assert!(pace.rate() >= before, "{before:?}: {pace:?}");
    }
}
