//! Memory whose every byte is known: the set that a workload writes, and the fill that stays.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use punctual_guest_protocol::Pattern;
use punctual_guest_protocol::control::{Failure, Place};

/// Size of a page, in bytes.
pub(crate) const PAGE: usize = 4096;

/// Anonymous memory of whole pages, zero at first.
pub(crate) struct Region {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the region owns its memory; references to it follow the borrow of the region.
unsafe impl Send for Region {}

impl Region {
    /// Maps at least `bytes` of memory, in whole pages; none for 0.
    pub(crate) fn new(bytes: u64) -> nix::Result<Self> {
        let length = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.checked_next_multiple_of(PAGE))
            .ok_or(nix::Error::ENOMEM)?;
        let Some(size) = NonZeroUsize::new(length) else {
            return Ok(Self { start: NonNull::dangling(), length });
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new anonymous mapping touches no memory that anything else uses.
        let start = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start: start.cast(), length })
    }

    pub(crate) fn pages(&self) -> usize {
        self.length / PAGE
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this length, is initialised by the kernel, and lives as long as
        // `self`; whoever writes to it has borrowed `self` mutably.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn page(&self, page: usize) -> &[u8] {
        &self.bytes()[page * PAGE..][..PAGE]
    }

    /// Guest-physical address of a byte, from `/proc/self/pagemap`
    /// (<https://docs.kernel.org/admin-guide/mm/pagemap.html>).
    pub(crate) fn physical_address(&self, offset: usize) -> Option<u64> {
        let address = self.start.as_ptr() as u64 + offset as u64;
        let mut entry = [0; 8];
        let pagemap = File::open("/proc/self/pagemap").ok()?;
        pagemap.read_exact_at(&mut entry, address / PAGE as u64 * 8).ok()?;
        let entry = u64::from_le_bytes(entry);
        let present = entry >> 63 == 1;
        let frame = entry & ((1 << 55) - 1);
        (present && frame != 0).then(|| frame * PAGE as u64 + address % PAGE as u64)
    }

    /// A failure at `offset`, with its physical address.
    pub(crate) fn failure(&self, place: Place, offset: usize, expected: u8) -> Failure {
        Failure {
            place,
            page: (offset / PAGE) as u64,
            offset: (offset % PAGE) as u64,
            expected,
            found: self.bytes()[offset],
            address: self.physical_address(offset),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: this is the whole mapping that `new` made, and nothing refers to it any more.
            let unmapped = unsafe { munmap(self.start.cast(), self.length) };
            debug_assert_eq!(unmapped, Ok(()), "a mapping of its own can be unmapped");
        }
    }
}

/// Memory that is written once and never changes.
pub(crate) struct Fill {
    region: Region,
    pattern: Pattern,
}

impl Fill {
    pub(crate) fn new(bytes: u64, pattern: Pattern) -> nix::Result<Self> {
        let mut region = Region::new(bytes)?;
        pattern.fill(0, region.bytes_mut());
        Ok(Self { region, pattern })
    }

    pub(crate) fn pages(&self) -> usize {
        self.region.pages()
    }

    /// The first wrong byte.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.pattern.first_wrong(0, self.region.bytes()) {
            None => Ok(()),
            Some(wrong) => {
                Err(self.region.failure(Place::Fill, wrong.position as usize, wrong.expected))
            }
        }
    }
}

/// Memory that a workload writes, page by page, one byte at a time.
///
/// Each page holds its part of a pattern, but for one byte at a place of its own: that byte holds
/// the lowest eight bits of the number of writes to the page, which a table beside counts.
pub(crate) struct Set {
    region: Region,
    pattern: Pattern,
    counts: Vec<u32>,
    /// Sum of all counts, kept apart from them so that a lost page of the table shows.
    writes: u64,
}

impl Set {
    pub(crate) fn new(bytes: u64, pattern: Pattern) -> nix::Result<Self> {
        let mut region = Region::new(bytes)?;
        pattern.fill(0, region.bytes_mut());
        let mut set = Self { counts: vec![0; region.pages()], region, pattern, writes: 0 };
        for page in 0..set.pages() {
            let at = set.counter_at(page);
            set.region.bytes_mut()[at] = 0;
        }
        Ok(set)
    }

    pub(crate) fn pages(&self) -> usize {
        self.counts.len()
    }

