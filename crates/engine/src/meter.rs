//! How fast the destination receives, and what a page costs: measured, never assumed for long.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE, Pages};

/// A measure of the rate spans at least this long, so that bursts of a shaper or of a buffer do
/// not pass for bandwidth ...
const SPAN: Duration = Duration::from_millis(20);
/// ... and at least so many bytes, so that the way of one message does not pass for a slow link.
const VOLUME: Bytes = Bytes::kib(128);
/// The bandwidth is the median of so many measures.
const MEASURES: usize = 9;
/// The rate of a link of which nothing is known.
const USUAL: BytesPerSecond = BytesPerSecond::megabits(1000);
/// A round of fewer pages says little about what a page costs.
const TELLING_ROUND: Pages = Pages::new(32);

/// Measures bandwidth from acknowledgements, and what a page takes on the connection.
///
/// The rate is only measured while the source has something to send: acknowledgements of bytes
/// that were sent after a pause tell how long the pause was.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    sent: Bytes,
    received: Bytes,
    /// The acknowledgement from which the present measure counts.
    since: Option<(Duration, Bytes)>,
    rates: VecDeque<BytesPerSecond>,
    /// What is believed before the first measure.
    assumed: Option<BytesPerSecond>,
    round: Option<RoundStart>,
    page_bytes: f64,
    page_time: Duration,
}

#[derive(Debug, Clone, Copy)]
struct RoundStart {
    at: Duration,
    sent: Bytes,
}

impl Meter {
    pub(crate) fn new(assumed: Option<BytesPerSecond>) -> Self {
        Self {
            sent: Bytes::ZERO,
            received: Bytes::ZERO,
            since: None,
            rates: VecDeque::with_capacity(MEASURES),
            assumed,
            round: None,
            page_bytes: PAGE_SIZE.get() as f64,
            page_time: Duration::ZERO,
        }
    }

    /// Takes the result of a probe in place of what was assumed.
    pub(crate) fn probed(&mut self, rate: BytesPerSecond) {
        self.assumed = Some(rate);
    }

    /// The source begins to send pages without a pause.
    pub(crate) fn begin_round(&mut self, at: Duration) {
        self.round = Some(RoundStart { at, sent: self.sent });
        self.since = None;
    }

    /// `total` bytes have been put on the connection so far.
    pub(crate) fn sent(&mut self, total: Bytes) {
        self.sent = self.sent.max(total);
    }

    /// The round's `pages` have been sent, `total` bytes being on the connection now.
    pub(crate) fn end_round(&mut self, at: Duration, total: Bytes, pages: Pages) {
        self.part_sent(at, total, pages);
        self.since = None;
        self.round = None;
    }

    /// So many of the round's pages have been sent so far, `total` bytes being on the connection.
    pub(crate) fn part_sent(&mut self, at: Duration, total: Bytes, pages: Pages) {
        self.sent(total);
        let Some(start) = self.round else { return };
        if pages >= TELLING_ROUND {
            let bytes = self.sent.saturating_sub(start.sent);
            self.page_bytes = bytes.get() as f64 / pages.get() as f64;
            let time = at.saturating_sub(start.at);
            self.page_time = time.div_f64(pages.get() as f64);
        }
    }

    /// The destination says that it has received `total` bytes.
    pub(crate) fn received(&mut self, at: Duration, total: Bytes) {
        self.received = self.received.max(total);
        self.sent = self.sent.max(self.received);
        if self.round.is_none() {
            return;
        }
        let Some((since, before)) = self.since else {
            self.since = Some((at, self.received));
            return;
        };
        let (time, bytes) = (at.saturating_sub(since), self.received.saturating_sub(before));
        if time >= SPAN && bytes >= VOLUME {
            if self.rates.len() == MEASURES {
                self.rates.pop_front();
            }
            self.rates.extend(bytes.per(time));
            self.since = Some((at, self.received));
        }
    }

    /// The rate at which the destination receives; `None` while nothing is known.
    pub(crate) fn bandwidth(&self) -> Option<BytesPerSecond> {
        let mut rates: Vec<_> = self.rates.iter().copied().collect();
        rates.sort_unstable();
        rates.get(rates.len() / 2).copied().or(self.assumed)
    }

