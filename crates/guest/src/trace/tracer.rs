use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use linux_raw_sys::general::page_region;
use nix::errno::Errno;
use punctual_units::{Bytes, PageSet};

use super::clusters::{Clusters, MOST_LOOKED_AT, MOST_TAKEN};
use super::place::{self, Place};
use super::target::Target;
use super::watch::Scan;
use super::{Pid, TraceError, inject, watch};
use crate::Ram;

/// How much is protected by one system call. The kernel holds the lock of the process's memory
/// map meanwhile: some 2 ms for this much.
const ARM_AT_ONCE: Bytes = Bytes::mib(16);
/// How many runs of pages one scan can return; more take another system call.
const RUNS_AT_ONCE: usize = 4096;

/// Traces the writes of one process to a machine's RAM.
///
/// Dropping it takes all of it back. The kernel does the same when this program is killed.
#[derive(Debug)]
pub struct Tracer {
    target: Target,
    userfaultfd: OwnedFd,
    pagemap: File,
    mappings: Vec<Place>,
    /// Where a scan puts its runs, and where they are; made once.
    space: Vec<page_region>,
    /// Where pages may have been written, and where to look for some.
    clusters: Clusters,
    places: Clusters,
    /// Pages that a look found written, of those that were asked about.
    found: PageSet,
    stopped: Duration,
}

impl Tracer {
    /// Begins to trace what process `pid` writes to `ram`, wherever it has mapped it.
    ///
    /// Every page written after this returns is reported. Of the pages written while it runs some
    /// are reported and some are not; of those written before, none has to be: copy them all.
    ///
    /// One thread of the process stands still for some 0.1 ms; the protection of all pages takes
    /// some 30 ms for each GiB, while the process runs.
    ///
    /// # Errors
    /// The process cannot be traced, and nothing has changed in it.
    pub fn attach(pid: Pid, ram: &Ram) -> Result<Self, TraceError> {
        let target = Target::open(pid)?;
        let watched = find(&target, ram)?;
        let pagemap = File::open(format!("/proc/{}/pagemap", target.pid()))
            .map_err(|cause| target.error("open its page map", cause))?;
        let injected = inject::userfaultfd(&target)?;
        watch::agree(&injected.userfaultfd).map_err(|error| match error {
            Errno::EINVAL => TraceError::Kernel { missing: "no UFFD_FEATURE_WP_ASYNC" },
            _ => target.error("set up the userfaultfd", error.into()),
        })?;
        let nothing = page_region { start: 0, end: 0, categories: 0 };
        let mut tracer = Self {
            target,
            userfaultfd: injected.userfaultfd,
            pagemap,
            mappings: Vec::with_capacity(watched.len()),
            space: vec![nothing; RUNS_AT_ONCE],
            clusters: Clusters::new(MOST_TAKEN),
            places: Clusters::new(MOST_LOOKED_AT),
            found: PageSet::empty(ram.layout().pages()),
            stopped: injected.stopped,
        };
        tracer.arm(watched)?;
        Ok(tracer)
    }

    /// Begins anew, as if this tracer had just been attached: what was written before is forgotten.
    /// Nothing is injected into the process again, unless it has mapped its RAM otherwise.
    ///
    /// Takes as long as [`Tracer::collect`].
    ///
    /// # Errors
    /// As [`Tracer::attach`]. It is no longer traced then.
    pub fn begin_anew(mut self, ram: &Ram) -> Result<Self, TraceError> {
        let same = find(&self.target, ram)? == self.mappings;
        let mut forgotten = PageSet::empty(ram.layout().pages());
        if same && self.collect(&mut forgotten).is_ok() {
            return Ok(self);
        }
        let pid = self.target.raw();
        // The kernel lets nobody watch what is watched already, so the old one goes first.
        drop(self);
        Self::attach(pid, ram)
    }

    /// For how long one thread of the process was stopped to begin with.
    #[must_use]
    pub fn stopped(&self) -> Duration {
        self.stopped
    }

    /// Adds to `written` every page written since the last call (the first call: since
    /// [`Tracer::attach`]), and begins anew. A page is reported at least once for all its writes
    /// in between; content read after the call is at least as new as those writes.
    ///
    /// Takes some 2 ms for each GiB.
    ///
    /// # Errors
    /// The process is gone or has unmapped its RAM. What could not be found out is taken for
    /// written.
    ///
    /// # Panics
    /// `written` is of another machine.
    pub fn collect(&mut self, written: &mut PageSet) -> Result<(), TraceError> {
        self.collect_each(written, Self::collect_mapping)
    }

