//! Where a process has mapped the RAM.

use punctual_units::{Bytes, PAGE_SIZE, PageRange, PageSet, RegionIndex};
use rustix::fs::{fstat, major, minor};

use crate::Ram;
use crate::trace::TraceError;
use crate::trace::maps::{Mapping, mappings};
use crate::trace::target::Target;

/// A stretch of the process's addresses that shows pages of the RAM in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) pages: PageRange,
    /// The size of the host's pages there.
    pub(super) host_page: Bytes,
}

impl Place {
    pub(super) fn end(&self) -> u64 {
        self.start + self.pages.len().bytes().get()
    }

    /// The address of one of its pages.
    pub(super) fn address(&self, page: u64) -> u64 {
        self.start + (page - self.pages.start.0) * PAGE_SIZE.get()
    }

    /// The whole host page at an address in it.
    pub(super) fn host_page_at(&self, address: u64) -> PageRange {
        let (size, host_page) = (PAGE_SIZE.get(), self.host_page.get());
        let first = self.pages.start.0 + (address - self.start) / host_page * (host_page / size);
        PageRange::new(first, first + host_page / size)
    }

    /// What it shows of some pages.
    pub(super) fn part_of(&self, pages: PageRange) -> PageRange {
        let start = pages.start.0.max(self.pages.start.0);
        PageRange::new(start, pages.end.0.min(self.pages.end.0))
    }
}

/// All places of a process that show its RAM.
#[derive(Debug)]
pub(super) struct Places {
    /// Each page once: here pages are put in.
    first: Vec<Place>,
    /// Pages that are mapped once more: there they have only to be woken for.
    again: Vec<Place>,
}

impl Places {
    /// Finds them; each region must be mapped as a whole.
    pub(super) fn find(target: &Target, ram: &Ram) -> Result<Self, TraceError> {
        let maps = target.maps()?;
        let mut found = Self { first: Vec::new(), again: Vec::new() };
        let mut mapped = PageSet::empty(ram.layout().pages());
        for index in (0..ram.layout().regions().len()).map(RegionIndex) {
            let file = fstat(ram.file(index))
                .map_err(|error| target.error("look at the RAM file", error.into()))?;
            let device = (major(file.st_dev), minor(file.st_dev));
            let region = ram.layout().range_of(index);
            let of_file = mappings(&maps).filter(|mapping| {
                let same = mapping.inode == file.st_ino && mapping.device == device;
                same && mapping.shared && mapping.writable
            });
            for place in of_file.filter_map(|mapping| shown(&mapping, region, ram.host_page(index)))
            {
                found.add(place, &mut mapped);
            }
            let shown = mapped.ranges_in(region).map(PageRange::len).sum();
            if region.len() != shown {
                let region = ram.layout().regions()[index.0].name.clone();
                return Err(TraceError::NotMapped { pid: target.pid(), region });
            }
        }
        Ok(found)
    }

    fn add(&mut self, place: Place, mapped: &mut PageSet) {
        let part = |pages: PageRange| Place {
            start: place.address(pages.start.0),
            pages,
            host_page: place.host_page,
        };
        let mut new = PageSet::empty(mapped.capacity());
        new.insert_range(place.pages);
        new.subtract(mapped);
        self.first.extend(new.ranges().map(part));
        self.again.extend(mapped.ranges_in(place.pages).map(part));
        mapped.insert_range(place.pages);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        self.first.iter().chain(&self.again)
    }

    /// The place of an address.
    pub(super) fn at(&self, address: u64) -> Option<&Place> {
        self.all().find(|place| (place.start..place.end()).contains(&address))
    }

    /// Where each of these pages is put in.
    pub(super) fn to_fill(&self, pages: PageRange) -> impl Iterator<Item = (&Place, PageRange)> {
        parts(&self.first, pages)
    }

    /// Where else they are seen.
    pub(super) fn to_wake(&self, pages: PageRange) -> impl Iterator<Item = (&Place, PageRange)> {
        parts(&self.again, pages)
    }
}

fn parts(places: &[Place], pages: PageRange) -> impl Iterator<Item = (&Place, PageRange)> {
    places
        .iter()
        .map(move |place| (place, place.part_of(pages)))
        .filter(|(_, part)| !part.is_empty())
}

/// The part of a mapping of a region's file that shows the region.
fn shown(mapping: &Mapping<'_>, region: PageRange, host_page: Bytes) -> Option<Place> {
    let first = region.start.0 + mapping.offset / PAGE_SIZE.get();
    let length = (mapping.end - mapping.start) / PAGE_SIZE.get();
    let pages = PageRange::new(first, region.end.0.min(first + length));
    (!pages.is_empty()).then_some(Place { start: mapping.start, pages, host_page })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: u64, pages: PageRange) -> Place {
        Place { start, pages, host_page: PAGE_SIZE }
    }

    #[test]
    fn what_is_mapped_twice_is_filled_once_and_woken_for_at_both() {
        let mut places = Places { first: Vec::new(), again: Vec::new() };
        let mut mapped = PageSet::empty(PageRange::new(0, 100).len());
        places.add(place(0x10_0000, PageRange::new(20, 60)), &mut mapped);
        places.add(place(0x90_0000, PageRange::new(10, 30)), &mut mapped);
        let fill: Vec<_> = places.to_fill(PageRange::new(0, 22)).map(|(_, part)| part).collect();
        assert_eq!(fill, [PageRange::new(20, 22), PageRange::new(10, 20)]);
        let wake: Vec<_> = places.to_wake(PageRange::new(0, 22)).collect();
        assert_eq!(wake.len(), 1);
        assert_eq!((wake[0].0.start, wake[0].1), (0x90_a000, PageRange::new(20, 22)));
        assert_eq!(places.at(0x90_a123).unwrap().host_page_at(0x90_a123), PageRange::new(20, 21));
        assert!(places.at(0x8f_ffff).is_none());
    }

    #[test]
    fn an_address_in_a_huge_page_means_all_of_it() {
        let huge =
            Place { host_page: Bytes::mib(2), ..place(0x4000_0000, PageRange::new(512, 2048)) };
        assert_eq!(huge.host_page_at(0x4020_0000 + 0x1_5000), PageRange::new(1024, 1536));
    }
}
