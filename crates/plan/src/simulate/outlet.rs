//! The source's sending thread and the link behind it.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_engine::source::Batch;
use punctual_trace::Content;
use punctual_units::{Bytes, PAGE_SIZE, PageSet, Pages};
use punctual_wire::{HEADER_LENGTH, SourceMessage};

use super::{Costs, Link};

/// So many pages are packed at once.
const PACKED_AT_ONCE: u64 = 256;
/// Runs from here on go raw on a fast link.
const LONG_RUN: u64 = 16;
/// The limit of a frame's payload.
const FRAME: f64 = 262_144.0;
/// Fewer pages than this are not a part of their own, however few are simulated.
const LEAST_AT_ONCE: u64 = 16;

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
    pages: Pages,
    pub(super) sent: Pages,
    mix: Mix,
    /// When it was last told how many.
    pub(super) told: Duration,
}

impl Sending {
    pub(super) fn is_done(&self) -> bool {
        self.sent >= self.pages
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

    /// Begins to send pages.
    pub(super) fn begin(&mut self, pages: &PageSet, now: Duration) {
        let mut fresh = pages.clone();
        fresh.subtract(&self.held);
        let raw = if self.link.rate >= Costs::RAW_FROM { self.long_runs(pages) } else { (0, 0) };
        let mix = Mix::new(pages.len(), fresh.len(), raw);
        self.held.union(&fresh);
        self.sending = Some(Sending { pages: pages.len(), sent: Pages::ZERO, mix, told: now });
    }

    /// How many long runs there are, and how many pages in them.
    fn long_runs(&self, pages: &PageSet) -> (u64, u64) {
        let lengths = pages.ranges().map(|run| run.len().get());
        let long = lengths.filter(|length| length * self.thinning >= LONG_RUN);
        long.fold((0, 0), |(runs, pages), length| (runs + 1, pages + length))
    }

    /// Sends the next part of the pages at hand; `None` if none is left.
    pub(super) fn part(&mut self, now: Duration) -> Option<Part> {
        let sending = self.sending.as_mut().filter(|sending| !sending.is_done())?;
        let most = Pages::new((PACKED_AT_ONCE / self.thinning).max(LEAST_AT_ONCE));
        let pages = most.min(sending.pages - sending.sent);
        sending.sent += pages;
        let (bytes, time) = sending.mix.cost(pages, &self.content, &self.costs);
        let ready = now + time.mul_f64(self.thinning as f64);
        // A part of a thinned machine stands for several frames, of which the first is ready early.
        let at_once = PACKED_AT_ONCE as f64 / (pages.get() * self.thinning) as f64;
        let first = now + (ready - now).mul_f64(at_once.min(1.0));
        let arrives = self.depart(first, bytes);
        self.link_free = self.link_free.max(ready);
        let arrives = arrives.max(ready + self.link.latency);
        let queued = self.link.rate.time_for(self.link.queue);
        Some(Part { bytes, arrives, free: ready.max(self.link_free.saturating_sub(queued)) })
    }
}

/// What a page of a batch costs on average, by how many of them are sent for the first time and how
/// many go raw. That they lie in one batch in some order is left out.
#[derive(Debug, Clone, Copy)]
struct Mix {
    /// Shares of the pages.
    fresh: f64,
    raw: f64,
    /// Long runs for each page.
    raw_runs: f64,
}

impl Mix {
    fn new(pages: Pages, fresh: Pages, (raw_runs, raw): (u64, u64)) -> Self {
        let share = |count: u64| count as f64 / pages.get().max(1) as f64;
        Self { fresh: share(fresh.get()), raw: share(raw), raw_runs: share(raw_runs) }
    }

    fn cost(&self, pages: Pages, content: &Content, costs: &Costs) -> (Bytes, Duration) {
        let pages = pages.get() as f64;
        let zero = pages * self.fresh * content.zero.get();
        let (first, again) = (pages * self.fresh - zero, pages * (1.0 - self.fresh));
        let packed = (1.0 - self.raw) * (first * content.first + again * content.again);
        let raw = self.raw * (first + again);
        let frames = (packed / FRAME).ceil() + 2.0 * pages * self.raw_runs;
        let bytes = packed + raw * PAGE_SIZE.get() as f64 + frames * HEADER_LENGTH as f64;
        let packing = costs.first.mul_f64(first) + costs.again.mul_f64(again);
        let time =
            packing.mul_f64(1.0 - self.raw) + costs.raw.mul_f64(raw) + costs.zero.mul_f64(zero);
        (Bytes::new(bytes.round() as u64), time)
    }
}
