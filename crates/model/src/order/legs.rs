use std::time::Duration;
use std::vec;

use punctual_units::{PageIndex, PageRange, PageSet, Pages};

use super::best::hopeless_share;
use crate::{Heat, Order};

/// Pages whose rates differ by less than a factor of √2 are equally hot: they stay in the order of
/// addresses, so that runs stay long. Class 0 is colder than 2⁻²⁴ writes a second.
const PER_OCTAVE: f64 = 2.0;
const COLDEST: f64 = -24.0;
const CLASSES: usize = 96;

/// The pages of a round in sending order, cut into legs. Each is a set: within it pages go by
/// address.
#[derive(Debug, Clone)]
pub struct Legs {
    runs: vec::IntoIter<PageRange>,
    /// What the last leg left of a run.
    rest: Option<PageRange>,
    leg: Pages,
    capacity: Pages,
    remaining: Pages,
}

impl Legs {
    /// How many pages the legs have that are still to come.
    #[must_use]
    pub fn remaining(&self) -> Pages {
        self.remaining
    }
}

impl Iterator for Legs {
    type Item = PageSet;

    fn next(&mut self) -> Option<PageSet> {
        if self.remaining == Pages::ZERO {
            return None;
        }
        let mut leg = PageSet::empty(self.capacity);
        while leg.len() < self.leg {
            let Some(run) = self.rest.take().or_else(|| self.runs.next()) else { break };
            let (now, later) = run.split_at(self.leg - leg.len());
            leg.insert_range(now);
            self.rest = (!later.is_empty()).then_some(later);
        }
        self.remaining = self.remaining.saturating_sub(leg.len());
        Some(leg)
    }
}

/// Cuts `pages` into legs of `leg` pages (the last may have fewer), in the order in which they are to
/// be sent, if sending one page takes a `slot`.
///
/// [`Order::Heat`] is the order of [`super::best`] at the granularity of classes: pages whose rates
/// differ by less than √2 go by address. [`Order::Recency`] sends the least recently written first,
/// in classes of ages that differ by less than √2.
///
/// Cost: some 20 ns a page; 1 MiB for each leg of a machine of 32 GiB. A `leg` of no pages counts as
/// one page.
///
/// # Panics
/// `heat` is of a smaller machine.
#[must_use]
pub fn legs(pages: &PageSet, heat: &Heat, order: Order, slot: Duration, leg: Pages) -> Legs {
    let runs = match order {
        Order::Address => pages.ranges().collect(),
        Order::Heat => {
            let classes = Classes::sort(pages, |range| heat.rates(range).map(hotness));
            let sequence = classes.sequence(slot);
            classes.runs(&sequence)
        }
        Order::Recency => {
            let classes = Classes::sort(pages, |range| heat.ages(range).map(youth));
            let sequence: Vec<_> = (0..CLASSES).collect();
            classes.runs(&sequence)
        }
    };
    Legs {
        runs: runs.into_iter(),
        rest: None,
        leg: leg.max(Pages::new(1)),
        capacity: pages.capacity(),
        remaining: pages.len(),
    }
}

/// The `most` pages of the set that are least likely to be written soon; equally hot ones by
/// address.
///
/// Cost: some 20 ns a page.
///
/// # Panics
/// `heat` is of a smaller machine.
#[must_use]
pub fn coldest(pages: &PageSet, heat: &Heat, most: Pages) -> PageSet {
    let classes = Classes::sort(pages, |range| heat.rates(range).map(hotness));
    let sequence: Vec<_> = (0..CLASSES).collect();
    let mut chosen = PageSet::empty(pages.capacity());
    for run in classes.runs(&sequence) {
        let (now, _) = run.split_at(most.saturating_sub(chosen.len()));
        chosen.insert_range(now);
    }
    chosen
}

/// The runs of a set, sorted into classes.
struct Classes {
    runs: Vec<Vec<PageRange>>,
}

impl Classes {
    fn sort<I: Iterator<Item = u8>>(pages: &PageSet, classes: impl Fn(PageRange) -> I) -> Self {
        let mut runs = vec![Vec::<PageRange>::new(); CLASSES];
        for range in pages.ranges() {
            for (page, class) in range.iter().zip(classes(range)) {
                extend(&mut runs[usize::from(class)], page);
            }
        }
        Self { runs }
    }

    /// The classes of heat in sending order: the hopeless first, hottest at the beginning, the others
    /// after them, coldest first.
    fn sequence(&self, slot: Duration) -> Vec<usize> {
        let counts: Vec<u64> =
            self.runs.iter().map(|runs| runs.iter().map(|run| run.len().get()).sum()).collect();
        let order = |hopeless: usize| {
            (CLASSES - hopeless..CLASSES).rev().chain(0..CLASSES - hopeless).collect::<Vec<_>>()
        };
        let hopeless = hopeless_share(CLASSES, |hopeless| {
            let mut left: u64 = counts.iter().sum();
            let mut clean = 0.0;
            for class in order(hopeless) {
                clean += block_survives(rate_of(class) * slot.as_secs_f64(), left, counts[class]);
                left -= counts[class];
            }
            clean
        });
        order(hopeless)
    }

    fn runs(self, sequence: &[usize]) -> Vec<PageRange> {
        sequence.iter().flat_map(|&class| self.runs[class].iter().copied()).collect()
    }
}

/// How many of `count` pages, each written `rate` times a slot, stay clean if they are sent one after
/// the other with `left` slots to the end: Σ e^(−rate·m) for m = left … left−count+1, a geometric sum.
fn block_survives(rate: f64, left: u64, count: u64) -> f64 {
    if rate * (left as f64) < 1e-9 {
        return count as f64;
    }
    let last = (left - count + 1) as f64;
    (-rate * last).exp() * (-rate * count as f64).exp_m1() / (-rate).exp_m1()
}

fn extend(runs: &mut Vec<PageRange>, page: PageIndex) {
    match runs.last_mut() {
        Some(run) if run.end == page => run.end = page.plus(Pages::new(1)),
        _ => runs.push(PageRange::new(page.0, page.0 + 1)),
    }
}

/// The class of a rate in writes a second.
fn hotness(rate: f64) -> u8 {
    let class = (rate.log2() - COLDEST) * PER_OCTAVE;
    class.clamp(0.0, (CLASSES - 1) as f64) as u8
}

/// The rate in the middle of a class.
fn rate_of(class: usize) -> f64 {
    if class == 0 { 0.0 } else { ((class as f64 + 0.5) / PER_OCTAVE + COLDEST).exp2() }
}

/// The class of an age in milliseconds: 0 for never written, the higher the younger.
fn youth(age: u32) -> u8 {
    if age == u32::MAX {
        return 0;
    }
    let octaves = f64::from(age + 1).log2();
    ((32.0 - octaves) * PER_OCTAVE).clamp(1.0, (CLASSES - 1) as f64) as u8
}