    /// What has been sent and not been acknowledged.
    pub(crate) fn outstanding(&self) -> Bytes {
        self.sent.saturating_sub(self.received)
    }

    pub(crate) fn total_sent(&self) -> Bytes {
        self.sent
    }

    /// How long it takes until `pages` more are at the destination: what the link needs for their
    /// bytes, or what the source lately needed to read and encode so many, whichever is longer.
    pub(crate) fn time_for(&self, pages: Pages) -> Duration {
        self.time(pages, self.outstanding())
    }

    /// The same with nothing on its way before them.
    pub(crate) fn time_alone(&self, pages: Pages) -> Duration {
        self.time(pages, Bytes::ZERO)
    }

    /// How many pages can be sent in this time, at the rate that is known or assumed.
    pub(crate) fn pages_in(&self, time: Duration) -> Pages {
        Pages::new((time.as_secs_f64() / self.slot().as_secs_f64()) as u64)
    }

    /// What sending one page takes (T), by the rate that is known, or as on a usual link.
    pub(crate) fn slot(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_nanos(20);
        let rate = self.bandwidth().filter(|rate| *rate != BytesPerSecond::ZERO).unwrap_or(USUAL);
        let link = Duration::from_secs_f64(self.page_bytes / rate.get() as f64);
        link.max(self.page_time).max(SHORTEST)
    }

    fn time(&self, pages: Pages, before: Bytes) -> Duration {
        let bytes = Bytes::new((self.page_bytes * pages.get() as f64) as u64) + before;
        let link = self.bandwidth().map_or(Duration::ZERO, |rate| rate.time_for(bytes));
        let encoding = self.page_time.mul_f64(pages.get() as f64);
        link.max(encoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABIT: BytesPerSecond = BytesPerSecond::megabits(1000);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_rate_is_that_of_the_acknowledgements() {
        let mut meter = Meter::new(None);
        assert_eq!(meter.bandwidth(), None);
        meter.begin_round(ms(0));
        for step in 0..40 {
            meter.received(ms(10 * step), GIGABIT.bytes_in(ms(10 * step)));
        }
        assert_eq!(meter.bandwidth(), Some(GIGABIT));
    }

    #[test]
    fn a_pause_between_rounds_is_no_slow_link() {
        let mut meter = Meter::new(None);
        let mut total = Bytes::ZERO;
        for round in 0..5_u64 {
            let begin = ms(round * 10_000);
            meter.begin_round(begin);
            for step in 0..20 {
                meter.received(begin + ms(10 * step), total);
                total += GIGABIT.bytes_in(ms(10));
            }
            meter.end_round(begin + ms(200), total, Pages::new(1000));
        }
        assert_eq!(meter.bandwidth(), Some(GIGABIT));
    }

    #[test]
    fn one_stall_does_not_move_the_median() {
        let mut meter = Meter::new(None);
        meter.begin_round(ms(0));
        let mut at = ms(0);
        for step in 0..12 {
            at += if step == 9 { ms(900) } else { ms(20) };
            meter.received(at, GIGABIT.bytes_in(ms(20 * step)));
        }
        assert_eq!(meter.bandwidth(), Some(GIGABIT));
    }

    #[test]
    fn a_page_costs_what_it_lately_cost() {
        let mut meter = Meter::new(Some(GIGABIT));
        assert_eq!(meter.time_for(Pages::new(1)), GIGABIT.time_for(PAGE_SIZE));
        meter.begin_round(ms(0));
        meter.end_round(ms(1), Bytes::new(100_000), Pages::new(1000));
        meter.received(ms(2), Bytes::new(100_000));
        // The link would take 0.8 µs for each of the small pages, encoding took 1 µs.
        assert_eq!(meter.time_for(Pages::new(1000)), ms(1));
    }

    #[test]
    fn what_is_on_its_way_has_to_arrive_first() {
        let mut meter = Meter::new(Some(GIGABIT));
        meter.sent(Bytes::new(125_000));
        assert_eq!(meter.time_for(Pages::ZERO), ms(1));
    }
}
