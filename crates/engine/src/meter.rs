//! How fast the destination receives, and what a page costs: measured, never assumed for long.

mod costs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, Pages};

use costs::Costs;
pub(crate) use costs::{Care, Load};

/// A link that is slower gets packed pages: LZ4 compresses some 0.7 GB a second on one core, the
/// rest of the encoder takes its share.
pub(crate) const PACK_BELOW: BytesPerSecond = BytesPerSecond::megabits(2500);
/// A measure of the rate spans at least this long, so that bursts of a shaper or of a buffer do
/// not pass for bandwidth ...
const SPAN: Duration = Duration::from_millis(20);
/// ... and at least so many bytes, so that the way of one message does not pass for a slow link.
const VOLUME: Bytes = Bytes::kib(128);
/// So many measures are kept: the bandwidth is likely their median, and surely their quartile.
const MEASURES: usize = 9;
/// The rate of a link of which nothing is known.
const USUAL: BytesPerSecond = BytesPerSecond::megabits(1000);
/// No page takes less.
const SHORTEST_SLOT: Duration = Duration::from_nanos(20);

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
    /// In a round: when the last of its batches had been sent, and how much had been by then.
    mark: Option<(Duration, Bytes)>,
    costs: Costs,
}

impl Meter {
    pub(crate) fn new(assumed: Option<BytesPerSecond>) -> Self {
        Self {
            sent: Bytes::ZERO,
            received: Bytes::ZERO,
            since: None,
            rates: VecDeque::with_capacity(MEASURES),
            assumed,
            mark: None,
            costs: Costs::default(),
        }
    }

    /// Takes the result of a probe in place of what was assumed.
    pub(crate) fn probed(&mut self, rate: BytesPerSecond) {
        self.assumed = Some(rate);
    }

    /// The source begins to send pages without a pause.
    pub(crate) fn begin_round(&mut self, at: Duration) {
        self.mark = Some((at, self.sent));
        self.since = None;
        self.costs.begin_round();
    }

    /// The source goes on with a round after it had nothing to send.
    pub(crate) fn resume_round(&mut self, at: Duration) {
        if let Some((since, _)) = &mut self.mark {
            *since = at;
        }
    }

    /// `total` bytes have been put on the connection so far.
    pub(crate) fn sent(&mut self, total: Bytes) {
        self.sent = self.sent.max(total);
    }

    /// A batch of the round has been sent, `total` bytes being on the connection now.
    pub(crate) fn batch_sent(&mut self, at: Duration, total: Bytes, batch: Load) {
        self.sent(total);
        if let Some((since, before)) = self.mark.replace((at, self.sent)) {
            let (time, bytes) = (at.saturating_sub(since), self.sent.saturating_sub(before));
            self.costs.sent(batch, bytes.get() as f64, time);
        }
    }

    /// All of the round has been sent: all that was dirty when it began, unless pages were left out.
    pub(crate) fn end_round(&mut self, left_none_out: bool) {
        self.costs.end_round(left_none_out);
        self.since = None;
        self.mark = None;
    }

    /// The destination says that it has received `total` bytes.
    pub(crate) fn received(&mut self, at: Duration, total: Bytes) {
        self.received = self.received.max(total);
        self.sent = self.sent.max(self.received);
        if self.mark.is_none() {
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
        self.rate(Care::Likely)
    }

    /// The same, as it is likely or surely.
    pub(crate) fn rate(&self, care: Care) -> Option<BytesPerSecond> {
        let mut rates: Vec<_> = self.rates.iter().copied().collect();
        rates.sort_unstable();
        let nth = match care {
            Care::Likely => rates.len() / 2,
            Care::Surely => rates.len() / 4,
        };
        rates.get(nth).copied().or(self.assumed)
    }

    /// Whether pages are packed, so that one that was sent before costs little again.
    pub(crate) fn packs(&self) -> bool {
        self.bandwidth().is_none_or(|rate| rate < PACK_BELOW)
    }

    /// What has been sent and not been acknowledged.
    pub(crate) fn outstanding(&self) -> Bytes {
        self.sent.saturating_sub(self.received)
    }

    pub(crate) fn total_sent(&self) -> Bytes {
        self.sent
    }

    pub(crate) fn total_received(&self) -> Bytes {
        self.received
    }

    /// How long it takes until these pages are at the destination, too: what the link needs for
    /// their bytes, or what the source needs to read and encode them, whichever is longer.
    pub(crate) fn time_for(&self, load: Load, care: Care) -> Duration {
        self.time(load, care, self.outstanding())
    }

    /// The same with nothing on its way before them.
    pub(crate) fn time_alone(&self, load: Load) -> Duration {
        self.time(load, Care::Likely, Bytes::ZERO)
    }

    /// How many pages of such a mix are likely to be sent in this time.
    pub(crate) fn pages_in(&self, time: Duration, mix: Load) -> Pages {
        Pages::new((time.as_secs_f64() / self.slot(mix).as_secs_f64()) as u64)
    }

    /// How many pages are surely sent again in this time.
    pub(crate) fn surely_again_in(&self, time: Duration) -> Pages {
        let takes = |pages| {
            let time = self.time(Load::again(pages), Care::Surely, Bytes::ZERO).as_secs_f64();
            time.max(pages * SHORTEST_SLOT.as_secs_f64())
        };
        // Up to here a page costs what it was seen to cost, and more from here on.
        let (believed, time) = (self.costs.believed(), time.as_secs_f64());
        let for_believed = takes(believed);
        let pages = if time <= for_believed {
            believed * time / for_believed.max(f64::MIN_POSITIVE)
        } else {
            believed + (time - for_believed) / (takes(believed + 1.0) - for_believed)
        };
        Pages::new(pages as u64)
    }

    /// What sending one page of such a mix is likely to take (T), by the rate that is known, or as
    /// on a usual link.
    pub(crate) fn slot(&self, mix: Load) -> Duration {
        let rate = self.bandwidth().filter(|rate| *rate != BytesPerSecond::ZERO).unwrap_or(USUAL);
        let cost = self.costs.of(mix.as_many(1.0), Care::Likely);
        let seconds = (cost.bytes / rate.get() as f64).max(cost.seconds);
        Duration::from_secs_f64(seconds).max(SHORTEST_SLOT)
    }

    fn time(&self, load: Load, care: Care, before: Bytes) -> Duration {
        let cost = self.costs.of(load, care);
        let bytes = Bytes::new(cost.bytes as u64) + before;
        let link = self.rate(care).map_or(Duration::ZERO, |rate| rate.time_for(bytes));
        link.max(Duration::from_secs_f64(cost.seconds))
    }
}