    /// Does the same for `pages` alone: adds to `written` those of them that were written since
    /// they were last reported, by whatever call, and begins anew for them. Some pages around them
    /// may be reported, too. What is not reported will be.
    ///
    /// Takes about a microsecond for each of at most 1024 stretches in which the pages lie, and for
    /// the pages in them as long as [`Tracer::collect`].
    ///
    /// # Errors
    /// As [`Tracer::collect`].
    ///
    /// # Panics
    /// `pages` or `written` is of another machine.
    pub fn collect_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), TraceError> {
        self.collect_each(written, |tracer, watched, written| {
            tracer.collect_in_mapping(watched, pages, written)
        })
    }

    fn collect_each(
        &mut self,
        written: &mut PageSet,
        mut collect: impl FnMut(&mut Self, Place, &mut PageSet) -> Result<(), Errno>,
    ) -> Result<(), TraceError> {
        let mut failed = None;
        for index in 0..self.mappings.len() {
            let watched = self.mappings[index];
            if let Err(error) = collect(self, watched, written) {
                written.insert_range(watched.pages);
                failed = Some(error);
            }
        }
        if !self.target.alive() {
            return Err(TraceError::Gone { pid: self.target.pid() });
        }
        failed.map_or(Ok(()), |error| Err(self.target.error("scan its page map", error.into())))
    }

    /// Looks where there is something before it takes it. When it takes, the kernel drops the
    /// addresses that it was *asked about*, written or not, from the page tables of a KVM guest
    /// (`do_pagemap_scan`: one `mmu_notifier` range around the whole walk), and each of them costs
    /// the guest a fault; a look costs it nothing.
    fn collect_mapping(&mut self, watched: Place, written: &mut PageSet) -> Result<(), Errno> {
        let Self { pagemap, space, clusters, .. } = self;
        clusters.clear();
        let all = (watched.start, watched.end());
        watch::scan(pagemap, Scan::Look, all, space, |start, end| clusters.add(start, end))?;
        self.take(watched, written)
    }

    /// Looks only where the pages are, and takes only where some of them were found.
    fn collect_in_mapping(
        &mut self,
        watched: Place,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), Errno> {
        let Self { pagemap, space, clusters, places, found, .. } = self;
        places.clear();
        add_to(places, &watched, pages);
        found.clear();
        for stretch in places.stretches() {
            watch::scan(pagemap, Scan::Look, *stretch, space, |start, end| {
                found.insert_range(watched.pages_at(start, end));
            })?;
        }
        found.intersect(pages);
        clusters.clear();
        add_to(clusters, &watched, found);
        self.take(watched, written)
    }

    /// Takes what was written in the clusters.
    fn take(&mut self, watched: Place, written: &mut PageSet) -> Result<(), Errno> {
        let Self { pagemap, space, clusters, .. } = self;
        for stretch in clusters.stretches() {
            watch::scan(pagemap, Scan::Take, *stretch, space, |start, end| {
                written.insert_range(watched.pages_at(start, end));
            })?;
        }
        Ok(())
    }

    fn arm(&mut self, mappings: Vec<Place>) -> Result<(), TraceError> {
        for watched in mappings {
            watch::register(&self.userfaultfd, watched.start, watched.end()).map_err(|error| {
                match error {
                    Errno::EBUSY => TraceError::AlreadyWatched { pid: self.target.pid() },
                    Errno::EINVAL => {
                        TraceError::Kernel { missing: "no write protection for shared files" }
                    }
                    _ => self.target.error("watch its RAM", error.into()),
                }
            })?;
            // Only what is watched by this one is given up when it is dropped: the watch of another
            // may be all that keeps a machine from reading pages that are still to come as zeros.
            self.mappings.push(watched);
        }
        for watched in &self.mappings {
            let step = ARM_AT_ONCE.get().max(watched.host_page.get());
            let mut at = watched.start;
            while at < watched.end() {
                let end = watched.end().min(at + step);
                watch::protect(&self.userfaultfd, at, end)
                    .map_err(|error| self.target.error("protect its RAM", error.into()))?;
                at = end;
            }
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Closing the last descriptor would do, but a child that is being started may have a
        // copy of it for a moment.
        for watched in &self.mappings {
            let _ = watch::unregister(&self.userfaultfd, watched.start, watched.end());
        }
    }
}

/// Adds where those of `pages` lie that a place shows, in whole pages of the host: the kernel marks
/// none in part.
fn add_to(clusters: &mut Clusters, place: &Place, pages: &PageSet) {
    let size = place.host_page.get();
    for run in pages.ranges_in(place.pages) {
        let start = place.address(run.start.0) / size * size;
        let end = place.address(run.end.0).next_multiple_of(size);
        clusters.add(start.max(place.start), end.min(place.end()));
    }
}

/// Where the process has mapped the RAM; what lies together is scanned together.
fn find(target: &Target, ram: &Ram) -> Result<Vec<Place>, TraceError> {
    let mut joined: Vec<Place> = Vec::new();
    for place in place::find(target, ram)? {
        if !joined.last_mut().is_some_and(|last| last.join(&place)) {
            joined.push(place);
        }
    }
    Ok(joined)
}
