//! The least bandwidth with which a promise is kept.

use punctual_model::Policy;
use punctual_units::{Bytes, BytesPerSecond};

use super::choose::FEW;
use crate::predict::{Prospect, Workers};
use crate::replay::Replay;
use crate::{Ask, Facts};

/// It is sought to this share of it, ...
const EXACT: f64 = 0.1;
/// ... and not beyond so many times what the link carries.
const FARTHEST: u64 = 16;

/// Looks for the least bandwidth with which a promise is kept.
pub(super) struct Search<'a> {
    pub(super) replay: &'a Replay,
    pub(super) facts: &'a Facts,
    pub(super) ask: &'a Ask,
    pub(super) workers: &'a dyn Workers,
}

impl Search<'_> {
    fn keeps(&self, policy: Policy, rate: BytesPerSecond) -> bool {
        let facts = Facts { bandwidth: rate.max(self.facts.bandwidth), ..self.facts.clone() };
        let ask = Ask { bandwidth: Some(rate), ..self.ask.clone() };
        let prospect = Prospect { replay: self.replay, facts: &facts, ask: &ask };
        prospect.samples(policy, FEW, false, self.workers).kept() >= self.ask.confidence
    }

    /// By halving between a rate that is too low and one that does, assuming that more never hurts.
    pub(super) fn cheapest(&self, policy: Policy, kept: bool) -> Option<BytesPerSecond> {
        let link = self.facts.bandwidth;
        let given = self.ask.bandwidth.map_or(link, |asked| asked.min(link));
        let (mut low, mut high) = (self.least(), given);
        if !kept {
            low = given;
            let farthest = BytesPerSecond::new(link.get().saturating_mul(FARTHEST));
            loop {
                if high >= farthest {
                    return None;
                }
                high = BytesPerSecond::new(high.get().saturating_mul(2).min(farthest.get()));
                if self.keeps(policy, high) {
                    break;
                }
                low = high;
            }
        }
        while high.get() as f64 > low.get() as f64 * (1.0 + EXACT) {
            let middle = (low.get() as f64 * high.get() as f64).sqrt();
            let middle = BytesPerSecond::new((middle as u64).max(1));
            if self.keeps(policy, middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Below this not even one round would be over in time.
    fn least(&self) -> BytesPerSecond {
        let subject = self.replay.subject();
        let pages = subject.populated.len().get() * u64::from(subject.thinning);
        let bytes = pages as f64 * subject.content.zero.complement().get() * subject.content.first;
        let rate = Bytes::new(bytes as u64).per(self.ask.within).unwrap_or_default();
        BytesPerSecond::new(rate.get().max(1000).min(self.facts.bandwidth.get()))
    }
}
