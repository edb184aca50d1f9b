//! Which pages are not sent before the stop, because they would be written again anyway.

use std::time::Duration;

use punctual_units::{PageIndex, PageRange, PageSet, Pages, Probability};

use crate::{Heat, HoldBack, Spread};

/// A second of interruption counts as much as so many of the whole move.
const WORTH: f64 = 2.0;
/// What is left at the stop must fit into what is allowed with this probability.
const SURE: f64 = 0.99;
/// So much of what is allowed may be filled: the estimates are not exact either.
const SHARE: f64 = 0.8;

/// Those of `pages`, the dirty ones, that are held back until the stop.
///
/// `slot` is the time of sending one page, `round` that of the round that is about to begin, `allowed` how
/// many pages may be left at the stop. Where a page costs much less from the second time on, as where only
/// what changed of it travels, `sent_before` are the pages that have been sent: of no other page is the
/// first time left to the interruption. `None` where all cost the same.
///
/// [`HoldBack::From`] is the set of the source, F_k = {p ∈ D_k : π_p ≥ π}, π_p being the probability of
/// a write in one slot (VHPC 2009).
///
/// [`HoldBack::Chosen`] finds the threshold by the model. The last round before the stop can be as short
/// as the time in which `allowed` pages are sent (or as this one, if that is shorter). A page that is
/// written in that time with probability p saves, if it is held back, the share p of a slot: it is sent
/// once instead of 1 + p times. The price is 1 − p of a slot in the interruption, the same (1 − π) as in
/// the bound of the source ([`crate::rounds::held_back`]). It pays where p ≥ 2·(1 − p): an interruption
/// counts twice. Of those pages the hottest are held back, as many as leave room: held-back pages, and all
/// others that will be written in that last round, fit into 0.8 of `allowed` with probability 0.99.
/// `sent_before` matters here alone.
///
/// Cost: some 20 ns for each page of the machine that was ever written.
///
/// # Panics
/// `heat` is of another machine than `pages`.
#[must_use]
pub fn choose(
    pages: &PageSet,
    heat: &Heat,
    strategy: HoldBack,
    slot: Duration,
    allowed: Pages,
    round: Duration,
    sent_before: Option<&PageSet>,
) -> PageSet {
    match strategy {
        HoldBack::Nothing => PageSet::empty(pages.capacity()),
        HoldBack::From(threshold) => from(pages, heat, threshold, slot),
        HoldBack::Chosen => {
            let last_round =
                round.min(slot.saturating_mul(allowed.get().min(u32::MAX.into()) as u32));
            let room = SHARE * allowed.get() as f64;
            match sent_before {
                None => chosen(pages, heat, last_round, room),
                Some(sent_before) => {
                    let mut cheap = pages.clone();
                    cheap.intersect(sent_before);
                    chosen(&cheap, heat, last_round, room)
                }
            }
        }
    }
}

fn from(pages: &PageSet, heat: &Heat, threshold: Probability, slot: Duration) -> PageSet {
    let mut held = PageSet::empty(pages.capacity());
    for page in pages.iter().filter(|&page| heat.probability(page, slot) >= threshold) {
        held.insert(page);
    }
    held
}

fn chosen(pages: &PageSet, heat: &Heat, last_round: Duration, room: f64) -> PageSet {
    let hopeless = hopeless(pages, heat, last_round);
    let mut held = PageSet::empty(pages.capacity());
    if hopeless.is_empty() {
        return held;
    }
    hopeless.iter().for_each(|(_, page)| held.insert(*page));
    // What is left at the stop if all of them are held back, all but the coolest, and so on.
    let mut left = heat.expect_written_except(&held, last_round);
    left.mean += hopeless.len() as f64;
    let mut outcomes = vec![left];
    for (p, _) in hopeless.iter().rev() {
        left.mean -= 1.0 - p;
        left.variance += p * (1.0 - p);
        outcomes.push(left);
    }
    // If there is no room even with none held back, nothing is gained by holding any.
    let sent = outcomes.partition_point(|left| !fits(*left, room)).min(hopeless.len());
    for (_, page) in &hopeless[hopeless.len() - sent..] {
        held.remove_range(PageRange::new(page.0, page.0 + 1));
    }
    held
}

/// The pages that it pays to hold back with the probability of a write in the last round, hottest first.
fn hopeless(pages: &PageSet, heat: &Heat, last_round: Duration) -> Vec<(f64, PageIndex)> {
    let seconds = last_round.as_secs_f64();
    let mut hopeless = Vec::new();
    for range in pages.ranges() {
        for (page, rate) in range.iter().zip(heat.rates(range)) {
            // 1 − e^(−λt) ≥ WORTH·e^(−λt)
            if f64::from(rate) * seconds >= WORTH.ln_1p() {
                hopeless.push((heat.probability(page, last_round).get(), page));
            }
        }
    }
    hopeless.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    hopeless
}

