use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::order;

const PLAIN: Link =
    Link { slot: Duration::from_micros(100), slot_stopped: Duration::from_micros(50) };

/// A machine for a course: π, D_1, and nothing held back.
struct Machine {
    written: Vec<f64>,
    dirty: Vec<bool>,
    held_back: Vec<bool>,
}

impl Machine {
    /// Pages of which few are hot, and all but one in ten are to be sent.
    fn random(pages: usize, chance: &mut StdRng) -> Self {
        let written = (0..pages).map(|_| (-4.0 - 6.0 * chance.random::<f64>()).exp()).collect();
        let dirty = (0..pages).map(|_| chance.random::<f64>() < 0.9).collect();
        Self { written, dirty, held_back: vec![false; pages] }
    }

    fn course<'a>(&'a self, orders: &'a [&'a [usize]]) -> Course<'a> {
        Course { written: &self.written, dirty: &self.dirty, held_back: &self.held_back, orders }
    }

    /// The process itself, slot by slot: n_1 … n_{K+1}.
    fn happen(&self, orders: &[&[usize]], chance: &mut StdRng) -> Vec<usize> {
        let mut dirty = self.dirty.clone();
        let mut sent = Vec::new();
        for order in orders {
            let round: Vec<_> = order
                .iter()
                .copied()
                .filter(|&page| dirty[page] && !self.held_back[page])
                .collect();
            sent.push(round.len());
            for &page in order.iter().filter(|&&page| !self.held_back[page]) {
                dirty[page] = dirty[page] && !round.contains(&page);
            }
            // A page that is in the round counts from its own slot on.
            let mut counts = vec![true; dirty.len()];
            round.iter().for_each(|&page| counts[page] = false);
            for &now in &round {
                counts[now] = true;
                for page in 0..dirty.len() {
                    dirty[page] |= counts[page] && chance.random::<f64>() < self.written[page];
                }
            }
        }
        let left = (0..dirty.len()).filter(|&page| dirty[page] || self.held_back[page]);
        sent.push(left.count());
        sent
    }
}

fn mean_and_error(samples: &[f64]) -> (f64, f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt(), variance)
}

#[test]
fn the_dirty_probabilities_are_those_of_the_source() {
    assert!((dirty_unless_sent(0.1, 3.0) - (1.0 - 0.9f64.powi(3))).abs() < 1e-12);
    assert!((dirty_if_sent(0.1, 3.0, 1.0) - (1.0 - 0.9f64.powi(3))).abs() < 1e-12);
    assert!((dirty_if_sent(0.1, 3.0, 3.0) - 0.1).abs() < 1e-12);
    assert_eq!(dirty_unless_sent(1.0, 0.0), 0.0);
    assert_eq!(dirty_if_sent(1.0, 5.0, 5.0), 1.0);
    // Small probabilities do not drown in rounding.
    assert!((dirty_unless_sent(1e-15, 1000.0) / 1e-12 - 1.0).abs() < 1e-9);
}

#[test]
fn one_round_is_as_the_process_in_mean_variance_and_quantile() {
    let mut chance = StdRng::seed_from_u64(1);
    let machine = Machine::random(60, &mut chance);
    let order = order::best(&machine.written);
    let orders = [order.as_slice()];
    let expected = machine.course(&orders).expect(PLAIN, Duration::ZERO);
    let runs: Vec<_> =
        (0..20_000).map(|_| machine.happen(&orders, &mut chance)[1] as f64).collect();
    let (mean, error, variance) = mean_and_error(&runs);
    assert!((mean - expected.left.mean).abs() < 4.0 * error, "{mean} ± {error}: {expected:?}");
    assert!((variance / expected.left.variance - 1.0).abs() < 0.06, "{variance}: {expected:?}");
    for level in [0.5, 0.9, 0.99] {
        let most = quantile(&expected.dirty, Probability::saturating(level));
        let share = runs.iter().filter(|left| **left <= most as f64).count() as f64 / 20_000.0;
        let exact = at_most(&expected.dirty, most).get();
        let error = (exact * (1.0 - exact) / 20_000.0).sqrt();
        assert!((share - exact).abs() < 4.0 * error + 1e-9, "{level}: {share} and {exact}");
    }
}

#[test]
fn each_page_is_dirty_as_often_as_expected() {
    // One page at a time, so that a mistake in one of the two formulas cannot hide in a sum.
    let mut chance = StdRng::seed_from_u64(2);
    let mut machine = Machine::random(8, &mut chance);
    machine.dirty = vec![true, true, false, true, true, false, true, true];
    let order = [3, 0, 2, 7, 6, 5, 1, 4];
    for page in 0..8 {
        machine.written = vec![0.0; 8];
        machine.written[page] = 0.2;
        let orders = [order.as_slice()];
        let expected = machine.course(&orders).expect(PLAIN, Duration::ZERO).dirty[page];
        let runs: Vec<_> =
            (0..20_000).map(|_| machine.happen(&orders, &mut chance)[1] as f64).collect();
        let (mean, error, _) = mean_and_error(&runs);
        assert!((mean - expected).abs() < 4.0 * error, "page {page}: {mean} and {expected}");
    }
}

