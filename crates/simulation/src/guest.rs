//! A guest whose memory is a version number for each page, and its disk.

use std::time::Duration;

use punctual_model::Heat;
use punctual_units::{PageIndex, PageRange, PageSet, Pages, Probability};

/// What the guest does to its memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) pages: u64,
    /// Writes a second, to random pages of the first `hot`.
    pub(crate) writes: u64,
    pub(crate) hot: u64,
    /// Writes a second, to any page.
    pub(crate) stray: u64,
    /// The guest writes for this long of each second, and then nothing until the next.
    pub(crate) busy: Duration,
    /// Whether the hot pages are written one behind the other, over and over, not at random.
    pub(crate) sweeps: bool,
    pub(crate) packed: Packed,
    /// Disk requests with direct I/O in flight at any time; each takes `request`.
    pub(crate) requests: u64,
    pub(crate) request: Duration,
}

/// What pages take on the link: the hot ones, and the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    pub(crate) hot: Page,
    pub(crate) cold: Page,
}

/// How many bytes a page takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) first: u64,
    pub(crate) again: u64,
}

impl Page {
    pub(crate) const PLAIN: Self = Self { first: 4104, again: 4104 };
}

/// A disk request that writes one page of memory when it ends, unseen by the tracer.
#[derive(Debug, Clone, Copy)]
struct Request {
    page: u64,
    ends: Duration,
}

/// The guest, its memory at the source, and what the tracer knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) workload: Workload,
    pub(crate) memory: Vec<u32>,
    pub(crate) running: bool,
    written: Option<PageSet>,
    requests: Vec<Request>,
    now: Duration,
    owed: f64,
    /// How much of its work it gets done.
    share: f64,
    random: u64,
    swept: u64,
    /// Pages that follow it to where it runs now, and the one that it waits for.
    missing: Option<PageSet>,
    /// A mistake on purpose: a new move goes on with the marks that an earlier one has left.
    #[cfg(test)]
    pub(crate) keeps_marks: bool,
    waits_for: Option<PageIndex>,
}

impl Guest {
    pub(crate) fn new(workload: Workload, seed: u64) -> Self {
        let mut guest = Self {
            workload,
            memory: vec![1; workload.pages as usize],
            running: true,
            written: None,
            requests: vec![],
            now: Duration::ZERO,
            owed: 0.0,
            share: 1.0,
            random: seed | 1,
            swept: seed,
            missing: None,
            #[cfg(test)]
            keeps_marks: false,
            waits_for: None,
        };
        guest.submit();
        guest
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// From now on it gets on with its work at this share of its speed.
    pub(crate) fn throttle(&mut self, share: Probability) {
        self.share = share.get();
    }

    fn mark(&mut self, page: u64) {
        if let Some(written) = &mut self.written {
            written.insert(PageIndex(page));
        }
    }

    /// The guest keeps its disk busy. Submitting pins the page, which the tracer sees as a write.
    fn submit(&mut self) {
        while self.running
            && self.waits_for.is_none()
            && (self.requests.len() as u64) < self.workload.requests
        {
            let page = self.random(self.workload.pages);
            if self.is_missing(page) {
                self.waits_for = Some(PageIndex(page));
                return;
            }
            self.mark(page);
            let jitter = self.random(self.workload.request.as_nanos() as u64);
            let ends = self.now + self.workload.request + Duration::from_nanos(jitter);
            self.requests.push(Request { page, ends });
        }
    }

    /// Lets time pass: writes and ends of requests happen in their order.
    pub(crate) fn advance(&mut self, to: Duration) {
        while self.now < to {
            let next = self.requests.iter().map(|request| request.ends).min().unwrap_or(to).min(to);
            self.write_until(next.max(self.now));
            let (ended, left): (Vec<_>, Vec<_>) =
                self.requests.iter().partition(|request| request.ends <= self.now);
            self.requests = left;
            for request in ended {
                self.memory[request.page as usize] += 1;
            }
            self.submit();
        }
    }

    fn write_until(&mut self, to: Duration) {
        let time = (to - self.now).as_secs_f64();
        self.now = to;
        if !self.running || self.waits_for.is_some() {
            return;
        }
        if Duration::from_nanos(u64::from(to.subsec_nanos())) > self.workload.busy {
            return;
        }
        let Workload { writes, stray, hot, pages, .. } = self.workload;
        self.owed += time * self.share * (writes + stray) as f64;
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let is_stray = stray > 0 && self.random(writes + stray) < stray;
            let page = match (is_stray, self.workload.sweeps) {
                (true, _) => self.random(pages),
                (false, false) => self.random(hot),
                (false, true) => self.swept % hot,
            };
            self.swept += 1;
            if self.is_missing(page) {
                self.waits_for = Some(PageIndex(page));
                return;
            }
            self.memory[page as usize] += 1;
            self.mark(page);
        }
    }

