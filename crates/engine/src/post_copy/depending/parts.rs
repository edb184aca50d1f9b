//! Where the host's pages are larger than those that come, they are put together before they are
//! put in place.

use std::collections::VecDeque;

use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageRange};

const PAGE: usize = PAGE_SIZE.get() as usize;
/// So many pages of the host are put together at once on a line: 32 MiB of 2 MiB pages. What was
/// begun before is given up, and asked for as a whole.
const MOST: usize = 16;

/// Pages of the host of which only a part has come.
#[derive(Debug, Default)]
pub(super) struct Parts {
    open: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    pages: PageRange,
    content: Vec<u8>,
    there: Vec<bool>,
    left: usize,
}

/// A page of the host that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) pages: PageRange,
    pub(super) content: Vec<u8>,
}

impl Parts {
    /// Adds some pages of one page of the host, `host_page`; without `bytes` they are zero. Returns
    /// it if it is complete.
    pub(super) fn add(
        &mut self,
        host_page: PageRange,
        pages: PageRange,
        bytes: Option<&[u8]>,
    ) -> Option<Whole> {
        let known = self.open.iter().position(|part| part.pages == host_page);
        let at = known.unwrap_or_else(|| {
            self.open.push_back(Part::new(host_page));
            self.open.len() - 1
        });
        let part = &mut self.open[at];
        part.add(pages, bytes);
        if part.left > 0 {
            return None;
        }
        let Part { pages, content, .. } = self.open.remove(at)?;
        Some(Whole { pages, content })
    }

    /// The oldest one, if there are too many: it will not be completed.
    pub(super) fn give_up(&mut self) -> Option<PageRange> {
        (self.open.len() > MOST).then(|| self.open.pop_front().map(|part| part.pages))?
    }
}

impl Part {
    fn new(pages: PageRange) -> Self {
        let count = pages.len().get() as usize;
        Self { pages, content: vec![0; count * PAGE], there: vec![false; count], left: count }
    }

    fn add(&mut self, pages: PageRange, bytes: Option<&[u8]>) {
        let first = (pages.start.0 - self.pages.start.0) as usize;
        for at in 0..pages.len().get() as usize {
            // The first copy stays, as everywhere.
            if !std::mem::replace(&mut self.there[first + at], true) {
                self.left -= 1;
                if let Some(bytes) = bytes {
                    let into = &mut self.content[(first + at) * PAGE..][..PAGE];
                    into.copy_from_slice(&bytes[at * PAGE..][..PAGE]);
                }
            }
        }
    }
}

/// The page of the host that has a page in it, where these are of `size` and a region begins with
/// one.
pub(super) fn host_page_of(layout: &MemoryLayout, page: PageIndex, size: Bytes) -> PageRange {
    let offset = layout.locate(page).map_or(0, |(_, offset)| offset.get());
    let start = page.0 - offset % size.get() / PAGE_SIZE.get();
    PageRange::new(start, start + size.pages().get())
}

#[cfg(test)]
mod tests {
    use punctual_units::Region;

    use super::*;

    fn run(start: u64, end: u64) -> PageRange {
        PageRange::new(start, end)
    }

    #[test]
    fn a_host_page_is_whole_when_its_last_part_has_come() {
        let mut parts = Parts::default();
        let bytes = [vec![1; PAGE], vec![2; PAGE]].concat();
        assert_eq!(parts.add(run(8, 12), run(9, 11), Some(&bytes)), None);
        assert_eq!(parts.add(run(12, 16), run(12, 13), None), None);
        assert_eq!(parts.add(run(8, 12), run(8, 10), Some(&vec![9; 2 * PAGE])), None);
        let whole = parts.add(run(8, 12), run(11, 12), None).unwrap();
        let content = [vec![9; PAGE], vec![1; PAGE], vec![2; PAGE], vec![0; PAGE]].concat();
        assert_eq!(whole, Whole { pages: run(8, 12), content });
    }

    #[test]
    fn what_was_begun_first_is_given_up_first() {
        let mut parts = Parts::default();
        for at in 0..=MOST as u64 {
            assert_eq!(parts.give_up(), None);
            parts.add(run(at * 4, at * 4 + 4), run(at * 4, at * 4 + 1), None);
        }
        assert_eq!(parts.give_up(), Some(run(0, 4)));
        assert_eq!(parts.give_up(), None);
    }

    #[test]
    fn host_pages_begin_with_their_region() {
        let region = |name: &str, pages: u64| Region {
            name: name.to_owned(),
            size: Bytes::new(pages * PAGE_SIZE.get()),
        };
        let layout = MemoryLayout::new(vec![region("a", 6), region("b", 16)]).unwrap();
        let size = Bytes::new(4 * PAGE_SIZE.get());
        assert_eq!(host_page_of(&layout, PageIndex(13), size), run(10, 14));
    }
}
