use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Bytes, PageIndex, PageRange, Pages};

/// The place of a region in its layout, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionIndex(pub usize);

/// One RAM block of a machine: the main memory, a NUMA node's part of it, or a DIMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The name that both hosts know it by (QEMU: the id of the memory backend).
    pub name: String,
    /// Its size, a whole number of pages, not zero.
    pub size: Bytes,
}

/// How the pages of a machine are spread over its regions. Pages are numbered from 0 through all
/// regions in order, so that one [`PageSet`](crate::PageSet) covers the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Region>", into = "Vec<Region>")]
pub struct MemoryLayout {
    regions: Vec<Region>,
    /// The first page of each region, and behind the last one the number of all pages.
    starts: Vec<u64>,
}

/// Why regions make no layout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// A machine has at least one region.
    #[error("a machine needs at least one region of memory")]
    NoRegions,
    /// A machine has at most [`MemoryLayout::MOST_REGIONS`] regions.
    #[error(
        "{0} regions of memory are more than the {most} that a machine may have",
        most = MemoryLayout::MOST_REGIONS
    )]
    TooManyRegions(usize),
    /// Two regions have one name.
    #[error("two regions of memory have the name `{0}`")]
    NameTwice(String),
    /// A region is empty, too large or not made of whole pages.
    #[error("the region `{name}` has {} bytes, which is not a whole number of 4096-byte pages between 1 and 2^40", size.get())]
    Size {
        /// The region.
        name: String,
        /// Its size as given.
        size: Bytes,
    },
}

/// A run of pages inside one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionSpan {
    /// The region.
    pub region: RegionIndex,
    /// The run, in the numbers of the whole machine.
    pub pages: PageRange,
    /// Where in the region the run begins.
    pub offset: Bytes,
}

impl MemoryLayout {
    /// The most regions of a machine: QEMU's slots for DIMMs (256) and NUMA nodes (128) fit well.
    pub const MOST_REGIONS: usize = 1024;

    /// The layout of these regions, in this order.
    ///
    /// # Errors
    /// No region or too many, a name twice, or a size that is not a whole number of pages.
    pub fn new(regions: Vec<Region>) -> Result<Self, LayoutError> {
        const MOST_PAGES: u64 = 1 << 40;
        if regions.is_empty() {
            return Err(LayoutError::NoRegions);
        }
        if regions.len() > Self::MOST_REGIONS {
            return Err(LayoutError::TooManyRegions(regions.len()));
        }
        let mut starts = vec![0_u64];
        for (index, region) in regions.iter().enumerate() {
            if regions[..index].iter().any(|earlier| earlier.name == region.name) {
                return Err(LayoutError::NameTwice(region.name.clone()));
            }
            let end = starts[index].saturating_add(region.size.pages().get());
            if !region.size.is_page_aligned() || region.size == Bytes::ZERO || end > MOST_PAGES {
                return Err(LayoutError::Size { name: region.name.clone(), size: region.size });
            }
            starts.push(end);
        }
        Ok(Self { regions, starts })
    }

    /// The regions, in order.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// How many pages the machine has.
    #[must_use]
    pub fn pages(&self) -> Pages {
        Pages::new(self.starts[self.regions.len()])
    }

    /// The pages of one region.
    ///
    /// # Panics
    /// The layout has no such region.
    #[must_use]
    pub fn range_of(&self, region: RegionIndex) -> PageRange {
        PageRange::new(self.starts[region.0], self.starts[region.0 + 1])
    }

    /// The pieces of a run, each inside one region.
    ///
    /// Pages behind the end of the machine belong to no region and are left out.
    pub fn spans(&self, range: PageRange) -> impl Iterator<Item = RegionSpan> {
        let first = self.starts.partition_point(|start| *start <= range.start.0).saturating_sub(1);
        (first..self.regions.len()).map_while(move |region| {
            let whole = self.range_of(RegionIndex(region));
            let pages =
                PageRange::new(whole.start.0.max(range.start.0), whole.end.0.min(range.end.0));
            let offset = Pages::new(pages.start.0 - whole.start.0).bytes();
            (!pages.is_empty()).then_some(RegionSpan { region: RegionIndex(region), pages, offset })
        })
    }

    /// The region of a page and the place in it; `None` behind the end of the machine.
    #[must_use]
    pub fn locate(&self, page: PageIndex) -> Option<(RegionIndex, Bytes)> {
        self.spans(PageRange::new(page.0, page.0 + 1)).next().map(|span| (span.region, span.offset))
    }
}

impl TryFrom<Vec<Region>> for MemoryLayout {
    type Error = LayoutError;

    fn try_from(regions: Vec<Region>) -> Result<Self, LayoutError> {
        Self::new(regions)
    }
}

impl From<MemoryLayout> for Vec<Region> {
    fn from(layout: MemoryLayout) -> Self {
        layout.regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str, pages: u64) -> Region {
        Region { name: name.to_owned(), size: Pages::new(pages).bytes() }
    }

    #[test]
    fn a_run_across_regions_falls_into_pieces() {
        let layout = MemoryLayout::new(vec![region("ram0", 4), region("dimm1", 8)]).unwrap();
        let spans: Vec<_> = layout.spans(PageRange::new(3, 99)).collect();
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0].pages, PageRange::new(3, 4));
        assert_eq!(spans[0].offset, Bytes::new(3 * 4096));
        assert_eq!(spans[1].region, RegionIndex(1));
        assert_eq!(spans[1].pages, PageRange::new(4, 12));
        assert_eq!(spans[1].offset, Bytes::ZERO);
        assert_eq!(layout.locate(PageIndex(12)), None);
        assert_eq!(layout.locate(PageIndex(4)), Some((RegionIndex(1), Bytes::ZERO)));
    }

    #[test]
    fn wrong_layouts_are_named() {
        assert_eq!(MemoryLayout::new(vec![]), Err(LayoutError::NoRegions));
        let twice = MemoryLayout::new(vec![region("ram0", 1), region("ram0", 1)]);
        assert_eq!(twice, Err(LayoutError::NameTwice("ram0".to_owned())));
        assert!(MemoryLayout::new(vec![region("ram0", 0)]).is_err());
        let many = (0..1025).map(|index| region(&index.to_string(), 1)).collect();
        assert_eq!(MemoryLayout::new(many), Err(LayoutError::TooManyRegions(1025)));
    }

    #[test]
    fn what_is_read_is_checked_as_what_is_made() {
        let json = r#"[{"name":"ram0","size":4095}]"#;
        assert!(serde_json::from_str::<MemoryLayout>(json).is_err());
    }
}
