use std::collections::VecDeque;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use punctual_units::{PageRange, PageSet, Pages};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attach::{self, Made};
use super::filling::{Content, Piece};
use super::ledger::{Ledger, Meaning};
use super::places::Places;
use super::{DemandError, kernel};
use crate::Ram;
use crate::trace::place::Place;
use crate::trace::target::Target;
use crate::trace::{Pid, TraceError};

/// Somebody waits for pages that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The pages that are needed: one, or all of a huge page on hugetlbfs.
    pub pages: PageRange,
    /// The thread that waits, by its number in the process's own PID namespace.
    pub thread: i32,
    /// Whether it was about to write.
    pub write: bool,
    /// When this program learnt of it.
    pub at: Instant,
}

/// Answers the faults of one process on pages of its RAM that are not there yet.
///
/// All methods take `&self`: one thread asks for faults while others fill pages in any order.
/// Dropping it leaves everything that is missing waiting in the process: see
/// [`Pager::take_over`]. To give up, kill the process (SIGKILL ends threads that wait, too).
#[derive(Debug)]
pub struct Pager {
    pub(super) target: Target,
    pub(super) userfaultfd: OwnedFd,
    /// Its number in the process.
    pub(super) there: RawFd,
    pub(super) places: Places,
    /// Whether another pager may have filled pages before this one.
    pub(super) inherited: bool,
    ledger: Mutex<Ledger>,
    /// Faults that have been read and not been told yet.
    untold: Mutex<VecDeque<Fault>>,
    finished: AtomicBool,
}

impl Pager {
    /// Begins to page the process `pid` on demand, wherever it has mapped `ram`: `missing` are the
    /// pages whose content is elsewhere. All others must be as they are to be; a hole among them is
    /// zero. On hugetlbfs whole host pages are missing: see [`Pager::missing`].
    ///
    /// What the file has of the missing pages is taken away, so that they fault. The process should
    /// be paused and not have used them; it may touch them from now on, and then waits.
    ///
    /// One thread of it stands still for some 0.1 ms. Takes about a microsecond for each run of
    /// missing pages; where they have to be taken away 3 to 5 µs for each that lies alone, and 0.25 s
    /// for each GiB that lies together (3 ms on a tmpfs of huge pages).
    ///
    /// # Errors
    /// The process cannot be paged on demand; see [`DemandError`].
    ///
    /// # Panics
    /// `missing` is of another machine than `ram`.
    pub fn attach(pid: Pid, ram: &Ram, missing: &PageSet) -> Result<Self, DemandError> {
        Self::attach_with_holes(pid, ram, missing, &PageSet::empty(missing.capacity()))
    }

    /// The same where some of the missing pages have been [punched](Ram::punch) before, and nobody
    /// has filled or reserved them since: they are only looked at, which takes 0.3 µs for each.
    ///
    /// # Errors
    /// As [`Pager::attach`]. Also if one of `holes` is not missing: it would be read as zero.
    ///
    /// # Panics
    /// `missing` or `holes` is of another machine than `ram`.
    pub fn attach_with_holes(
        pid: Pid,
        ram: &Ram,
        missing: &PageSet,
        holes: &PageSet,
    ) -> Result<Self, DemandError> {
        Self::attach_made(Made::new(pid, ram)?, ram, missing, holes)
    }

    /// The same with a userfaultfd that the process has made before.
    pub(super) fn attach_made(
        made: Made,
        ram: &Ram,
        missing: &PageSet,
        holes: &PageSet,
    ) -> Result<Self, DemandError> {
        let mut lost = holes.clone();
        lost.subtract(missing);
        if let Some(page) = lost.iter().next() {
            made.close();
            return Err(DemandError::Lost { pid: made.target.pid(), page });
        }
        let Made { target, places, userfaultfd, there } = made;
        let missing = attach::whole_host_pages(&places, missing);
        let pager = Self::new(target, userfaultfd, there, places, missing, false);
        // With its last descriptor all that it watches is let go. Not by addresses: older kernels
        // let go of what another userfaultfd watches there, too.
        attach::begin(&pager, ram, holes).inspect_err(|_| pager.close_there())?;
        Ok(pager)
    }

