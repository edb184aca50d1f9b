//! What the threads of the source share: what is to be sent, and how it stands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use punctual_guest::Ram;
use punctual_link::Closer;
use punctual_model::Heat;
use punctual_units::{Bytes, BytesPerSecond, PageRange, PageSet, Pages};
use punctual_wire::{Faults, MigrationId, PageLine};

use super::{Served, State};
use crate::post_copy::order::Order;
use crate::post_copy::{Dial, Lines, place};

/// What is to be done.
pub(super) struct Task {
    pub(super) ram: Arc<Ram>,
    pub(super) migration: MigrationId,
    pub(super) rate: Option<BytesPerSecond>,
    pub(super) verify: bool,
}

pub(super) struct Shared {
    pub(super) task: Task,
    inner: Mutex<Inner>,
    /// Anything in there has changed.
    changed: Condvar,
}

pub(super) struct Inner {
    pub(super) dial: Dial,
    /// How often the dial was replaced.
    pub(super) dials: u32,
    pub(super) over: bool,
    begun: bool,
    heat: Option<Box<Heat>>,
    pub(super) lines: Lines,
    closers: [Option<Closer>; 2],
    order: Order,
    /// The destination has said on this push line what it lacks.
    told: bool,
    /// It had been told once; for the digest: the set that was.
    first: Option<Option<PageSet>>,
    /// Pages sent over this faults line.
    answered: PageSet,
    /// How many answers are being given.
    answering: u32,
    faults: u64,
    pages: Pages,
    bytes: Bytes,
    outcome: Option<Result<Served, String>>,
}

/// What the push is to do next.
pub(super) enum Work {
    /// Send these pages, about as many as were asked for.
    Pages(Vec<PageRange>),
    /// Put these pages in order first.
    Sort(Box<Heat>, PageSet),
    /// Nothing more: it is over, or the line is lost.
    Stop,
}

