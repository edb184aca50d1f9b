use punctual_units::{PageRange, PageSet, Pages};

use super::Run;
use crate::chance;

/// Which pages of a machine are simulated, and under which numbers.
///
/// Pages that matter (they hold something or are written) are counted through in the order of
/// their addresses; of each `one_in` neighbours one is kept, a different one from group to group.
/// So a run of pages stays a run, and a sparse set keeps its share.
///
/// What is lost: a set of n pages is known to some √n·√(1 − 1/one_in) of the pages kept.
#[derive(Debug, Clone)]
pub struct Thinning {
    /// Runs of pages that matter: the first page, and how many matter before it; rising. The last
    /// entry stands behind all of them.
    counted: Vec<(u64, u64)>,
    one_in: u32,
}

impl Thinning {
    /// Keeps at most some `most` of the pages that matter.
    pub(super) fn new(matter: &PageSet, most: Pages) -> Self {
        let mut counted = Vec::new();
        let mut before = 0;
        for run in matter.ranges() {
            counted.push((run.start.0, before));
            before += run.len().get();
        }
        counted.push((matter.capacity().get(), before));
        let one_in = before.div_ceil(most.get().max(1)).clamp(1, u64::from(u32::MAX)) as u32;
        Self { counted, one_in }
    }

    /// Of so many pages one is kept.
    #[must_use]
    pub fn one_in(&self) -> u32 {
        self.one_in
    }

    /// How many are kept; at least one.
    #[must_use]
    pub fn kept(&self) -> Pages {
        let matter = self.counted.last().map_or(0, |(_, before)| *before);
        Pages::new(matter.div_ceil(u64::from(self.one_in)).max(1))
    }

    /// The pages kept of `runs`, which rise and matter in all their pages.
    pub(super) fn runs(&self, runs: impl Iterator<Item = PageRange>) -> impl Iterator<Item = Run> {
        let mut near = 0;
        runs.filter_map(move |run| {
            if self.counted[near + 1].0 <= run.start.0 {
                near += self.counted[near + 1..].partition_point(|next| next.0 <= run.start.0);
            }
            let (start, before) = self.counted[near];
            let first = before + (run.start.0 - start);
            self.kept_of(first, first + run.len().get())
        })
    }

    /// The same of pages by their count.
    fn kept_of(&self, first: u64, end: u64) -> Option<Run> {
        let one_in = u64::from(self.one_in);
        let kept = |group: u64| group * one_in + chance::pick(group, one_in);
        let (low, high) = (first / one_in, (end - 1) / one_in);
        let start = if kept(low) >= first { low } else { low + 1 };
        let end = if kept(high) < end { high + 1 } else { high };
        (start < end).then_some(Run { start: start as u32, end: end as u32 })
    }
}
