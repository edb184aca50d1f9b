//! What the engine asks of a machine that runs while pages of it are still elsewhere.

use std::time::{Duration, Instant};

use punctual_units::{PageRange, PageSet, Pages};

use super::{Fault, Pager};
use crate::MachineError;

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
    /// Pages are still missing, or the machine is gone.
    fn finish(&self) -> Result<(), MachineError>;
}

/// A pager that knows the name of its machine.
#[derive(Debug)]
pub struct Paged {
    machine: String,
    pager: Pager,
}

impl Paged {
    /// A machine of this name.
    #[must_use]
    pub fn new(machine: impl Into<String>, pager: Pager) -> Self {
        Self { machine: machine.into(), pager }
    }

    fn told<T>(
        &self,
        action: &'static str,
        result: Result<T, super::DemandError>,
    ) -> Result<T, MachineError> {
        result.map_err(|error| {
            let machine = self.machine.clone();
            MachineError { machine, action, cause: Box::new(error) }
        })
    }
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
        self.told("end paging on demand", self.pager.finish())
    }
}
