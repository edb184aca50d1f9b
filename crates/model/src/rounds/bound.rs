use std::time::Duration;

use super::Link;

/// What holding pages back until the stop changes at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldBack {
    /// E[t_d] grows by at most this: |F|·(1 − π)·(P + H)/b_d.
    pub downtime: Duration,
    /// The time that the round does not take, |F|·(P + H)/b. E[t_tot] grows by at most
    /// [`HeldBack::downtime`] less this.
    pub round: Duration,
}

/// The bound for holding back the set F = {p ∈ D_k : π_p ≥ `threshold`} of `count` pages: each of them
/// would have been dirty at the stop with a probability of at least π anyway.
///
/// E[t_d] ≤ E[t_d, nothing held back] + |F|(1 − π)(P + H)/b_d, and
/// E[t_tot] ≤ E[t_tot, nothing held back] − |F|(P + H)/b + |F|(1 − π)(P + H)/b_d.
///
/// Both hold for a round that is the last one or the only one, and for pages held back in all of K
/// rounds, as long as no round is empty; each of these saves its slots anew.
///
/// Source: VHPC 2009, "All pages are equal, but some are more equal".
///
/// ```
/// use std::time::Duration;
/// use punctual_model::rounds::{Link, held_back};
///
/// let slot = Duration::from_micros(33);
/// let bound = held_back(1000, 0.9, Link { slot, slot_stopped: slot });
/// assert_eq!(bound.round, Duration::from_millis(33));
/// assert!(bound.downtime < Duration::from_micros(3301));
/// ```
#[must_use]
pub fn held_back(count: u64, threshold: f64, link: Link) -> HeldBack {
    HeldBack {
        downtime: link.slot_stopped.mul_f64(count as f64 * (1.0 - threshold)),
        round: link.slot.mul_f64(count as f64),
    }
}