    /// Goes on where another pager of the process ended without [`Pager::finish`], as when its
    /// program was killed. `missing` is the set that it was attached with; what it has filled since
    /// is found out. Everybody who waits is told as a new fault.
    ///
    /// The former must be gone: two pagers of one process would miss each other's faults.
    ///
    /// Nothing is injected; the process runs on. Takes as long as [`Ram::populated`].
    ///
    /// # Errors
    /// The process is gone, or is not being paged on demand.
    ///
    /// # Panics
    /// `missing` is of another machine than `ram`.
    pub fn take_over(pid: Pid, ram: &Ram, missing: &PageSet) -> Result<Self, DemandError> {
        let (target, places) = attach::find(pid, ram)?;
        let mut missing = attach::whole_host_pages(&places, missing);
        let (userfaultfd, there) = attach::left_behind(&target, &places)?;
        // Every page that the file has was filled: at first none of them was there.
        missing.subtract(&attach::known_to_be_there(ram, &missing)?);
        let pager = Self::new(target, userfaultfd, there, places, missing, true);
        for place in pager.places.all() {
            kernel::wake(&pager.userfaultfd, place.start, place.end())
                .map_err(|error| pager.error("have its faults raised again", error))?;
        }
        Ok(pager)
    }

    fn new(
        target: Target,
        userfaultfd: OwnedFd,
        there: RawFd,
        places: Places,
        missing: PageSet,
        inherited: bool,
    ) -> Self {
        let ledger = Mutex::new(Ledger::new(missing));
        let (untold, finished) = (Mutex::default(), AtomicBool::new(false));
        Self { target, userfaultfd, there, places, inherited, ledger, untold, finished }
    }

    /// The pages that have not been filled, nor are just being filled. On hugetlbfs these are whole
    /// host pages, even if only a part of one was named as missing.
    #[must_use]
    pub fn missing(&self) -> PageSet {
        self.ledger().missing().clone()
    }

    /// The pages that [`Pager::next_fault`] has told, or is about to tell, and that have not been
    /// filled: to ask for them again after the link was lost.
    #[must_use]
    pub fn waited_for(&self) -> PageSet {
        self.ledger().asked().clone()
    }

