use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Every order of `n` pages.
fn all_orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for shorter in all_orders(n - 1) {
        for at in 0..n {
            let mut order = shorter.clone();
            order.insert(at, n - 1);
            orders.push(order);
        }
    }
    orders
}

fn optimum_by_force(probabilities: &[f64]) -> f64 {
    all_orders(probabilities.len())
        .iter()
        .map(|order| expected_clean(probabilities, order))
        .fold(0.0, f64::max)
}

fn rising(probabilities: &[f64]) -> Vec<usize> {
    let mut order: Vec<_> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    order
}

fn falling(probabilities: &[f64]) -> Vec<usize> {
    rising(probabilities).into_iter().rev().collect()
}

fn is_permutation(order: &[usize]) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.iter().copied().eq(0..order.len())
}

proptest! {
    #[test]
    fn pages_below_one_in_n_plus_one_go_in_increasing_order(
        shares in proptest::collection::vec(0.0..1.0f64, 1..7)
    ) {
        let below = 1.0 / (shares.len() as f64 + 1.0);
        let pages: Vec<_> = shares.iter().map(|share| share * below).collect();
        let increasing = expected_clean(&pages, &rising(&pages));
        prop_assert!(increasing >= optimum_by_force(&pages) - 1e-9);
        prop_assert!(expected_clean(&pages, &best(&pages)) >= increasing - 1e-9);
    }

    #[test]
    fn pages_above_one_half_go_in_decreasing_order(
        pages in proptest::collection::vec(0.5..1.0f64, 1..7)
    ) {
        let decreasing = expected_clean(&pages, &falling(&pages));
        prop_assert!(decreasing >= optimum_by_force(&pages) - 1e-9);
        prop_assert!(expected_clean(&pages, &best(&pages)) >= decreasing - 1e-9);
    }

    #[test]
    fn any_pages_go_in_an_order_close_to_the_best_of_all(
        pages in proptest::collection::vec(0.0..=1.0f64, 0..8)
    ) {
        let order = best(&pages);
        prop_assert!(is_permutation(&order) && order.len() == pages.len());
        let clean = expected_clean(&pages, &order);
        prop_assert!(clean >= 0.99 * optimum_by_force(&pages), "{clean}");
    }

    #[test]
    fn never_worse_than_increasing_or_decreasing(
        logs in proptest::collection::vec(-12.0..0.0f64, 0..300)
    ) {
        let pages: Vec<_> = logs.iter().map(|log| log.exp()).collect();
        let clean = expected_clean(&pages, &best(&pages));
        prop_assert!(clean >= expected_clean(&pages, &rising(&pages)) - 1e-9);
        prop_assert!(clean >= expected_clean(&pages, &falling(&pages)) - 1e-9);
    }
}

#[test]
fn eight_pages_against_all_40320_orders() {
    let mut chance = StdRng::seed_from_u64(11);
    for _ in 0..2 {
        let pages: Vec<_> = (0..8).map(|_| chance.random::<f64>().powi(3)).collect();
        let optimum = optimum_by_force(&pages);
        assert!(expected_clean(&pages, &best(&pages)) >= 0.99 * optimum, "{pages:?}");
        let below: Vec<_> = pages.iter().map(|p| p / 9.0).collect();
        assert!(expected_clean(&below, &best(&below)) >= optimum_by_force(&below) - 1e-9);
        let above: Vec<_> = pages.iter().map(|p| 0.5 + p / 2.0).collect();
        assert!(expected_clean(&above, &best(&above)) >= optimum_by_force(&above) - 1e-9);
    }
}

#[test]
fn the_gap_to_the_exact_assignment_is_below_one_percent() {
    let mut chance = StdRng::seed_from_u64(3);
    let mut widest = (0.0, String::new());
    for n in [2, 5, 10, 20, 50, 100, 200] {
        for (kind, pages) in instances(n, &mut chance) {
            let optimum = assignment(&pages);
            let clean = expected_clean(&pages, &best(&pages));
            assert!(clean <= optimum * (1.0 + 1e-9), "{kind}, n = {n}: better than the optimum");
            let gap = if optimum > 0.0 { 1.0 - clean / optimum } else { 0.0 };
            if gap > widest.0 {
                widest = (gap, format!("{kind}, n = {n}"));
            }
            assert!(gap < 0.01, "{kind}, n = {n}: {:.3} % off", gap * 100.0);
        }
    }
    println!("widest gap: {:.4} % ({})", widest.0 * 100.0, widest.1);
}

/// Random probabilities of several kinds.
fn instances(n: usize, chance: &mut StdRng) -> Vec<(&'static str, Vec<f64>)> {
    let mut kinds = Vec::new();
    let mut add = |kind, draw: &mut dyn FnMut() -> f64| {
        kinds.push((kind, (0..n).map(|_| draw().clamp(0.0, 1.0)).collect()));
    };
    let around = 1.0 / n as f64;
    for _ in 0..3 {
        add("uniform", &mut || chance.random::<f64>());
        add("log-uniform", &mut || (-12.0 * chance.random::<f64>()).exp());
        add("wide log-uniform", &mut || (-6.0 * chance.random::<f64>()).exp());
        add("bimodal", &mut || if chance.random::<f64>() < 0.3 { 0.8 } else { 0.2 * around });
        add("two clouds", &mut || {
            let centre = if chance.random::<bool>() { 0.3 * around } else { 5.0 * around };
            centre * (0.5 + chance.random::<f64>())
        });
        add("around 1/n", &mut || around * (0.2 + 3.0 * chance.random::<f64>()));
        add("powers", &mut || chance.random::<f64>().powi(6));
        add("some of 1/2", &mut || if chance.random::<f64>() < 0.2 { 0.5 } else { around });
    }
    kinds
}

/// The largest Σ (1 − π)^m over all assignments of pages to m = 1…n, solved exactly. Source: the
/// Hungarian method by shortest augmenting paths, Jonker and Volgenant (1987).
fn assignment(pages: &[f64]) -> f64 {
    let n = pages.len();
    let cost = |page: usize, slots: usize| -(1.0 - pages[page]).powi(slots as i32);
    // Potentials of rows and columns; row 0 and column 0 are where a path begins.
    let (mut rows, mut columns) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; n + 1];
        let mut way = vec![0; n + 1];
        let mut used = vec![false; n + 1];
        while row_of[column] != 0 {
            used[column] = true;
            let from = row_of[column];
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for to in 1..=n {
                if used[to] {
                    continue;
                }
                let reduced = cost(from - 1, to) - rows[from] - columns[to];
                if reduced < least[to] {
                    (least[to], way[to]) = (reduced, column);
                }
                if least[to] < delta {
                    (delta, next) = (least[to], to);
                }
            }
            for to in 0..=n {
                if used[to] {
                    rows[row_of[to]] += delta;
                    columns[to] -= delta;
                } else {
                    least[to] -= delta;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[way[column]];
            column = way[column];
        }
    }
    (1..=n).map(|slots| -cost(row_of[slots] - 1, slots)).sum()
}

#[test]
fn the_exact_assignment_is_exact() {
    let mut chance = StdRng::seed_from_u64(5);
    for n in 1..=7 {
        let pages: Vec<_> = (0..n).map(|_| chance.random::<f64>()).collect();
        assert!((assignment(&pages) - optimum_by_force(&pages)).abs() < 1e-9, "{pages:?}");
    }
}
