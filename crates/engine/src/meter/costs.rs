//! What pages cost on the connection: the first time, and again.
//!
//! A page that the destination lacks goes whole. Of one that was sent before only what changed
//! travels, where pages are packed: often a tenth. So one mean over both says little of a set in
//! which they are mixed otherwise than in what was sent last; the two are learned apart.
//!
//! A page sent again costs the more, the more the guest wrote to it, so what cold pages cost tells
//! nothing of hot ones. An estimate that is to hold surely therefore believes a cost seen *again*
//! only of so many pages as it was seen on, twice at most, in a round that left none of the dirty
//! pages out. Of all others it takes the cost of a whole page.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_units::{PAGE_SIZE, PageSet, Pages};

/// What a page and its heads take if nothing makes it smaller, in bytes.
const WHOLE: f64 = PAGE_SIZE.get() as f64 + 16.0;
/// Fewer pages say little about what a page costs.
const TELLING: f64 = 32.0;
/// Rounds whose costs are remembered.
const RECENT: usize = 5;
/// A cost is believed of so many times the pages that it was seen on.
const BELIEVED: f64 = 2.0;

/// Pages to be sent, by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Load {
    /// Pages that the destination lacks.
    pub(crate) first: f64,
    /// Pages of which it has an old version.
    pub(crate) again: f64,
}

/// For what an estimate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// It is to be right on average.
    Likely,
    /// A promise stands or falls with it.
    Surely,
}

/// What one page takes, or several.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cost {
    pub(super) bytes: f64,
    /// Seconds of reading, encoding and handing it to the link.
    pub(super) seconds: f64,
}

/// What pages were seen to cost.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    pages: f64,
    cost: Cost,
}

/// The costs of one move.
#[derive(Debug, Clone, Default)]
pub(super) struct Costs {
    /// In the present round.
    first_now: Seen,
    again_now: Seen,
    /// In the last round that had enough of them.
    first: Seen,
    /// In the last rounds, newest last.
    again: VecDeque<Seen>,
    /// In the last rounds that sent all that was dirty, down to enough pages.
    tested: Seen,
}

impl Load {
    pub(crate) fn of(pages: &PageSet, sent_before: &PageSet) -> Self {
        let mut first = pages.clone();
        first.subtract(sent_before);
        let again = pages.len() - first.len();
        Self { first: first.len().get() as f64, again: again.get() as f64 }
    }

    /// Pages that were all sent before.
    pub(crate) fn again(pages: f64) -> Self {
        Self { first: 0.0, again: pages }
    }

    pub(crate) fn count(&self) -> f64 {
        self.first + self.again
    }

    pub(crate) fn pages(&self) -> Pages {
        Pages::new(self.count().ceil() as u64)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { first: self.first + other.first, again: self.again + other.again }
    }

    /// So many pages of the same mix; where there is none, pages that were sent before.
    pub(crate) fn as_many(&self, pages: f64) -> Self {
        match self.count() {
            0.0 => Self::again(pages),
            all => Self { first: self.first * pages / all, again: self.again * pages / all },
        }
    }
}

impl Cost {
    const WHOLE: Self = Self { bytes: WHOLE, seconds: 0.0 };

    fn times(self, pages: f64) -> Self {
        Self { bytes: self.bytes * pages, seconds: self.seconds * pages }
    }

    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, seconds: self.seconds + other.seconds }
    }

    /// The larger of each part.
    fn max(self, other: Self) -> Self {
        let (bytes, seconds) = (self.bytes.max(other.bytes), self.seconds.max(other.seconds));
        Self { bytes, seconds }
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.cost = self.cost.plus(other.cost);
    }

    fn half(self) -> Self {
        Self { pages: self.pages / 2.0, cost: self.cost.times(0.5) }
    }

    /// What one page cost, if there were enough.
    fn of_a_page(&self) -> Option<Cost> {
        (self.pages >= TELLING).then(|| self.cost.times(1.0 / self.pages))
    }
}