fn fits(left: Spread, room: f64) -> bool {
    left.quantile(Probability::saturating(SURE)) <= room
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const PAGES: u64 = 4000;
    const SLOT: Duration = Duration::from_micros(100);
    const MIXED: [u64; 4] = [100, 5, 100, 10];

    /// A machine watched for 20 s whose pages are written at these rates.
    fn watched(rate: impl Fn(u64) -> f64) -> Heat {
        let mut chance = StdRng::seed_from_u64(6);
        let mut heat = Heat::new(Pages::new(PAGES));
        for n in 0..400 {
            let interval = Duration::from_millis(MIXED[n % 4]);
            let written: Vec<_> = (0..PAGES)
                .filter(|page| {
                    chance.random::<f64>() < -(-rate(*page) * interval.as_secs_f64()).exp_m1()
                })
                .map(|page| PageRange::new(page, page + 1))
                .collect();
            heat.record(heat.observed() + interval, written);
        }
        heat
    }

    fn choose_of_all(heat: &Heat, strategy: HoldBack, allowed: u64) -> PageSet {
        let all = PageSet::full(heat.pages());
        choose(&all, heat, strategy, SLOT, Pages::new(allowed), SLOT * PAGES as u32, None)
    }

    #[test]
    fn of_hot_and_cold_pages_the_hot_ones_are_held_back() {
        let heat = watched(|page| if (100..300).contains(&page) { 150.0 } else { 0.1 });
        let held = choose_of_all(&heat, HoldBack::Chosen, 500);
        let mut hot = held.clone();
        hot.intersect(&{
            let mut hot = PageSet::empty(Pages::new(PAGES));
            hot.insert_range(PageRange::new(100, 300));
            hot
        });
        assert!(hot.len() >= Pages::new(180), "{held:?}, {hot:?}");
        assert_eq!(hot.len(), held.len(), "a cold page is held back");
    }

    #[test]
    fn of_equally_lukewarm_pages_none_is() {
        let heat = watched(|_| 2.0);
        assert!(choose_of_all(&heat, HoldBack::Chosen, 500).is_empty());
    }

    #[test]
    fn what_is_held_back_leaves_room_for_what_is_written_in_the_last_round() {
        // More hot pages than may be left.
        let heat = watched(|page| if page < 1000 { 150.0 } else { 0.1 });
        for allowed in [200, 1100, 1400] {
            let held = choose_of_all(&heat, HoldBack::Chosen, allowed);
            let last = SLOT * allowed as u32;
            let left = heat.expect_written_except(&held, last).mean + held.len().get() as f64;
            let room = SHARE * allowed as f64;
            assert!(held.is_empty() || left <= room, "{left} of {allowed}: {held:?}");
        }
        assert!(choose_of_all(&heat, HoldBack::Chosen, 200).is_empty());
        assert!(choose_of_all(&heat, HoldBack::Chosen, 1400).len() > Pages::new(900));
    }

    #[test]
    fn only_dirty_pages_are_held_back() {
        let heat = watched(|page| if page < 200 { 150.0 } else { 0.1 });
        let mut dirty = PageSet::empty(Pages::new(PAGES));
        dirty.insert_range(PageRange::new(0, 50));
        let held = choose(&dirty, &heat, HoldBack::Chosen, SLOT, Pages::new(500), SLOT * 50, None);
        let mut outside = held.clone();
        outside.subtract(&dirty);
        assert!(outside.is_empty(), "{outside:?}");
    }

    #[test]
    fn what_was_never_sent_is_not_left_to_the_interruption_where_that_costs_more() {
        let heat = watched(|page| if page < 200 { 150.0 } else { 0.1 });
        let all = PageSet::full(heat.pages());
        let mut sent = PageSet::empty(heat.pages());
        sent.insert_range(PageRange::new(100, 4000));
        let (allowed, round) = (Pages::new(500), SLOT * PAGES as u32);
        let choose =
            |sent_before| choose(&all, &heat, HoldBack::Chosen, SLOT, allowed, round, sent_before);
        let (held, any) = (choose(Some(&sent)), choose(None));
        assert!(held.iter().all(|page| (100..200).contains(&page.0)), "{held:?}");
        assert!(held.len() >= Pages::new(90) && any.len() >= Pages::new(180), "{held:?} {any:?}");
    }

    #[test]
    fn a_given_threshold_is_the_set_of_the_source() {
        let heat = watched(|page| page as f64 / 20.0);
        let threshold = Probability::new(0.01).unwrap();
        let held = choose_of_all(&heat, HoldBack::From(threshold), 1);
        for page in (0..PAGES).map(PageIndex) {
            assert_eq!(held.contains(page), heat.probability(page, SLOT) >= threshold);
        }
        assert!(!held.is_empty() && held.len() < Pages::new(PAGES));
    }

    #[test]
    fn nothing_is_nothing() {
        let heat = watched(|_| 150.0);
        assert!(choose_of_all(&heat, HoldBack::Nothing, 5000).is_empty());
        assert!(choose_of_all(&heat, HoldBack::Chosen, 0).is_empty());
    }
}