#[test]
fn three_rounds_are_as_the_process_to_a_percent() {
    let mut chance = StdRng::seed_from_u64(3);
    let machine = Machine::random(120, &mut chance);
    let (first, second) = (order::best(&machine.written), (0..120).rev().collect::<Vec<_>>());
    let orders = [first.as_slice(), second.as_slice(), first.as_slice()];
    let expected = machine.course(&orders).expect(PLAIN, Duration::from_millis(7));
    let runs: Vec<_> = (0..3000).map(|_| machine.happen(&orders, &mut chance)).collect();
    for round in 0..=3 {
        let sent: Vec<_> = runs.iter().map(|run| run[round] as f64).collect();
        let (mean, error, _) = mean_and_error(&sent);
        let difference = (mean - expected.sent[round]).abs();
        // The mean field leaves out how D_k scatters: allow 1 % beside the error of the runs.
        assert!(difference <= 4.0 * error + 0.01 * mean, "n_{}: {mean}, {expected:?}", round + 1);
    }
    let downtimes: Vec<_> = runs.iter().map(|run| run[3] as f64 * 50e-6 + 0.007).collect();
    let (mean, error, _) = mean_and_error(&downtimes);
    assert!((mean - expected.downtime().as_secs_f64()).abs() < 4.0 * error + 0.01 * mean);
    let totals: Vec<_> = runs
        .iter()
        .map(|run| run[..3].iter().sum::<usize>() as f64 * 100e-6 + run[3] as f64 * 50e-6 + 0.007)
        .collect();
    let (mean, error, _) = mean_and_error(&totals);
    assert!((mean - expected.total().as_secs_f64()).abs() < 4.0 * error + 0.01 * mean);
}

#[test]
fn without_a_round_all_is_sent_while_the_machine_is_stopped() {
    let machine = Machine::random(50, &mut StdRng::seed_from_u64(4));
    let expected = machine.course(&[]).expect(PLAIN, Duration::from_millis(1));
    assert_eq!(expected.sent, [expected.left.mean]);
    assert_eq!(expected.total(), expected.downtime());
    assert_eq!(expected.downtime_at_most(Probability::ONE), expected.downtime());
}

#[test]
fn zero_and_packed_pages_take_less_of_the_link() {
    let cost = PageCost { zero: 0.25, packed: 2000.0, overhead: 20.0 };
    assert_eq!(cost.mean(), 1520.0);
    let link = Link::new(cost, 152_000.0, 304_000.0);
    assert_eq!(link.slot, Duration::from_millis(10));
    assert_eq!(link.slot_stopped, Duration::from_millis(5));
    assert_eq!(Link::new(cost, 0.0, 0.0).slot, Duration::MAX);
}

proptest! {
    #[test]
    fn the_bound_for_held_back_pages_holds(
        pages in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 1..40),
        threshold in 0.0..1.0f64,
        rising in any::<bool>(),
    ) {
        let written: Vec<_> = pages.iter().map(|(p, _)| p * p).collect();
        let dirty: Vec<_> = pages.iter().map(|(_, dirty)| *dirty).collect();
        let mut order: Vec<_> = (0..pages.len()).collect();
        if rising {
            order = order::best(&written);
        }
        let orders = [order.as_slice()];
        let sent = Machine { written, dirty, held_back: vec![false; pages.len()] };
        let held_back: Vec<_> = (0..pages.len())
            .map(|page| sent.dirty[page] && sent.written[page] >= threshold)
            .collect();
        let count = held_back.iter().filter(|held| **held).count() as u64;
        let held = Machine { held_back, written: sent.written.clone(), dirty: sent.dirty.clone() };
        let sent = sent.course(&orders).expect(PLAIN, Duration::ZERO);
        let held = held.course(&orders).expect(PLAIN, Duration::ZERO);
        let bound = super::held_back(count, threshold, PLAIN);
        let slack = Duration::from_nanos(10);
        prop_assert!(held.downtime() <= sent.downtime() + bound.downtime + slack);
        prop_assert!(held.total() + bound.round <= sent.total() + bound.downtime + slack);
    }

    #[test]
    fn what_is_expected_is_a_probability_and_adds_up(
        written in proptest::collection::vec(0.0..=1.0f64, 1..50),
        rounds in 1..5usize,
    ) {
        let order: Vec<_> = (0..written.len()).collect();
        let orders = vec![order.as_slice(); rounds];
        let pages = written.len();
        let machine = Machine { written, dirty: vec![true; pages], held_back: vec![false; pages] };
        let expected = machine.course(&orders).expect(PLAIN, Duration::ZERO);
        prop_assert_eq!(expected.sent.len(), rounds + 1);
        prop_assert!(expected.dirty.iter().all(|p| (0.0..=1.0).contains(p)));
        prop_assert!((expected.dirty.iter().sum::<f64>() - expected.left.mean).abs() < 1e-9);
    }
}
