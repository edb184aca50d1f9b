//! Where a process has mapped the RAM.

use punctual_units::{Bytes, PAGE_SIZE, PageRange, PageSet, RegionIndex};
use rustix::fs::{fstat, major, minor};

use super::TraceError;
use super::maps::{Mapping, mappings};
use super::target::Target;
use crate::Ram;

/// A stretch of the process's addresses that shows pages of the RAM in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) pages: PageRange,
    /// The size of the host's pages there.
    pub(crate) host_page: Bytes,
}

/// All places where the process has mapped `ram`, one for each mapping, region by region and in the
/// order of their addresses. Pages that are mapped twice are in two of them.
///
/// # Errors
/// A region is not mapped as a whole, or the process is gone.
pub(crate) fn find(target: &Target, ram: &Ram) -> Result<Vec<Place>, TraceError> {
    let maps = target.maps()?;
    let mut all = Vec::new();
    for index in (0..ram.layout().regions().len()).map(RegionIndex) {
        let file = fstat(ram.file(index))
            .map_err(|error| target.error("look at the RAM file", error.into()))?;
        let device = (major(file.st_dev), minor(file.st_dev));
        let region = ram.layout().range_of(index);
        let mut missing = PageSet::empty(ram.layout().pages());
        missing.insert_range(region);
        let of_file = mappings(&maps).filter(|mapping| {
            let same = mapping.inode == file.st_ino && mapping.device == device;
            same && mapping.shared && mapping.writable
        });
        for place in of_file.filter_map(|mapping| shown(&mapping, region, ram.host_page(index))) {
            missing.remove_range(place.pages);
            all.push(place);
        }
        if !missing.is_empty() {
            let region = ram.layout().regions()[index.0].name.clone();
            return Err(TraceError::NotMapped { pid: target.pid(), region });
        }
    }
    Ok(all)
}

/// The part of a mapping of a region's file that shows the region.
fn shown(mapping: &Mapping<'_>, region: PageRange, host_page: Bytes) -> Option<Place> {
    let first = region.start.0 + mapping.offset / PAGE_SIZE.get();
    let length = (mapping.end - mapping.start) / PAGE_SIZE.get();
    let pages = PageRange::new(first, region.end.0.min(first + length));
    (!pages.is_empty()).then_some(Place { start: mapping.start, pages, host_page })
}

impl Place {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.pages.len().bytes().get()
    }

    /// The address of one of its pages, or that behind the last one.
    pub(crate) fn address(&self, page: u64) -> u64 {
        self.start + (page - self.pages.start.0) * PAGE_SIZE.get()
    }

    /// The pages in a stretch of addresses, as far as it shows them.
    pub(crate) fn pages_at(&self, start: u64, end: u64) -> PageRange {
        let page = |address: u64| {
            self.pages.start.0
                + (address.clamp(self.start, self.end()) - self.start) / PAGE_SIZE.get()
        };
        PageRange::new(page(start), page(end))
    }

    /// The whole host page at an address in it.
    pub(crate) fn host_page_at(&self, address: u64) -> PageRange {
        let (size, host_page) = (PAGE_SIZE.get(), self.host_page.get());
        let first = self.pages.start.0 + (address - self.start) / host_page * (host_page / size);
        PageRange::new(first, first + host_page / size)
    }

    /// What it shows of some pages.
    pub(crate) fn part_of(&self, pages: PageRange) -> PageRange {
        let start = pages.start.0.max(self.pages.start.0);
        PageRange::new(start, pages.end.0.min(self.pages.end.0))
    }

    /// Joins what follows without a gap in both addresses and pages.
    pub(crate) fn join(&mut self, next: &Self) -> bool {
        let follows = self.end() == next.start && self.pages.end == next.pages.start;
        let joins = follows && self.host_page == next.host_page;
        if joins {
            self.pages.end = next.pages.end;
        }
        joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: Bytes = Bytes::mib(2);

    #[test]
    fn an_address_in_a_huge_page_means_all_of_it() {
        let pages = PageRange::new(512, 2048);
        let huge = Place { start: 0x4000_0000, pages, host_page: HUGE };
        assert_eq!(huge.host_page_at(0x4020_0000 + 0x1_5000), PageRange::new(1024, 1536));
    }

    #[test]
    fn addresses_and_pages_mean_each_other() {
        let place = Place { start: 0x10_0000, pages: PageRange::new(20, 60), host_page: PAGE_SIZE };
        assert_eq!(place.address(22), 0x10_2000);
        assert_eq!(place.pages_at(0x10_2000, 0x10_4000), PageRange::new(22, 24));
        assert_eq!(place.pages_at(0, u64::MAX), place.pages);
        assert_eq!(place.part_of(PageRange::new(0, 22)), PageRange::new(20, 22));
    }

    #[test]
    fn what_follows_without_a_gap_is_joined() {
        let mut place =
            Place { start: 0x10_0000, pages: PageRange::new(0, 16), host_page: PAGE_SIZE };
        let gap = Place { start: 0x11_1000, pages: PageRange::new(16, 20), ..place };
        let other_pages = Place { start: 0x11_0000, pages: PageRange::new(17, 20), ..place };
        let next = Place { start: 0x11_0000, pages: PageRange::new(16, 20), ..place };
        let huge = Place { host_page: HUGE, ..next };
        assert!(![gap, other_pages, huge].iter().any(|other| place.join(other)));
        assert!(place.join(&next));
        assert_eq!((place.end(), place.pages), (0x11_4000, PageRange::new(0, 20)));
    }
}
