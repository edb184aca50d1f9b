//! Which of the pages that are missing are likely used soon.

use punctual_model::Heat;
use punctual_units::{PageSet, Pages};

/// Writes a second from which a page is in each class, the hottest first. What is written often is
/// used often; in the last class are pages that were written at all.
const RATES: [f64; 4] = [10.0, 1.0, 0.1, 0.0];

/// Classes of the pages of a set, the hottest first. Pages that were never seen written are in none.
///
/// Takes some 30 ns for each page, and one bit of each page of the machine for each of four classes.
pub(super) fn classes(heat: &Heat, pages: &PageSet) -> Vec<PageSet> {
    let none = PageSet::empty(pages.capacity());
    let mut classes = vec![none; RATES.len()];
    if heat.pages() != pages.capacity() || heat.observed().is_zero() {
        return Vec::new();
    }
    for page in pages.iter().filter(|page| heat.unwritten_for(*page).is_some()) {
        let rate = heat.rate(page);
        let class = RATES.iter().position(|least| rate >= *least).unwrap_or(RATES.len() - 1);
        classes[class].insert(page);
    }
    classes.retain(|class| class.len() > Pages::ZERO);
    classes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use punctual_units::{PageIndex, PageRange};

    use super::*;

    #[test]
    fn what_is_written_often_is_hot_and_what_never_was_is_in_no_class() {
        let mut heat = Heat::new(Pages::new(100));
        for step in 1..=100_u64 {
            let seldom = PageRange::new(20, if step == 1 { 30 } else { 20 });
            heat.record(Duration::from_millis(50 * step), [PageRange::new(3, 5), seldom]);
        }
        let mut missing = PageSet::full(Pages::new(100));
        missing.remove_range(PageRange::new(4, 5));
        let classes = classes(&heat, &missing);
        assert_eq!(classes.first().unwrap().iter().collect::<Vec<_>>(), [PageIndex(3)]);
        assert_eq!(classes.last().unwrap().ranges().next(), Some(PageRange::new(20, 30)));
        assert_eq!(classes.iter().map(PageSet::len).sum::<Pages>(), Pages::new(11));
    }

    #[test]
    fn of_a_machine_that_was_not_watched_nothing_is_known() {
        assert!(classes(&Heat::new(Pages::new(9)), &PageSet::full(Pages::new(9))).is_empty());
    }
}
