//! The source's sending thread and the link behind it.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_engine::source::Batch;
use punctual_trace::Content;
use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange, PageSet, Pages};
use punctual_wire::{HEADER_LENGTH, SourceMessage};

use super::{Costs, Link};

/// So many pages are packed at once.
const PACKED_AT_ONCE: u64 = 256;
/// Runs from here on go raw on a fast link.
const LONG_RUN: u64 = 16;
/// The limit of a frame's payload.
const FRAME: u64 = 256 << 10;

/// What the sending thread is told.
#[derive(Debug)]
pub(super) enum Job {
    Say(SourceMessage),
    Probe(Duration, Bytes),
    Pages(Batch),
    DeviceState(Bytes),
}

/// Pages that are being sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) batch: Batch,
    /// The page from which on none has been sent.
    from: PageIndex,
    pub(super) sent: Pages,
    /// When it was last told how many.
    pub(super) told: Duration,
}

impl Sending {
    pub(super) fn begin(batch: Batch, at: Duration) -> Self {
        Self { batch, from: PageIndex(0), sent: Pages::ZERO, told: at }
    }

    pub(super) fn is_done(&self) -> bool {
        self.sent >= self.batch.pages.len()
    }
}

/// The thread and its jobs, and the link.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) jobs: VecDeque<Job>,
    pub(super) sending: Option<Sending>,
    /// What was put on the connection so far.
    pub(super) sent: Bytes,
    link: Link,
    costs: Costs,
    content: Content,
    thinning: u64,
    /// When the last byte given to it will have left.
    link_free: Duration,
    /// Pages that the destination has in some version.
    held: PageSet,
}

/// What came of a part of the pages being sent.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// When it arrives.
    pub(super) arrives: Duration,
    /// When the thread can go on.
    pub(super) free: Duration,
}

impl Outlet {
    pub(super) fn new(
        link: Link,
        costs: Costs,
        content: Content,
        pages: Pages,
        thinning: u32,
    ) -> Self {
        Self {
            jobs: VecDeque::new(),
            sending: None,
            sent: Bytes::ZERO,
            link,
            costs,
            content,
            thinning: u64::from(thinning),
            link_free: Duration::ZERO,
            held: PageSet::empty(pages),
        }
    }

    /// Puts so many bytes of the whole machine's move on the link; when they arrive.
    pub(super) fn transmit(&mut self, ready: Duration, bytes: Bytes) -> (Bytes, Duration) {
        let thinned = Bytes::new((bytes.get() / self.thinning).max(1));
        (thinned, self.depart(ready, thinned))
    }

    /// Bytes of the thinned machine, over a link slowed down in the same proportion.
    fn depart(&mut self, ready: Duration, bytes: Bytes) -> Duration {
        self.sent += bytes;
        let whole = Bytes::new(bytes.get() * self.thinning);
        self.link_free = self.link_free.max(ready) + self.link.rate.time_for(whole);
        self.link_free + self.link.latency
    }

    /// Sends the next part of the pages at hand; `None` if none is left.
    pub(super) fn part(&mut self, now: Duration) -> Option<Part> {
        let sending = self.sending.as_mut().filter(|sending| !sending.is_done())?;
        let most = (PACKED_AT_ONCE / self.thinning).max(16);
        let mut cost = Cost::default();
        let capacity = sending.batch.pages.capacity().get();
        let mut taken = 0;
        for run in sending.batch.pages.ranges_in(PageRange::new(sending.from.0, capacity)) {
            let (now, _) = run.split_at(Pages::new(most - taken));
            let held: u64 = self.held.ranges_in(now).map(|run| run.len().get()).sum();
            let raw =
                self.link.rate >= Costs::RAW_FROM && run.len().get() * self.thinning >= LONG_RUN;
            cost.add(raw, now.len().get() - held, held);
            self.held.insert_range(now);
            taken += now.len().get();
            sending.from = now.end;
            if taken == most {
                break;
            }
        }
        sending.sent += Pages::new(taken);
        let (bytes, time) = cost.total(&self.content, &self.costs);
        let ready = now + time.mul_f64(self.thinning as f64);
        let arrives = self.depart(ready, bytes);
        let queued = self.link.rate.time_for(self.link.queue);
        Some(Part { bytes, arrives, free: ready.max(self.link_free.saturating_sub(queued)) })
    }
}

/// Pages of one part, by how they are sent.
#[derive(Debug, Default)]
struct Cost {
    /// Packed and raw, each the pages that were not there before and those that were.
    packed: (u64, u64),
    raw: (u64, u64),
    raw_runs: u64,
}

impl Cost {
    fn add(&mut self, raw: bool, fresh: u64, held: u64) {
        let kind = if raw { &mut self.raw } else { &mut self.packed };
        kind.0 += fresh;
        kind.1 += held;
        self.raw_runs += u64::from(raw);
    }

    fn total(&self, content: &Content, costs: &Costs) -> (Bytes, Duration) {
        let zero = content.zero.get();
        let [fresh, again] = [self.packed.0 as f64, self.packed.1 as f64];
        let raw = self.raw.0 as f64 * (1.0 - zero) + self.raw.1 as f64;
        let packed = fresh * (1.0 - zero) * content.first + again * content.again;
        let frames = (packed / FRAME as f64).ceil() + self.raw_runs as f64 * 2.0;
        let bytes = packed + raw * PAGE_SIZE.get() as f64 + frames * HEADER_LENGTH as f64;
        let zeros = (fresh + self.raw.0 as f64) * zero;
        let time = costs.first.mul_f64(fresh * (1.0 - zero))
            + costs.again.mul_f64(again)
            + costs.zero.mul_f64(zeros)
            + costs.raw.mul_f64(raw);
        (Bytes::new(bytes.round() as u64), time)
    }
}