    fn is_missing(&self, page: u64) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing.contains(PageIndex(page)))
    }

    /// It runs at the destination now, where nobody traces it, and these pages follow.
    pub(crate) fn arrive(&mut self, missing: PageSet) {
        self.running = true;
        self.written = None;
        self.missing = Some(missing);
        self.submit();
    }

    /// A page that followed is in place.
    pub(crate) fn has_come(&mut self, page: PageIndex) {
        if let Some(missing) = &mut self.missing {
            missing.remove_range(PageRange::new(page.0, page.0 + 1));
        }
        self.waits_for.take_if(|waited| *waited == page);
    }

    /// The page that it waits for.
    pub(crate) fn waits_for(&self) -> Option<PageIndex> {
        self.waits_for
    }

    /// Begins a new move, from where it is: time is counted anew.
    pub(crate) fn begin_anew(&mut self) {
        for request in &mut self.requests {
            request.ends = request.ends.saturating_sub(self.now);
        }
        self.now = Duration::ZERO;
    }

    pub(crate) fn start_tracing(&mut self) -> PageSet {
        let pages = Pages::new(self.workload.pages);
        let _left = self.written.replace(PageSet::empty(pages));
        #[cfg(test)]
        if let Some(left) = _left.filter(|_| self.keeps_marks) {
            return left;
        }
        PageSet::full(pages)
    }

    pub(crate) fn scan(&mut self) -> PageSet {
        let pages = Pages::new(self.workload.pages);
        self.written.replace(PageSet::empty(pages)).expect("the machine is traced")
    }

    /// What is known of it after it has been looked at for a while.
    pub(crate) fn watched(workload: Workload, seed: u64, time: Duration) -> Heat {
        const PERIOD: Duration = Duration::from_millis(20);
        let mut guest = Self::new(workload, seed);
        guest.start_tracing();
        let mut heat = Heat::new(Pages::new(workload.pages));
        let mut at = Duration::ZERO;
        while at < time {
            at += PERIOD;
            guest.advance(at);
            heat.record(at, guest.scan().ranges());
        }
        heat
    }

    /// Looks at some pages around these, too, as a tracer looks at stretches.
    pub(crate) fn scan_among(&mut self, pages: &PageSet) -> PageSet {
        const AROUND: u64 = 3;
        let written = self.written.as_mut().expect("the machine is traced");
        let mut found = PageSet::empty(pages.capacity());
        for run in pages.ranges() {
            let end = (run.end.0 + AROUND).min(pages.capacity().get());
            found.insert_range(PageRange::new(run.start.0.saturating_sub(AROUND), end));
        }
        found.intersect(written);
        written.subtract(&found);
        found
    }

    /// When the requests that are in flight now will have ended.
    pub(crate) fn settled_at(&self) -> Duration {
        self.requests.iter().map(|request| request.ends).max().unwrap_or(self.now).max(self.now)
    }

    pub(crate) fn direct_io(&self) -> bool {
        self.workload.requests > 0
    }

    /// Saving device state writes a page.
    pub(crate) fn save_device_state(&mut self) {
        self.memory[0] += 1;
        self.mark(0);
    }
}
