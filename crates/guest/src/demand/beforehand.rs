//! What of paging on demand is done while the machine still runs elsewhere.

use punctual_units::{PageSet, Pages};

use super::attach::Made;
use super::contract::told;
use super::{Paged, Pager, Record};
use crate::trace::Pid;
use crate::{MachineError, Ram};

/// What is known, and done, of the pages that a process will lack before it begins to be paged on
/// demand: they are taken out of its RAM, and it has made the userfaultfd that will watch it. For that
/// one of its threads is stopped by a program of its own, which takes some milliseconds on a busy host.
///
/// Dropping it closes what was made for nothing.
#[derive(Debug)]
pub struct Beforehand {
    holes: PageSet,
    made: Option<Made>,
}

impl Beforehand {
    /// Of a machine of so many pages, of which nothing is known to be missing.
    #[must_use]
    pub fn new(pages: Pages) -> Self {
        Self { holes: PageSet::empty(pages), made: None }
    }

    /// Takes these pages out, which will be among those that are missing.
    ///
    /// # Errors
    /// They cannot be taken out, or the process cannot be paged on demand.
    pub fn forget(
        &mut self,
        machine: &str,
        pid: Pid,
        ram: &Ram,
        pages: &PageSet,
    ) -> Result<(), MachineError> {
        if self.made.is_none() {
            self.made = Some(told(machine, "make a userfaultfd", Made::new(pid, ram))?);
        }
        let punched = pages.ranges().try_for_each(|run| ram.punch(run));
        told(machine, "take pages away", punched.map_err(Into::into))?;
        self.holes.union(pages);
        Ok(())
    }

    /// Writes down what is missing, and begins to page the process on demand: see
    /// [`Pager::attach_with_holes`].
    ///
    /// # Errors
    /// It cannot be written down, or the process cannot be paged on demand, or a page that was taken
    /// out is not missing. Discard the machine: pages may have been taken out of its RAM.
    pub fn begin(
        &mut self,
        machine: &str,
        pid: Pid,
        ram: &Ram,
        missing: &PageSet,
        record: Record,
    ) -> Result<Paged, MachineError> {
        let holes = std::mem::replace(&mut self.holes, PageSet::empty(missing.capacity()));
        let made = self.made.take();
        Paged::begin(machine, record, missing, || match made {
            Some(made) => Pager::attach_made(made, ram, missing, &holes),
            None => Pager::attach_with_holes(pid, ram, missing, &holes),
        })
    }
}

impl Drop for Beforehand {
    fn drop(&mut self) {
        self.made.iter().for_each(Made::close);
    }
}
