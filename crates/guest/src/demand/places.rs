//! Where a process has mapped the RAM: where pages are put in, and where else they are seen.

use punctual_units::{PageRange, PageSet};

use crate::Ram;
use crate::trace::TraceError;
use crate::trace::place::{self, Place};
use crate::trace::target::Target;

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
        let mut found = Self { first: Vec::new(), again: Vec::new() };
        let mut mapped = PageSet::empty(ram.layout().pages());
        place::find(target, ram)?.into_iter().for_each(|place| found.add(place, &mut mapped));
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

#[cfg(test)]
mod tests {
    use punctual_units::PAGE_SIZE;

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
}
