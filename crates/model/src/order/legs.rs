use std::time::Duration;
use std::vec;

use punctual_units::{PageIndex, PageRange, PageSet, Pages};

use super::best::hopeless_share;
use crate::{Heat, Order};

/// Pages of one class of heat are sent in the order of addresses, so that runs stay long. A class is
/// half an octave of rates; class 0 is all below this rate, in writes a second.
const COLDEST: f32 = 1.0 / (1 << 24) as f32;
const CLASSES: usize = 96;
/// So many bits of an `f32` are below those that tell half octaves apart.
const HALF_OCTAVE: u32 = 22;

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
/// hardly differ (half an octave) go by address. [`Order::Recency`] sends the least recently written first,
/// in classes of half an octave of ages.
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

/// The class of a rate in writes a second: half an octave is one bit of the number's mantissa.
fn hotness(rate: f32) -> u8 {
    let halves = rate.to_bits() >> HALF_OCTAVE;
    halves.saturating_sub(COLDEST.to_bits() >> HALF_OCTAVE).min(CLASSES as u32 - 1) as u8
}

/// The rate at the lower end of a class.
fn rate_of(class: usize) -> f64 {
    let bits = (COLDEST.to_bits() >> HALF_OCTAVE) + class as u32;
    if class == 0 { 0.0 } else { f64::from(f32::from_bits(bits << HALF_OCTAVE)) }
}

/// The class of an age in milliseconds: 0 for never written, the higher the younger.
fn youth(age: u32) -> u8 {
    if age == u32::MAX {
        return 0;
    }
    let octaves = f64::from(age + 1).log2();
    ((32.0 - octaves) * 2.0).clamp(1.0, (CLASSES - 1) as f64) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{best, expected_clean};

    const PAGES: u64 = 1000;

    /// Some pages written every 10 ms, some every 100 ms, some once a second, some never.
    fn heat() -> Heat {
        let mut heat = Heat::new(Pages::new(PAGES));
        for tick in 1..=2000 {
            let due = |every: u64, runs: [PageRange; 1]| {
                runs.into_iter().filter(move |_| tick % every == 0)
            };
            let written = due(1, [PageRange::new(100, 150)])
                .chain(due(10, [PageRange::new(400, 500)]))
                .chain(due(100, [PageRange::new(700, 900)]));
            heat.record(Duration::from_millis(10 * tick), written);
        }
        heat
    }

    fn sequence(order: Order, slot: Duration) -> Vec<PageIndex> {
        legs(&PageSet::full(Pages::new(PAGES)), &heat(), order, slot, Pages::new(1))
            .flat_map(|leg| leg.iter().collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn each_page_is_in_one_leg_and_each_leg_is_full_but_the_last() {
        let mut pages = PageSet::full(Pages::new(PAGES));
        pages.remove_range(PageRange::new(120, 420));
        for order in [Order::Address, Order::Heat, Order::Recency] {
            let mut legs = legs(&pages, &heat(), order, Duration::from_micros(33), Pages::new(64));
            let mut seen = PageSet::empty(pages.capacity());
            while let Some(leg) = legs.next() {
                let mut both = leg.clone();
                both.intersect(&seen);
                assert!(both.is_empty(), "{order:?}: a page twice");
                assert!(leg.len() == Pages::new(64) || legs.remaining() == Pages::ZERO);
                seen.union(&leg);
                assert_eq!(legs.remaining(), pages.len() - seen.len());
            }
            assert_eq!(seen, pages, "{order:?}");
        }
    }

    #[test]
    fn the_order_of_addresses_rises() {
        let sequence = sequence(Order::Address, Duration::from_micros(33));
        assert!(sequence.iter().map(|page| page.0).eq(0..PAGES));
    }

    #[test]
    fn the_order_of_heat_begins_with_the_coldest_if_none_is_hopeless() {
        let pages = sequence(Order::Heat, Duration::from_nanos(100));
        let place = |page| pages.iter().position(|at| *at == PageIndex(page)).unwrap();
        assert!(place(0) < place(700) && place(899) < place(400) && place(499) < place(100));
        // Equally hot pages keep the order of addresses.
        assert!((700..899).all(|page| place(page) + 1 == place(page + 1)));
    }

    #[test]
    fn the_order_of_recency_begins_with_what_was_never_written() {
        let pages = sequence(Order::Recency, Duration::from_micros(33));
        let place = |page| pages.iter().position(|at| *at == PageIndex(page)).unwrap();
        assert!(place(0) < place(100) && place(999) < place(400));
    }

    #[test]
    fn by_classes_it_is_nearly_as_good_as_page_by_page() {
        let heat = heat();
        for micros in [1, 33, 300, 3000, 30_000] {
            let slot = Duration::from_micros(micros);
            let chances: Vec<_> = (0..PAGES)
                .map(|page| -(-heat.rate(PageIndex(page)) * slot.as_secs_f64()).exp_m1())
                .collect();
            let order: Vec<_> =
                sequence(Order::Heat, slot).iter().map(|page| page.0 as usize).collect();
            let clean = expected_clean(&chances, &order);
            let optimum = expected_clean(&chances, &best(&chances));
            assert!(clean > 0.98 * optimum, "{micros} µs: {clean} of {optimum}");
        }
    }

    #[test]
    fn the_coldest_are_those_that_the_order_of_heat_sends_first() {
        let all = PageSet::full(Pages::new(PAGES));
        let coldest = coldest(&all, &heat(), Pages::new(700));
        assert_eq!(coldest.len(), Pages::new(700));
        assert!(!coldest.contains(PageIndex(100)) && !coldest.contains(PageIndex(450)));
        let few = super::coldest(&all, &heat(), Pages::new(3));
        assert_eq!(few.ranges().collect::<Vec<_>>(), [PageRange::new(0, 3)]);
    }

    #[test]
    fn classes_and_rates_belong_together() {
        for class in 1..CLASSES {
            assert_eq!(usize::from(hotness(rate_of(class) as f32)), class);
        }
        assert_eq!(hotness(0.0), 0);
        assert_eq!(hotness(f32::MAX), CLASSES as u8 - 1);
    }

    #[test]
    fn a_block_is_the_sum_of_its_pages() {
        for (rate, left, count) in [(0.01, 100u64, 30u64), (2.0, 7, 7), (1e-12, 50, 20)] {
            let sum: f64 = (left - count + 1..=left).map(|m| (-rate * m as f64).exp()).sum();
            assert!((block_survives(rate, left, count) / sum - 1.0).abs() < 1e-6);
        }
    }
}
