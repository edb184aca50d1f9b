//! Few stretches of addresses that hold all written pages.

use punctual_units::{Bytes, PAGE_SIZE};

/// Gaps up to this size do not end a stretch at first.
const NARROWEST_GAP: Bytes = Bytes::new(32 * PAGE_SIZE.get());
/// How many stretches are taken at most: each costs a system call, and under KVM a round to all
/// processors of the guest.
pub(super) const MOST_TAKEN: usize = 64;
/// How many stretches are looked at at most: each costs a system call of about a microsecond, what
/// lies between two of them as much for each 2 MiB.
pub(super) const MOST_LOOKED_AT: usize = 1024;

/// Stretches of addresses, rising, with gaps between them that are worth to be left out.
#[derive(Debug)]
pub(super) struct Clusters {
    stretches: Vec<(u64, u64)>,
    gap: u64,
    most: usize,
}

impl Clusters {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { stretches: Vec::with_capacity(most + 1), gap: NARROWEST_GAP.get(), most }
    }

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.gap = NARROWEST_GAP.get();
    }

    /// Adds `start..end`, which begins behind the beginning of all that was added before.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        match self.stretches.last_mut() {
            Some(last) if start.saturating_sub(last.1) <= self.gap => last.1 = last.1.max(end),
            _ => self.stretches.push((start, end)),
        }
        while self.stretches.len() > self.most {
            self.widen();
        }
    }

    pub(super) fn stretches(&self) -> &[(u64, u64)] {
        &self.stretches
    }

    /// Joins what is separated by larger gaps, too.
    fn widen(&mut self) {
        self.gap *= 4;
        let gap = self.gap;
        self.stretches.dedup_by(|next, before| {
            let joined = next.0 - before.1 <= gap;
            if joined {
                before.1 = next.1;
            }
            joined
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_that_was_added_is_inside_of_few(
            runs in proptest::collection::vec((1..5000_u64, 1..40_u64), 0..300),
        ) {
            let mut clusters = Clusters::new(MOST_TAKEN);
            let mut added = Vec::new();
            let mut at = 0;
            for (gap, length) in runs {
                let start = at + gap * PAGE_SIZE.get();
                at = start + length * PAGE_SIZE.get();
                clusters.add(start, at);
                added.push((start, at));
            }
            let found = clusters.stretches();
            prop_assert!(found.len() <= MOST_TAKEN);
            for pair in found.windows(2) {
                prop_assert!(pair[0].1 + NARROWEST_GAP.get() < pair[1].0);
            }
            for (start, end) in added {
                prop_assert!(found.iter().any(|whole| whole.0 <= start && end <= whole.1));
            }
        }
    }

    #[test]
    fn far_pages_stay_apart() {
        let mut clusters = Clusters::new(MOST_TAKEN);
        clusters.add(0, 4096);
        clusters.add(8192, 12288);
        clusters.add(1 << 30, (1 << 30) + 4096);
        assert_eq!(clusters.stretches(), [(0, 12288), (1 << 30, (1 << 30) + 4096)]);
        clusters.clear();
        assert!(clusters.stretches().is_empty());
    }

    #[test]
    fn what_overlaps_is_one() {
        let mut clusters = Clusters::new(MOST_TAKEN);
        clusters.add(0, 1 << 21);
        clusters.add(0, 4096);
        clusters.add(1 << 20, 3 << 20);
        assert_eq!(clusters.stretches(), [(0, 3 << 20)]);
    }
}