    /// Writes one byte of a page.
    pub(crate) fn write(&mut self, page: usize) {
        let count = self.counts[page].wrapping_add(1);
        self.counts[page] = count;
        self.writes += 1;
        let at = self.counter_at(page);
        self.region.bytes_mut()[at] = count as u8;
    }

    /// Guest-physical address of a page's first byte.
    pub(crate) fn physical_address(&self, page: usize) -> Option<u64> {
        (page < self.pages()).then(|| self.region.physical_address(page * PAGE)).flatten()
    }

    /// Compares every byte with what it ought to be; the first wrong one.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut expected = [0; PAGE];
        for page in 0..self.pages() {
            let start = page * PAGE;
            self.pattern.fill(start as u64, &mut expected);
            expected[self.counter_at(page) - start] = self.counts[page] as u8;
            let found = self.region.page(page);
            if found != expected {
                let at =
                    found.iter().zip(&expected).position(|(found, expected)| found != expected);
                let at = at.expect("unequal pages differ somewhere");
                return Err(self.region.failure(Place::Set, start + at, expected[at]));
            }
        }
        self.check_counts()
    }

    /// A page of the table that fell back shows in the sum; it is reported as the table's.
    fn check_counts(&self) -> Result<(), Failure> {
        let sum = self.counts.iter().fold(0_u64, |sum, count| sum + u64::from(*count));
        if sum as u32 == self.writes as u32 {
            return Ok(());
        }
        let (expected, found) = (self.writes as u8, sum as u8);
        Err(Failure { place: Place::Table, page: 0, offset: 0, expected, found, address: None })
    }

    /// Where a page keeps its counter, as an offset within the region.
    fn counter_at(&self, page: usize) -> usize {
        page * PAGE + (self.pattern.part(page as u64).word(0) % PAGE as u64) as usize
    }

    #[cfg(test)]
    fn flip(&mut self, offset: usize) -> (u8, u8) {
        let byte = &mut self.region.bytes_mut()[offset];
        let expected = *byte;
        *byte ^= 0x10;
        (expected, *byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_set() -> Set {
        let mut set = Set::new(16 * PAGE as u64, Pattern::new(5)).unwrap();
        for write in 0..5000 {
            set.write(write * 7 % 16);
        }
        set
    }

    #[test]
    fn a_sound_set_passes() {
        assert_eq!(written_set().check(), Ok(()));
    }

    #[test]
    fn one_flipped_byte_is_found_wherever_it_is() {
        for offset in [0, 1, PAGE - 1, PAGE, 5 * PAGE + 77, 16 * PAGE - 1] {
            let mut set = written_set();
            let (expected, found) = set.flip(offset);
            let failure = set.check().unwrap_err();
            assert_eq!(failure.place, Place::Set);
            assert_eq!(
                (failure.page, failure.offset),
                ((offset / PAGE) as u64, (offset % PAGE) as u64)
            );
            assert_eq!((failure.expected, failure.found), (expected, found));
        }
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut set = written_set();
        let at = set.counter_at(3);
        let before = set.region.bytes()[at];
        set.write(3);
        set.region.bytes_mut()[at] = before;
        let failure = set.check().unwrap_err();
        assert_eq!((failure.page, failure.found), (3, before));
    }

    #[test]
    fn a_page_and_its_count_that_fell_back_together_are_found() {
        let mut set = written_set();
        let at = set.counter_at(3);
        let before = (set.region.bytes()[at], set.counts[3]);
        set.write(3);
        (set.region.bytes_mut()[at], set.counts[3]) = before;
        assert_eq!(set.check().unwrap_err().place, Place::Table);
    }

    #[test]
    fn a_flipped_byte_of_the_fill_is_found() {
        let mut fill = Fill::new(3 * PAGE as u64, Pattern::new(1)).unwrap();
        assert_eq!(fill.check(), Ok(()));
        fill.region.bytes_mut()[PAGE + 9] ^= 1;
        let failure = fill.check().unwrap_err();
        assert_eq!((failure.place, failure.page, failure.offset), (Place::Fill, 1, 9));
    }

    #[test]
    fn nothing_to_hold_is_no_error() {
        assert_eq!(Fill::new(0, Pattern::new(1)).unwrap().check(), Ok(()));
        assert_eq!(Set::new(0, Pattern::new(1)).unwrap().check(), Ok(()));
    }
}