    /// Waits for the next fault on a missing page; `None`: there was none within `timeout`. Several
    /// threads that wait for one page make one fault. Faults on pages that are not missing are
    /// answered here and not told.
    ///
    /// # Errors
    /// The process is gone.
    pub fn next_fault(&self, timeout: Duration) -> Result<Option<Fault>, DemandError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(fault) = self.next_untold() {
                return Ok(Some(fault));
            }
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !self.wait(rest)? {
                return Ok(None);
            }
            self.read_faults()?;
        }
    }

    /// Puts `bytes` in as the content of those of `pages` that are missing, and wakes who waits for
    /// them. The others are left alone. The result is how many were missing.
    ///
    /// Takes some 5 µs for one page, and somewhat less for each page of a long run.
    ///
    /// # Errors
    /// The process is gone, or a page cannot be filled; it is missing still, unless it was
    /// [`Occupied`](DemandError::Occupied).
    ///
    /// # Panics
    /// `bytes` has another size than the pages, or the machine has no such pages.
    pub fn fill(&self, pages: PageRange, bytes: &[u8]) -> Result<Pages, DemandError> {
        assert_eq!(pages.len().bytes().get(), bytes.len() as u64, "bytes for {pages:?}");
        self.check_whole(pages)?;
        let claimed = self.ledger().claim(pages);
        self.put_in(&claimed, Content::Bytes(bytes, pages.start))?;
        Ok(claimed.into_iter().map(PageRange::len).sum())
    }

    /// Does the same with zeros. Pages that nobody waits for stay holes, which take no memory.
    ///
    /// # Errors
    /// As [`Pager::fill`].
    pub fn fill_zero(&self, pages: PageRange) -> Result<Pages, DemandError> {
        self.check_whole(pages)?;
        let (zero, claimed) = self.ledger().claim_zero(pages);
        self.put_in(&claimed, Content::Zero)?;
        Ok(zero)
    }

    /// Ends the paging on demand once nothing is missing: the process depends on nobody any more,
    /// and has no descriptor of ours left. Who calls it twice does no harm.
    ///
    /// One thread of the process stands still for some 0.1 ms. If it cannot be stopped for that, the
    /// descriptor stays open there, which harms nothing, and a warning is logged.
    ///
    /// # Errors
    /// Pages are still missing: nothing has changed. Or the process is gone.
    pub fn finish(&self) -> Result<(), DemandError> {
        self.check_nothing_missing()?;
        if self.finished.swap(true, Ordering::Relaxed) {
            return Ok(()); // what is watched there now is another's, and so is the number
        }
        for place in self.places.all() {
            match kernel::unregister(&self.userfaultfd, place.start, place.end()) {
                // The process has unmapped it, as it does with a memory module taken out.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(error) => return Err(self.error("let go of its RAM", error)),
            }
        }
        self.close_there();
        Ok(())
    }

    pub(super) fn check_nothing_missing(&self) -> Result<(), DemandError> {
        match self.ledger().outstanding() {
            Pages::ZERO => Ok(()),
            missing => Err(DemandError::StillMissing { pid: self.target.pid(), missing }),
        }
    }

    fn close_there(&self) {
        attach::close_there(&self.target, self.there);
    }

    /// The next fault that has been read, unless it has been answered meanwhile.
    fn next_untold(&self) -> Option<Fault> {
        let mut untold = self.untold();
        while let Some(fault) = untold.pop_front() {
            if self.ledger().missing().contains(fault.pages.start) {
                return Some(fault);
            }
        }
        None
    }

    /// Waits until there is something to read.
    fn wait(&self, timeout: Option<Duration>) -> Result<bool, DemandError> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // A pidfd becomes readable when the process ends.
        let mut waited_for = [
            PollFd::new(&self.userfaultfd, PollFlags::IN),
            PollFd::new(self.target.pidfd(), PollFlags::IN),
        ];
        match poll(&mut waited_for, timeout.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) if !waited_for[1].revents().is_empty() => {
                Err(TraceError::Gone { pid: self.target.pid() }.into())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => {
                Err(self.error("wait for a fault", Errno::from_raw(error.raw_os_error())))
            }
        }
    }

    fn read_faults(&self) -> Result<(), DemandError> {
        let messages = kernel::faults(&self.userfaultfd)
            .map_err(|cause| self.target.error("read a fault", cause))?;
        let at = Instant::now();
        let mut outcome = Ok(());
        for kernel::Message { address, thread, write } in messages {
            let Some(place) = self.places.at(address) else { continue };
            let pages = place.host_page_at(address);
            // What it means is settled in the same moment in which it is noted, so that no page
            // is filled, or found to be zero, between the two.
            let meaning = self.ledger().fault(pages);
            match meaning {
                Meaning::Ask => self.untold().push_back(Fault { pages, thread, write, at }),
                Meaning::OnTheirWay => {}
                // An error must not keep the other messages from being heard: they come once.
                Meaning::There => outcome = outcome.and(self.let_go_on(place, pages)),
            }
        }
        outcome
    }

    /// Answers a fault on a page that is not missing: it was filled since, perhaps through another
    /// mapping, or it has always been a hole.
    fn let_go_on(&self, place: &Place, pages: PageRange) -> Result<(), DemandError> {
        match self.put(Piece { place: *place, pages }, Content::Zero) {
            Ok(()) => Ok(()),
            Err((_, Errno::EEXIST)) => self.wake(place, pages),
            Err((_, error)) => {
                // Whoever waits raises the fault once more.
                self.wake(place, pages)?;
                Err(self.error("answer a fault on a zero page", error))
            }
        }
    }

    pub(super) fn error(&self, action: &'static str, error: Errno) -> DemandError {
        attach::error(&self.target, action, error)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while it holds the ledger")
    }

    fn untold(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.untold.lock().expect("nothing panics while it holds the queue")
    }
}
