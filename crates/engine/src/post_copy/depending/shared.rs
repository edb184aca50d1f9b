//! What the threads of the destination share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use punctual_guest::demand::Demand;
use punctual_guest::{MachineError, RamDigest};
use punctual_link::{Closer, Sender};
use punctual_units::{MemoryLayout, PageRange, PageSet, Pages};
use punctual_wire::{DestinationMessage, Faults, PageLine, PageRuns};

use super::Dependence;
use super::waiting::Waiting;
use crate::driver::told;
use crate::post_copy::{Lines, place};

pub(super) struct Shared {
    pub(super) demand: Arc<dyn Demand>,
    pub(super) layout: MemoryLayout,
    /// How many pages are missing, counted as they are filled.
    pub(super) missing: AtomicU64,
    /// That count is not sure any more: it is to be looked at.
    pub(super) unsure: AtomicBool,
    pub(super) waiting: Mutex<Waiting>,
    pub(super) verified: Option<Mutex<Verified>>,
    /// Pages that nobody waits for but that will not come by themselves over the push line.
    asked_for: Mutex<Vec<PageRange>>,
    /// Where things can be said, each with a lock of its own: saying may take its time.
    mouths: [Mutex<Option<Sender>>; 2],
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What is known of the content of the pages that were missing at first.
pub(super) struct Verified {
    /// All of them.
    first: PageSet,
    /// Those that have not come.
    pub(super) left: PageSet,
    /// The sum of those that have.
    pub(super) digest: RamDigest,
    /// Whether one has come over a push line: the source knows then which they were.
    pub(super) pushed: bool,
}

struct Inner {
    over: bool,
    outcome: Option<Result<(), Arc<MachineError>>>,
    lines: Lines,
    closers: [Option<Closer>; 2],
}

impl Shared {
    pub(super) fn new(demand: Arc<dyn Demand>, layout: MemoryLayout, verify: bool) -> Self {
        let missing = demand.missing();
        let verified = verify.then(|| {
            let (first, left) = (missing.clone(), missing.clone());
            Mutex::new(Verified { first, left, digest: RamDigest::default(), pushed: false })
        });
        let inner = Inner {
            over: false,
            outcome: None,
            lines: Lines::new("the source has not been heard of yet"),
            closers: [None, None],
        };
        Self {
            demand,
            layout,
            missing: AtomicU64::new(missing.len().get()),
            unsure: AtomicBool::new(missing.is_empty()),
            waiting: Mutex::new(Waiting::new()),
            verified,
            asked_for: Mutex::default(),
            mouths: [Mutex::new(None), Mutex::new(None)],
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panics ends its line; what it leaves behind is whole between statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> Dependence {
        let (waiting, faults) = {
            let waiting = self.waiting();
            (waiting.len(), waiting.faults())
        };
        let inner = self.lock();
        Dependence {
            missing: Pages::new(self.missing.load(Ordering::SeqCst)),
            waiting,
            faults,
            recoveries: inner.lines.recoveries(),
            link: inner.lines.link(),
        }
    }

    pub(super) fn faults(&self) -> Faults {
        self.waiting().faults()
    }

    pub(super) fn digest(&self) -> Option<u128> {
        self.verified.as_ref().map(|verified| lock(verified).digest.get())
    }

    /// What to say on a new push line. Where it is verified, all that was missing at first, until
    /// it is sure that the source knows that set.
    pub(super) fn lacking(&self) -> PageSet {
        match self.verified.as_ref().map(lock) {
            Some(verified) if !verified.pushed => verified.first.clone(),
            _ => self.demand.missing(),
        }
    }

    /// Asks for pages of which parts have come and been given up, if they are still missing.
    pub(super) fn ask_for(&self, pages: PageRange) {
        if self.demand.missing().ranges_in(pages).next().is_some() {
            self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).push(pages);
            self.say(PageLine::Faults, &DestinationMessage::Want(PageRuns::one(pages)));
        }
    }

    /// What to ask for on a new faults line.
    pub(super) fn to_ask_for(&self) -> PageSet {
        let missing = self.demand.missing();
        let mut pages = self.demand.waited_for();
        let mut asked_for = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        asked_for.retain(|run| missing.ranges_in(*run).next().is_some());
        asked_for.iter().for_each(|run| pages.insert_range(*run));
        pages
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Result<Faults, Arc<MachineError>>> {
        let until = Instant::now().checked_add(timeout);
        let outcome = {
            let inner = self.pause(until, |inner| inner.outcome.is_some());
            inner.outcome.clone()?
        };
        Some(outcome.map(|()| self.faults()))
    }

    /// Waits until something holds or the time has come.
    fn pause(
        &self,
        until: Option<Instant>,
        holds: impl Fn(&Inner) -> bool,
    ) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        while !holds(&inner) {
            inner = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.changed.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        inner
    }

    /// Lets some time pass; `false`: it is over.
    pub(super) fn rest(&self, time: Duration) -> bool {
        !self.pause(Some(Instant::now() + time), |inner| inner.over).over
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Whether nothing is to be filled any more.
    pub(super) fn has_ended(&self) -> bool {
        let inner = self.lock();
        inner.over || inner.outcome.is_some()
    }

    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.over = true;
        inner.closers.iter().flatten().for_each(Closer::close);
        self.changed.notify_all();
    }

    /// The machine cannot be made whole.
    pub(super) fn failed(&self, error: MachineError) {
        let mut inner = self.lock();
        if inner.outcome.is_none() && !inner.over {
            tracing::error!(error = told(&error), "a machine that lacks pages cannot go on");
            inner.outcome = Some(Err(Arc::new(error)));
            self.changed.notify_all();
        }
    }

    /// Ends the paging if nothing is missing. Where that fails it is tried again later: the machine
    /// has all its pages.
    pub(super) fn try_to_finish(&self) {
        if self.has_ended() {
            return;
        }
        match self.demand.finish() {
            Ok(()) => {
                self.missing.store(0, Ordering::SeqCst);
                self.waiting().finish();
                let mut inner = self.lock();
                inner.outcome.get_or_insert(Ok(()));
                self.changed.notify_all();
            }
            Err(error) => {
                self.unsure.store(true, Ordering::SeqCst);
                tracing::debug!(error = told(&error), "paging on demand is not ended yet");
            }
        }
    }

    /// A line takes the place of the one before, which is closed; `false`: it is not wanted.
    pub(super) fn connected(&self, line: PageLine, closer: Closer) -> bool {
        let mut inner = self.lock();
        if inner.over {
            return false;
        }
        inner.closers[place(line)] = Some(closer);
        inner.lines.connected(line);
        true
    }

    /// Closes a line that another is to take the place of.
    pub(super) fn close(&self, line: PageLine) {
        let closer = self.lock().closers[place(line)].take();
        if let Some(closer) = closer {
            closer.close();
        }
    }

    /// From now on things can be said on a line.
    pub(super) fn open_mouth(&self, line: PageLine, sender: Sender) {
        *self.mouth(line) = Some(sender);
    }

    /// Says something on a line, if it is there. What is not heard is said again on the next one.
    pub(super) fn say(&self, line: PageLine, message: &DestinationMessage) -> bool {
        // A line that fails here fails where it is heard, too.
        self.mouth(line).as_mut().is_some_and(|sender| sender.send(message).is_ok())
    }

    fn mouth(&self, line: PageLine) -> MutexGuard<'_, Option<Sender>> {
        self.mouths[place(line)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self, line: PageLine, why: String) {
        *self.mouth(line) = None;
        let mut inner = self.lock();
        if !inner.over {
            tracing::warn!(?line, why, "the link is lost over which pages follow a machine");
            inner.lines.lost(line, why);
        }
        self.changed.notify_all();
    }

    /// Says the last word on the push line, if there is one in time, and waits until the source has
    /// closed it.
    pub(super) fn tell(&self, message: &DestinationMessage, within: Duration) {
        const LOOK: Duration = Duration::from_millis(10);
        let until = Instant::now() + within;
        loop {
            if self.say(PageLine::Push, message) {
                drop(self.pause(Some(until), |inner| inner.lines.is_lost(PageLine::Push)));
                break;
            }
            if Instant::now() >= until || !self.rest(LOOK) {
                break;
            }
        }
        self.end();
    }
}

pub(super) fn lock(verified: &Mutex<Verified>) -> MutexGuard<'_, Verified> {
    verified.lock().unwrap_or_else(PoisonError::into_inner)
}
