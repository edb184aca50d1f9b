//! What the engine asks of a machine that runs while pages of it are still elsewhere.

use std::time::{Duration, Instant};

use punctual_units::{PageRange, PageSet, Pages};

use super::{DemandError, Fault, Pager, Record};
use crate::trace::Pid;
use crate::{MachineError, Ram};

/// A machine some of whose pages are still elsewhere: whoever touches one waits until it is filled.
///
/// All methods take `&self`: one thread asks for faults while others fill pages in any order.
/// Dropping it leaves everything that is missing waiting.
pub trait Demand: Send + Sync {
    /// The pages that have not been filled, nor are just being filled.
    fn missing(&self) -> PageSet;

    /// The pages that somebody waits for and that have been told: to ask for them again after the
    /// link was lost.
    fn waited_for(&self) -> PageSet;

    /// Waits for the next fault on a missing page, at most so long: which pages are needed, and
    /// since when. It must be called until the end: faults on pages that are not missing are
    /// answered by it.
    ///
    /// # Errors
    /// The machine is gone.
    fn next_fault(&self, timeout: Duration) -> Result<Option<(PageRange, Instant)>, MachineError>;

    /// Puts `bytes` in as the content of those of `pages` that are missing, and wakes who waits.
    /// The others are left alone. The result is how many were missing.
    ///
    /// # Errors
    /// The machine is gone, or a page cannot be filled.
    fn fill(&self, pages: PageRange, bytes: &[u8]) -> Result<Pages, MachineError>;

    /// Does the same with zeros.
    ///
    /// # Errors
    /// As [`Demand::fill`].
    fn fill_zero(&self, pages: PageRange) -> Result<Pages, MachineError>;

    /// Ends it once nothing is missing: the machine depends on nobody any more. Who calls it twice
    /// does no harm.
    ///
    /// # Errors
    /// Pages are still missing or just being filled, or the machine is gone.
    fn finish(&self) -> Result<(), MachineError>;
}

/// A pager that knows the name of its machine, and keeps a [`Record`] of what was missing, so that
/// the next daemon can take it over.
#[derive(Debug)]
pub struct Paged {
    machine: String,
    pager: Pager,
    record: Option<Record>,
}

impl Paged {
    /// A machine of this name, of which nothing is written down.
    #[must_use]
    pub fn new(machine: impl Into<String>, pager: Pager) -> Self {
        Self { machine: machine.into(), pager, record: None }
    }

    /// Writes down what is missing and begins to page a process on demand.
    pub(super) fn begin(
        machine: &str,
        record: Record,
        missing: &PageSet,
        attach: impl FnOnce() -> Result<Pager, DemandError>,
    ) -> Result<Self, MachineError> {
        let begin = || {
            // First, so that there is no moment in which it is missing and nobody could know.
            record.write(missing)?;
            attach().inspect_err(|_| drop(record.remove()))
        };
        let pager = told(machine, "page on demand", begin())?;
        Ok(Self { machine: machine.to_owned(), pager, record: Some(record) })
    }

    /// Goes on where the paging of a machine was left by a program that was killed; `None`: it
    /// depends on nobody. See [`Pager::take_over`]. It asks the process itself nothing, which may
    /// be waiting for a page.
    ///
    /// # Errors
    /// It is written down that pages are missing, and the process is gone or does not wait for them.
    pub fn take_over(
        machine: &str,
        pid: Pid,
        ram: &Ram,
        record: Record,
    ) -> Result<Option<Self>, MachineError> {
        let take_over = || {
            let Some(missing) = record.read(ram.layout().pages())? else { return Ok(None) };
            match Pager::take_over(pid, ram, &missing) {
                Ok(pager) => Ok(Some(pager)),
                // The last thing that was to be done when the program was killed.
                Err(DemandError::NothingLeft { .. }) if missing.is_empty() => {
                    Ok(record.remove().map(|()| None)?)
                }
                Err(error) => Err(error),
            }
        };
        let pager = told(machine, "take over the paging on demand", take_over())?;
        Ok(pager.map(|pager| Self { machine: machine.to_owned(), pager, record: Some(record) }))
    }

    /// What it takes to end it, in an order that lets the next daemon end it where this one is
    /// killed in between: that nothing is missing is written down, and then nobody is made to wait
    /// any more.
    fn end(&self) -> Result<(), DemandError> {
        let Some(record) = self.record.as_ref().filter(|record| record.exists()) else {
            return self.pager.finish();
        };
        self.pager.check_nothing_missing()?;
        record.write(&PageSet::empty(self.pager.missing().capacity()))?;
        self.pager.finish()?;
        Ok(record.remove()?)
    }

    fn told<T>(
        &self,
        action: &'static str,
        result: Result<T, DemandError>,
    ) -> Result<T, MachineError> {
        told(&self.machine, action, result)
    }
}

pub(super) fn told<T>(
    machine: &str,
    action: &'static str,
    result: Result<T, DemandError>,
) -> Result<T, MachineError> {
    result.map_err(|error| {
        let machine = machine.to_owned();
        MachineError { machine, action, cause: Box::new(error) }
    })
}

impl Demand for Paged {
    fn missing(&self) -> PageSet {
        self.pager.missing()
    }

    fn waited_for(&self) -> PageSet {
        self.pager.waited_for()
    }

    fn next_fault(&self, timeout: Duration) -> Result<Option<(PageRange, Instant)>, MachineError> {
        let fault = self.told("hear who waits for a page", self.pager.next_fault(timeout))?;
        Ok(fault.map(|Fault { pages, at, .. }| (pages, at)))
    }

    fn fill(&self, pages: PageRange, bytes: &[u8]) -> Result<Pages, MachineError> {
        self.told("fill pages", self.pager.fill(pages, bytes))
    }

    fn fill_zero(&self, pages: PageRange) -> Result<Pages, MachineError> {
        self.told("fill pages with zeros", self.pager.fill_zero(pages))
    }

    fn finish(&self) -> Result<(), MachineError> {
        self.told("end paging on demand", self.end())
    }
}
