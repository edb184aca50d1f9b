//! Pages that are still elsewhere, without a kernel.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use punctual_units::{PageIndex, PageRange, PageSet, Pages};

use super::{Call, Fake, State, Status};
use crate::MachineError;
use crate::demand::Demand;
use crate::demand::ledger::{Ledger, Meaning};

/// What a machine keeps of its paging, whoever answers its faults.
#[derive(Debug)]
pub(super) struct Paging {
    /// What was missing in the beginning.
    record: PageSet,
    ledger: Ledger,
    /// The pages that somebody of the machine waits for.
    waiting: BTreeSet<PageIndex>,
    /// Faults that have not been told.
    untold: VecDeque<(PageRange, Instant)>,
}

impl Paging {
    fn new(record: PageSet) -> Self {
        let ledger = Ledger::new(record.clone());
        Self { record, ledger, waiting: BTreeSet::new(), untold: VecDeque::new() }
    }

    /// Somebody needs a page: whether it is there.
    pub(super) fn touch(&mut self, page: PageIndex) -> bool {
        let pages = PageRange { start: page, end: page.plus(Pages::new(1)) };
        match self.ledger.fault(pages) {
            Meaning::There => {
                self.waiting.remove(&page);
                return true;
            }
            Meaning::Ask => self.untold.push_back((pages, Instant::now())),
            Meaning::OnTheirWay => {}
        }
        self.waiting.insert(page);
        false
    }

    /// Faults that a former holder was told are told anew.
    fn begin_anew(&mut self, there: &PageSet) {
        let mut missing = self.record.clone();
        missing.subtract(there);
        self.ledger = Ledger::new(missing);
        self.untold.clear();
        for page in std::mem::take(&mut self.waiting) {
            self.touch(page);
        }
    }
}

impl Fake {
    /// Goes on where the former holder of the machine's [`Demand`] has ended before its time, as
    /// when its daemon was killed; `None`: the machine depends on nobody.
    #[must_use]
    pub fn depends(&self) -> Option<Arc<dyn Demand>> {
        let mut state = self.lock();
        state.paging.as_mut()?.begin_anew(&self.ram.populated().expect("a file in memory"));
        drop(state);
        self.shared.changed.notify_all();
        Some(Arc::new(FakeDemand { machine: self.clone() }))
    }

    /// Begins to page on demand.
    pub(super) fn page(&self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        let action = "page on demand";
        let mut state = self.called(Call::PageOnDemand, action)?;
        if state.status != Status::Waiting || state.paging.is_some() {
            return Err(self.wrong_state(action, state.status));
        }
        let punched = missing.ranges().try_for_each(|run| self.ram.punch(run));
        punched.map_err(|cause| self.error(action, &cause.to_string()))?;
        state.paging = Some(Paging::new(missing.clone()));
        Ok(Arc::new(FakeDemand { machine: self.clone() }))
    }