impl Shared {
    pub(super) fn new(task: Task, dial: Dial) -> Self {
        let pages = task.ram.layout().pages();
        let inner = Inner {
            dial,
            dials: 0,
            over: false,
            begun: false,
            heat: None,
            lines: Lines::new("the destination has not been reached yet"),
            closers: [None, None],
            order: Order::new(pages),
            told: false,
            first: None,
            answered: PageSet::empty(pages),
            answering: 0,
            faults: 0,
            pages: Pages::ZERO,
            bytes: Bytes::ZERO,
            outcome: None,
        };
        Self { task, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panics ends its line; what it leaves behind is whole between statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until something has changed, at most until `until`.
    pub(super) fn pause<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Inner> {
        match until {
            None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(inner, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    pub(super) fn begin(&self, heat: Option<Heat>) {
        let mut inner = self.lock();
        if !inner.begun {
            inner.begun = true;
            inner.heat = heat.map(Box::new);
            self.notify();
        }
    }

    pub(super) fn redirect(&self, dial: Dial) {
        let mut inner = self.lock();
        inner.dial = dial;
        inner.dials += 1;
        inner.closers.iter().flatten().for_each(Closer::close);
        self.notify();
    }

    pub(super) fn end(&self) {
        self.end_with(None);
    }

    fn end_with(&self, outcome: Option<Result<Served, String>>) {
        let mut inner = self.lock();
        inner.over = true;
        if inner.outcome.is_none() {
            inner.outcome = outcome;
        }
        inner.closers.iter().flatten().for_each(Closer::close);
        self.notify();
    }

    pub(super) fn state(&self) -> State {
        let inner = self.lock();
        State {
            missing: inner.first.as_ref().map(|_| inner.order.lacking().len()),
            pages: inner.pages,
            bytes: inner.bytes,
            faults: inner.faults,
            recoveries: inner.lines.recoveries(),
            link: inner.lines.link(),
        }
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Result<Served, String>> {
        let until = Instant::now().checked_add(timeout);
        let mut inner = self.lock();
        while inner.outcome.is_none()
            && !inner.over
            && until.is_none_or(|until| Instant::now() < until)
        {
            inner = self.pause(inner, until);
        }
        inner.outcome.clone()
    }

    /// A line is there; `false`: it is not wanted any more.
    pub(super) fn connected(&self, line: PageLine, closer: Closer) -> bool {
        let mut inner = self.lock();
        if inner.over {
            return false;
        }
        inner.closers[place(line)] = Some(closer);
        inner.lines.connected(line);
        true
    }

    /// A line is lost. What was sent over it counts as not sent.
    pub(super) fn lost(&self, line: PageLine, why: &str) {
        let mut inner = self.lock();
        inner.closers[place(line)] = None;
        match line {
            PageLine::Faults => {
                let Inner { order, answered, told, .. } = &mut *inner;
                if *told {
                    order.lacks(answered);
                }
                answered.clear();
            }
            // It will be said anew what is missing.
            PageLine::Push => inner.told = false,
        }
        if !inner.over {
            tracing::warn!(?line, why, "the link is lost over which pages follow a machine");
            inner.lines.lost(line, why.to_owned());
        }
        self.notify();
    }

    /// Waits until pages may be served; `false`: they never will be over this line.
    pub(super) fn wait_begun(&self) -> bool {
        let mut inner = self.lock();
        while !inner.begun && !inner.over {
            inner = self.pause(inner, None);
        }
        !inner.over
    }

    /// Somebody waits for these pages: they are sent before anything else is, once any may be.
    pub(super) fn answering(&self, wanted: &[PageRange]) {
        let mut inner = self.lock();
        let Inner { order, answered, answering, .. } = &mut *inner;
        for pages in wanted {
            order.fault(*pages);
            answered.insert_range(*pages);
        }
        *answering += 1;
        self.notify();
    }

    /// They have been given to the socket, or it failed.
    pub(super) fn answered(&self, wanted: &[PageRange], bytes: Bytes) {
        let mut inner = self.lock();
        inner.answering -= 1;
        inner.faults += wanted.len() as u64;
        inner.pages += wanted.iter().copied().map(PageRange::len).sum();
        inner.bytes += bytes;
        self.notify();
    }

    /// The destination has said what it lacks.
    pub(super) fn lacks(&self, mut pages: PageSet) {
        let mut inner = self.lock();
        if inner.first.is_none() {
            inner.first = Some(self.task.verify.then(|| pages.clone()));
        }
        // What was sent over the faults line that is there arrives, or that line is lost.
        pages.subtract(&inner.answered);
        inner.order.begin(pages);
        inner.told = true;
        self.notify();
    }

    /// The destination has everything.
    pub(super) fn whole(&self, faults: Faults, digest: Option<u128>) {
        let first = self.lock().first.clone().flatten();
        let digest_equal = first.zip(digest).and_then(|(first, theirs)| {
            let ours = self.digest(first)?;
            if ours != theirs {
                tracing::error!(
                    ours = format!("{ours:032x}"),
                    theirs = format!("{theirs:032x}"),
                    "pages that followed a machine did not arrive as they were: do not trust it"
                );
            }
            Some(ours == theirs)
        });
        let served = {
            let inner = self.lock();
            let recoveries = inner.lines.recoveries();
            Served { faults, pages: inner.pages, bytes: inner.bytes, recoveries, digest_equal }
        };
        self.end_with(Some(Ok(served)));
    }

    fn digest(&self, pages: PageSet) -> Option<u128> {
        let mut others = PageSet::full(pages.capacity());
        others.subtract(&pages);
        match self.task.ram.digest_without(&others) {
            Ok(digest) => Some(digest.get()),
            Err(error) => {
                tracing::error!(%error, "the pages that followed a machine are not verified");
                None
            }
        }
    }

    /// The destination's machine has ended.
    pub(super) fn failed(&self, reason: String) {
        self.end_with(Some(Err(reason)));
    }

    /// What to push next, once there is something, while `line_is_there`; and whether it had to be
    /// waited for.
    pub(super) fn next_work(&self, most: Pages, line_is_there: impl Fn() -> bool) -> (Work, bool) {
        let mut waited = false;
        let mut inner = self.lock();
        loop {
            if inner.over || !line_is_there() {
                return (Work::Stop, waited);
            }
            if inner.begun && inner.told && inner.answering == 0 {
                if let Some(heat) = inner.heat.take() {
                    let pages = inner.order.lacking().clone();
                    return (Work::Sort(heat, pages), waited);
                }
                let runs = inner.take(most);
                if !runs.is_empty() {
                    return (Work::Pages(runs), waited);
                }
            }
            waited = true;
            inner = self.pause(inner, None);
        }
    }

    /// These pages are likely used, the hottest first.
    pub(super) fn expect(&self, classes: Vec<PageSet>) {
        self.lock().order.expect(classes);
    }

    /// So much was given to the socket of the push line.
    pub(super) fn pushed(&self, pages: Pages, bytes: Bytes) {
        let mut inner = self.lock();
        inner.pages += pages;
        inner.bytes += bytes;
    }

    /// Lets some time pass; `false`: it is over.
    pub(super) fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inner = self.lock();
        while !inner.over && Instant::now() < until {
            inner = self.pause(inner, Some(until));
        }
        !inner.over
    }

    /// The line is to be given up, and whoever waits is to see that.
    pub(super) fn wake(&self) {
        let _inner = self.lock();
        self.notify();
    }
}

impl Inner {
    fn take(&mut self, most: Pages) -> Vec<PageRange> {
        let (mut runs, mut left) = (Vec::new(), most);
        while left > Pages::ZERO {
            let Some(run) = self.order.next(left) else { break };
            left = left - run.len();
            runs.push(run);
        }
        runs
    }
}
