//! What a pre-copy in rounds leads to: how many pages each round finds written again, the downtime and
//! the total time.
//!
//! The formulas are those of Checconi, Cucinotta and Stein, "Real-time issues in live migration of
//! virtual machines" (VHPC 2009), with their notation: page i is written in a slot (the time T of
//! sending one page) with probability π_i; round k sends the n_k pages of D_k in the order φ_k; the
//! pages then found dirty are D_{k+1}; after K rounds the machine is stopped and they are sent.
//!
//! The source treats one round, in which D_1 is known. In later rounds D_k is random. Here each page is
//! in it with a probability of its own, and the others are taken at their mean (a *mean field*): it is
//! exact for K = 1, and for large n, where the mean is what happens.

mod bound;
mod count;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use bound::{HeldBack, held_back};
pub use count::{at_most, quantile};

use punctual_units::Probability;

use crate::Spread;

/// The probability that a page that was clean at the beginning of a round of `sent` pages is dirty at
/// its end: Pr{p ∈ D_{k+1} | p ∉ D_k} = 1 − (1 − π)^{n_k}.
#[must_use]
pub fn dirty_unless_sent(written: f64, sent: f64) -> f64 {
    within(written, sent)
}

/// The probability that a page that was sent in slot `position` (1 … `sent`) of a round is dirty again at
/// its end: Pr{p ∈ D_{k+1} | p ∈ D_k} = 1 − (1 − π)^{n_k + 1 − φ_k⁻¹(p)}.
#[must_use]
pub fn dirty_if_sent(written: f64, sent: f64, position: f64) -> f64 {
    within(written, sent + 1.0 - position)
}

/// The probability that a page is written in so many slots: 1 − (1 − π)^slots.
fn within(written: f64, slots: f64) -> f64 {
    if slots <= 0.0 {
        return 0.0;
    }
    -(slots * (-written).ln_1p()).exp_m1()
}

/// What sending a page costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The time T = (P + H)/b of sending one page while the machine runs.
    pub slot: Duration,
    /// The same while it is stopped, (P + H)/b_d.
    pub slot_stopped: Duration,
}

impl Link {
    /// A link that carries `bandwidth` bytes a second while the machine runs and `bandwidth_stopped`
    /// while it is stopped, if a page takes `page` bytes with its overhead, P + H.
    #[must_use]
    pub fn new(page: PageCost, bandwidth: f64, bandwidth_stopped: f64) -> Self {
        let seconds = |bandwidth: f64| {
            Duration::try_from_secs_f64(page.mean() / bandwidth).unwrap_or(Duration::MAX)
        };
        Self { slot: seconds(bandwidth), slot_stopped: seconds(bandwidth_stopped) }
    }
}

/// The bytes that a page takes on the link. The source has P + H for each; here pages that are all
/// zero take only their header, and the others are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageCost {
    /// The share of pages that are all zero, from 0 to 1.
    pub zero: f64,
    /// The mean bytes of the others as they are packed, up to 4,096.
    pub packed: f64,
    /// The overhead H of each page, in bytes.
    pub overhead: f64,
}

impl PageCost {
    /// The mean bytes of a page: H + (1 − zero)·packed.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.overhead + (1.0 - self.zero) * self.packed
    }
}

/// What is expected of a pre-copy of K rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// E[n_1] … E[n_{K+1}]: pages sent in each round, and those sent while the machine is stopped.
    pub sent: Vec<f64>,
    /// n_{K+1} with its spread: the pages that are sent while the machine is stopped.
    pub left: Spread,
    /// For each page, the probability that it is among them.
    pub dirty: Vec<f64>,
    link: Link,
    fixed: Duration,
}

impl Expected {
    /// E[t_d] = E[n_{K+1}]·(P + H)/b_d, and the fixed part (stop, device state, resume).
    #[must_use]
    pub fn downtime(&self) -> Duration {
        self.fixed + self.link.slot_stopped.mul_f64(self.left.mean)
    }

    /// E[t_tot] = (P + H)/b · Σ E[n_k] + E[t_d], k = 1 … K.
    #[must_use]
    pub fn total(&self) -> Duration {
        let rounds = &self.sent[..self.sent.len() - 1];
        self.link.slot.mul_f64(rounds.iter().sum()) + self.downtime()
    }

    /// The downtime that is not exceeded with probability `level`: the exact quantile of n_{K+1}
    /// given that its pages are dirty independently of each other.
    #[must_use]
    pub fn downtime_at_most(&self, level: Probability) -> Duration {
        self.fixed + self.link.slot_stopped.mul_f64(quantile(&self.dirty, level) as f64)
    }
}

/// A pre-copy as the source describes it, page by page. All slices but `orders` have one entry for each
/// page of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// π: the probability that the page is written in a slot, from 0 to 1.
    pub written: &'a [f64],
    /// Whether the page is in D_1.
    pub dirty: &'a [bool],
    /// Whether the page is in F: it is not sent in any round, and with certainty sent at the end.
    pub held_back: &'a [bool],
    /// φ_1 … φ_K: each names every page of the machine once; those of D_k are sent in that order.
    pub orders: &'a [&'a [usize]],
}

impl Course<'_> {
    /// What is expected of it. `fixed` is the part of the downtime in which no page is sent.
    ///
    /// Cost: O(K·N).
    ///
    /// # Panics
    /// The lengths differ.
    #[must_use]
    pub fn expect(&self, link: Link, fixed: Duration) -> Expected {
        let pages = self.written.len();
        assert!(
            self.dirty.len() == pages && self.held_back.len() == pages,
            "one probability and one state for each page"
        );
        let mut dirty: Vec<f64> = self.dirty.iter().map(|&is| f64::from(u8::from(is))).collect();
        let mut sent = Vec::with_capacity(self.orders.len() + 1);
        for order in self.orders {
            let in_round = |page: usize| if self.held_back[page] { 0.0 } else { dirty[page] };
            let in_round: Vec<_> = (0..pages).map(in_round).collect();
            sent.push(in_round.iter().sum());
            dirty = next_round(self.written, &in_round, order);
        }
        for (dirty, _) in dirty.iter_mut().zip(self.held_back).filter(|(_, held)| **held) {
            *dirty = 1.0;
        }
        let left = Spread::of_events(dirty.iter().copied());
        sent.push(left.mean);
        Expected { sent, left, dirty, link, fixed }
    }
}

/// The probabilities of being in D_{k+1} from those of being in D_k. The place of a page in the round
/// is one more than the pages expected to be sent before it.
///
/// # Panics
/// The lengths differ.
#[must_use]
pub fn next_round(written: &[f64], dirty: &[f64], order: &[usize]) -> Vec<f64> {
    assert!(
        dirty.len() == order.len() && dirty.len() == written.len(),
        "an order names every page once"
    );
    let sent: f64 = dirty.iter().sum();
    let mut before = 0.0;
    let mut next = vec![0.0; dirty.len()];
    for &page in order {
        let in_round = dirty[page];
        // Given that the page itself is sent, the others are as expected.
        let others = sent - in_round;
        let if_sent = dirty_if_sent(written[page], others + 1.0, before + 1.0);
        let unless_sent = dirty_unless_sent(written[page], others);
        next[page] = in_round * if_sent + (1.0 - in_round) * unless_sent;
        before += in_round;
    }
    next
}
