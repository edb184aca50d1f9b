//! Which pages are not sent before the stop, because they would be written again anyway.

use std::time::Duration;

use punctual_units::{PageSet, Pages, Probability};

use crate::{Heat, HoldBack};

/// The pages of `pages` that are held back until the stop.
#[must_use]
pub fn choose(
    pages: &PageSet,
    heat: &Heat,
    strategy: HoldBack,
    slot: Duration,
    allowed: Pages,
    round: Duration,
) -> PageSet {
    match strategy {
        HoldBack::Nothing => PageSet::empty(pages.capacity()),
        HoldBack::From(threshold) => from(pages, heat, threshold, slot),
        HoldBack::Chosen => chosen(pages, heat, slot, allowed, round),
    }
}

/// F_k = {p ∈ D_k : π ≥ threshold}, as in the source.
fn from(pages: &PageSet, heat: &Heat, threshold: Probability, slot: Duration) -> PageSet {
    let mut held = PageSet::empty(pages.capacity());
    for page in pages.iter().filter(|&page| heat.probability(page, slot) >= threshold) {
        held.insert(page);
    }
    held
}

fn chosen(
    pages: &PageSet,
    heat: &Heat,
    slot: Duration,
    allowed: Pages,
    round: Duration,
) -> PageSet {
    let horizon = round.min(slot.saturating_mul(u32::try_from(allowed.get()).unwrap_or(u32::MAX)));
    let mut hot: Vec<_> = pages
        .iter()
        .map(|page| (heat.probability(page, horizon).get(), page))
        .filter(|(p, _)| *p >= 0.5)
        .collect();
    hot.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut held = PageSet::empty(pages.capacity());
    for (_, page) in hot.into_iter().take(allowed.get() as usize / 2) {
        held.insert(page);
    }
    held
}