    /// Waits until a page is there, or the machine gone, or the time has come.
    pub(super) fn touched<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        page: PageIndex,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        while state.status != Status::Gone
            && state.paging.as_mut().is_some_and(|paging| !paging.touch(page))
            && until.is_none_or(|until| Instant::now() < until)
        {
            self.shared.changed.notify_all();
            state = self.wait(state, until);
        }
        state
    }

    /// Reads the last page, of which saving wrote the end, if it is paged on demand.
    pub(super) fn rings_read(
        &self,
        registers: u64,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, State>, MachineError> {
        let action = "load device state";
        let last = PageIndex(self.ram.layout().pages().get() - 1);
        let mut state = self.touched(self.lock(), last, Instant::now().checked_add(timeout));
        let Some(paging) = &mut state.paging else { return Ok(state) };
        if !paging.touch(last) {
            return Err(self.error(action, "it waits for a page that does not come"));
        }
        if !self.content(last).ends_with(&registers.to_le_bytes()) {
            return Err(self.error(action, "its last page is not as it was saved"));
        }
        Ok(state)
    }

    /// Waits until something has changed, or the time has come.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let changed = &self.shared.changed;
        match until {
            None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now());
                changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

/// The pages of a [`Fake`] that are elsewhere. The fake keeps them: dropping this changes nothing.
#[derive(Debug)]
struct FakeDemand {
    machine: Fake,
}

impl FakeDemand {
    fn set(&self, choose: impl Fn(&Ledger) -> &PageSet) -> PageSet {
        match &self.machine.lock().paging {
            Some(paging) => choose(&paging.ledger).clone(),
            None => PageSet::empty(self.machine.ram.layout().pages()),
        }
    }

    /// Claims some pages, and puts them in unless they are there already.
    fn put_in(
        &self,
        action: &'static str,
        pages: PageRange,
        put: impl Fn(PageRange) -> Result<(), crate::RamIoError>,
    ) -> Result<Pages, MachineError> {
        let mut state = self.living(action)?;
        let Some(paging) = &mut state.paging else { return Ok(Pages::ZERO) };
        let error = |cause: &dyn std::fmt::Display| self.machine.error(action, &cause.to_string());
        let there = self.machine.ram.populated().map_err(|cause| error(&cause))?;
        let mut filled = Pages::ZERO;
        for run in paging.ledger.claim(pages) {
            if let Some(strange) = there.ranges_in(run).next() {
                paging.ledger.give_back(run);
                let page = strange.start.0;
                return Err(error(&format!("page {page} was filled while it was missing")));
            }
            put(run).map_err(|cause| error(&cause))?;
            paging.ledger.filled(run);
            filled += run.len();
        }
        self.machine.shared.changed.notify_all();
        Ok(filled)
    }

    fn living(&self, action: &'static str) -> Result<MutexGuard<'_, State>, MachineError> {
        let state = self.machine.lock();
        match state.status {
            Status::Gone => Err(self.machine.wrong_state(action, Status::Gone)),
            _ => Ok(state),
        }
    }
}

impl Demand for FakeDemand {
    fn missing(&self) -> PageSet {
        self.set(Ledger::missing)
    }

    fn waited_for(&self) -> PageSet {
        self.set(Ledger::asked)
    }

    fn next_fault(&self, timeout: Duration) -> Result<Option<(PageRange, Instant)>, MachineError> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let mut state = self.living("hear who waits for a page")?;
            if let Some(paging) = &mut state.paging {
                while let Some((pages, at)) = paging.untold.pop_front() {
                    if paging.ledger.missing().contains(pages.start) {
                        return Ok(Some((pages, at)));
                    }
                }
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            drop(self.machine.wait(state, until));
        }
    }

    fn fill(&self, pages: PageRange, bytes: &[u8]) -> Result<Pages, MachineError> {
        assert_eq!(pages.len().bytes().get(), bytes.len() as u64, "bytes for {pages:?}");
        self.put_in("fill pages", pages, |run| {
            let from = PageRange { start: pages.start, end: run.start }.len().bytes().get();
            let length = run.len().bytes().get();
            self.machine.ram.write(run.start, &bytes[from as usize..][..length as usize])
        })
    }

    /// Leaves holes, as the real thing does of pages that nobody waits for.
    fn fill_zero(&self, pages: PageRange) -> Result<Pages, MachineError> {
        self.put_in("fill pages with zeros", pages, |_| Ok(()))
    }

    fn finish(&self) -> Result<(), MachineError> {
        let action = "end paging on demand";
        drop(self.living(action)?);
        let mut state = self.machine.called(Call::FinishPaging, action)?;
        match state.paging.as_ref().map_or(Pages::ZERO, |paging| paging.ledger.outstanding()) {
            Pages::ZERO => state.paging = None,
            missing => {
                return Err(self.machine.error(action, &format!("{missing} are still missing")));
            }
        }
        Ok(())
    }
}