impl Costs {
    pub(super) fn begin_round(&mut self) {
        (self.first_now, self.again_now) = Default::default();
    }

    /// Pages went, and took this. What a mixed load took is put down to the part of it that is the
    /// larger, beside what the other is known to cost.
    pub(super) fn sent(&mut self, load: Load, bytes: f64, time: Duration) {
        let all = Cost { bytes, seconds: time.as_secs_f64() };
        if load.first >= load.again {
            let beside = self.latest().map_or(0.0, |cost| cost.bytes * load.again);
            let cost = without(all, beside, load.first);
            self.first_now.add(Seen { pages: load.first, cost });
            if let Some(seen) = Some(self.first_now).filter(|seen| seen.pages >= TELLING) {
                self.first = seen;
            }
        } else {
            let beside = self.first.of_a_page().map_or(0.0, |cost| cost.bytes * load.first);
            let mut cost = without(all, beside, load.again);
            // The few others may have cost less than is thought, as pages of zeros do.
            if load.first > 0.0
                && let Some(latest) = self.latest()
            {
                cost = cost.max(latest.times(load.again));
            }
            self.again_now.add(Seen { pages: load.again, cost });
        }
    }

    /// A round is over: one that sent all that was dirty, or one that left pages out.
    pub(super) fn end_round(&mut self, left_none_out: bool) {
        let seen = self.again_now;
        if seen.pages >= TELLING {
            if self.again.len() == RECENT {
                self.again.pop_front();
            }
            self.again.push_back(seen);
        }
        if left_none_out && seen.pages >= TELLING {
            self.tested = seen;
        } else if left_none_out && seen.pages > 0.0 {
            if self.tested.pages >= 2.0 * TELLING {
                self.tested = self.tested.half();
            }
            self.tested.add(seen);
        }
        self.begin_round();
    }

    /// What these pages take.
    pub(super) fn of(&self, load: Load, care: Care) -> Cost {
        match care {
            Care::Likely => {
                let first = self.first_likely().times(load.first);
                first.plus(self.again_likely().times(load.again))
            }
            Care::Surely => {
                let believed = load.again.min(self.believed());
                let others = load.count() - believed;
                self.again_surely().times(believed).plus(self.whole().times(others))
            }
        }
    }

    /// How many pages are surely sent again at what that was seen to cost.
    pub(super) fn believed(&self) -> f64 {
        self.tested.of_a_page().map_or(0.0, |_| BELIEVED * self.tested.pages)
    }

    fn first_likely(&self) -> Cost {
        self.first.of_a_page().unwrap_or(Cost::WHOLE)
    }

    fn again_likely(&self) -> Cost {
        self.tested.of_a_page().or_else(|| self.latest()).unwrap_or_else(|| self.first_likely())
    }

    /// The most of what was seen lately: in the last round, in the last that left nothing out, and in
    /// the middle of the last rounds.
    fn again_surely(&self) -> Cost {
        let mut cost = self.again_likely();
        if let Some(latest) = self.latest() {
            cost = cost.max(latest);
        }
        let mut recent: Vec<_> = self.again.iter().filter_map(Seen::of_a_page).collect();
        recent.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
        recent.get(recent.len() / 2).map_or(cost, |median| cost.max(*median))
    }

    /// A page of which nothing is known for sure.
    fn whole(&self) -> Cost {
        let cost = Cost::WHOLE.max(self.first_likely());
        self.latest().map_or(cost, |again| cost.max(again))
    }

    /// What a page cost again in the present round, or in the last.
    fn latest(&self) -> Option<Cost> {
        self.again_now.of_a_page().or_else(|| self.again.back()?.of_a_page())
    }
}

/// What is left of a cost for `pages` without so many bytes: no more than whole pages take.
fn without(all: Cost, bytes: f64, pages: f64) -> Cost {
    let left = (all.bytes - bytes).clamp(0.0, WHOLE * pages);
    let share = if all.bytes > 0.0 { left / all.bytes } else { 1.0 };
    Cost { bytes: left, seconds: all.seconds * share }
}
