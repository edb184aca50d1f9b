//! How the paging of a process begins, anew or taken over.

use std::fs;
use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use punctual_units::{PAGE_SIZE, PageRange, PageSet, RegionIndex};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use super::places::Places;
use super::{DemandError, Pager, kernel};
use crate::trace::place::Place;
use crate::trace::target::Target;
use crate::trace::{Pid, TraceError, inject};
use crate::{Ram, RamIoError};

/// How often it is tried to take pages out of the file: who holds one for a moment lets go of it.
const ATTEMPTS: usize = 8;

/// A userfaultfd in a process, which watches nothing yet, and here.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) target: Target,
    pub(super) places: Places,
    pub(super) userfaultfd: OwnedFd,
    /// Its number in the process.
    pub(super) there: RawFd,
}

impl Made {
    /// Has the process make one, to watch its mappings of `ram`.
    pub(super) fn new(pid: Pid, ram: &Ram) -> Result<Self, DemandError> {
        let (target, places) = find(pid, ram)?;
        let (userfaultfd, there) = make(&target)?;
        Ok(Self { target, places, userfaultfd, there })
    }

    /// Closes it in the process.
    pub(super) fn close(&self) {
        close_there(&self.target, self.there);
    }
}

/// Closes the userfaultfd of this number in the process, if it is there still.
pub(super) fn close_there(target: &Target, there: RawFd) {
    if !is_userfaultfd(target, there) {
        return;
    }
    if let Err(error) = inject::close(target, there) {
        tracing::warn!(
            "descriptor {there} stays open in process {}, which harms nothing: {error}",
            target.pid()
        );
    }
}

/// The process, and where it has mapped the RAM.
pub(super) fn find(pid: Pid, ram: &Ram) -> Result<(Target, Places), DemandError> {
    let target = Target::open(pid)?;
    let places = Places::find(&target, ram)?;
    Ok((target, places))
}

/// `pages`, and what else lies in the same host pages.
pub(super) fn whole_host_pages(places: &Places, pages: &PageSet) -> PageSet {
    let mut whole = pages.clone();
    for (place, part) in pages.ranges().flat_map(|run| places.to_fill(run)) {
        let first = place.host_page_at(place.address(part.start.0)).start;
        let last = place.host_page_at(place.address(part.end.0 - 1)).end;
        whole.insert_range(PageRange { start: first, end: last });
    }
    whole
}

/// A userfaultfd in the process and here.
fn make(target: &Target) -> Result<(OwnedFd, RawFd), DemandError> {
    inject::lasting_userfaultfd(target).map_err(|error| match error {
        TraceError::Denied { pid } => DemandError::UserFaultsOnly { pid },
        TraceError::Kernel { missing } => DemandError::Kernel { missing },
        other => other.into(),
    })
}

/// Registers the RAM, and makes holes of the missing pages, but for `holes`, which are some already.
/// First the one, then the other: what is touched in between is made a hole again, what is touched
/// later waits.
pub(super) fn begin(pager: &Pager, ram: &Ram, holes: &PageSet) -> Result<(), DemandError> {
    let huge = pager.places.all().any(|place| place.host_page > PAGE_SIZE);
    let small = pager.places.all().any(|place| place.host_page == PAGE_SIZE);
    let features =
        if huge { kernel::HUGE_PAGES } else { 0 } | if small { kernel::SMALL_PAGES } else { 0 };
    kernel::agree(&pager.userfaultfd, features).map_err(|error| match error {
        Errno::EINVAL if huge => DemandError::Kernel {
            missing: "no UFFD_FEATURE_MISSING_SHMEM or UFFD_FEATURE_MISSING_HUGETLBFS",
        },
        Errno::EINVAL => DemandError::Kernel { missing: "no UFFD_FEATURE_MISSING_SHMEM" },
        _ => pager.error("set up the userfaultfd", error),
    })?;
    for place in pager.places.all() {
        kernel::register(&pager.userfaultfd, place.start, place.end()).map_err(
            |error| match error {
                Errno::EBUSY => TraceError::AlreadyWatched { pid: pager.target.pid() }.into(),
                Errno::EINVAL => {
                    DemandError::Kernel { missing: "no faults on missing pages of this file" }
                }
                _ => pager.error("watch its RAM", error),
            },
        )?;
    }
    take_out(pager, ram, holes)
}

/// Makes holes of the missing pages, and makes sure that they are. Those are punched, too, that the
/// file does not show: memory that was only reserved makes nobody wait.
fn take_out(pager: &Pager, ram: &Ram, holes: &PageSet) -> Result<(), DemandError> {
    let missing = pager.missing();
    let mut there = missing.clone();
    there.subtract(holes);
    for _ in 0..ATTEMPTS {
        there.ranges().try_for_each(|run| ram.punch(run))?;
        there = known_to_be_there(ram, &missing)?;
        if there.is_empty() {
            return Ok(());
        }
    }
    let page = there.iter().next().expect("not empty");
    Err(DemandError::StillThere { pid: pager.target.pid(), page })
}

/// Those of `pages` that the file has, where it tells: hugetlbfs does not. There a hole is always
/// made as a whole, and a page that the former pager has filled is found when it is filled again.
pub(super) fn known_to_be_there(ram: &Ram, pages: &PageSet) -> Result<PageSet, RamIoError> {
    let mut there = ram.populated_among(pages)?;
    for index in (0..ram.layout().regions().len()).map(RegionIndex) {
        if ram.host_page(index) > PAGE_SIZE {
            there.remove_range(ram.layout().range_of(index));
        }
    }
    Ok(there)
}

/// The userfaultfd in the process that watches its RAM, with its number there. Who was killed while
/// it let go of the RAM has left a part of it unwatched, which is watched again.
pub(super) fn left_behind(
    target: &Target,
    places: &Places,
) -> Result<(OwnedFd, RawFd), DemandError> {
    let pid = target.pid();
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .map_err(|cause| target.error("list its descriptors", cause))?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for there in numbers.filter(|there| is_userfaultfd(target, *there)) {
        let taken = pidfd_getfd(target.pidfd(), there, PidfdGetfdFlags::empty())
            .map_err(|error| target.error("take its userfaultfd over", error.into()))?;
        let watched = places.all().any(|place| watches(&taken, place));
        // The kernel refuses it for what another one watches.
        let again = |place: &Place| kernel::register(&taken, place.start, place.end()).is_ok();
        if watched && places.all().all(again) {
            return Ok((taken, there));
        }
    }
    Err(DemandError::NothingLeft { pid })
}

/// Whether a userfaultfd, or another of the process, watches a place for missing pages.
fn watches(userfaultfd: &OwnedFd, place: &Place) -> bool {
    let probed = kernel::probe(userfaultfd, place.start, place.host_page.get());
    matches!(probed, Err(Errno::EFAULT | Errno::EEXIST))
}

/// Whether this is the number of a userfaultfd in the process.
fn is_userfaultfd(target: &Target, there: RawFd) -> bool {
    let link = fs::read_link(format!("/proc/{}/fd/{there}", target.pid()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]")
}

/// An error of the process; "gone" if that is what it is.
pub(super) fn error(target: &Target, action: &'static str, error: Errno) -> DemandError {
    if matches!(error, Errno::ENOMEM | Errno::ENOSPC) && target.alive() {
        return DemandError::NoMemory { pid: target.pid() };
    }
    match target.error(action, error.into()) {
        TraceError::System { pid, action, cause } => DemandError::System { pid, action, cause },
        other => other.into(),
    }
}
