//! Handovers behind which pages follow: what they take beside those behind which none does.
//!
//! They are learnt apart from the others, and those at which all pages are missing (post-copy) apart from
//! those at which only what rounds have left is (hybrid). Until there are enough of a kind they are taken
//! for ordinary ones that take longer by what was measured once, see [`longer`].

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_model::Mode;

use crate::simulate::Costs;

/// Fewer handovers of the kind than this are no rule.
const RULE: usize = 4;
/// So many pages QEMU touches while it loads the device state: the rings of a Linux guest's network
/// card. Counted on the wire in five post-copies (QEMU 10.0.2, one virtio-net card). None of them was
/// among the some 100 pages that rounds had left.
const TOUCHED: u32 = 5;
/// What such a page takes beside its way over the link: it is asked for and put in by threads that
/// have to wake, and stands behind up to 2 ms of what is pushed (`QUEUE` in the engine's
/// `post_copy/pace.rs`). On the wire from one to the next: 2 ms at 1 Gbit/s, 3 ms at 100 Mbit/s.
const FAULT: Duration = Duration::from_millis(2);

/// What a handover that took `ordinary` would have taken if pages had followed as in this mode, over a
/// link with this round trip. Nothing is copied meanwhile that would hide how long the device state is
/// saved; and where all pages are missing, each that is touched while it is loaded is waited for.
#[must_use]
pub fn longer(ordinary: FixedCost, mode: Mode, round_trip: Duration) -> FixedCost {
    let touched = if mode == Mode::PostCopy { TOUCHED } else { 0 };
    let waits = (round_trip + FAULT) * touched;
    let device_state = ordinary.device_state + Costs::default().saving + waits;
    FixedCost { device_state, ..ordinary }
}

/// Samples of what the next handover takes behind which pages follow as in this mode, at least one:
/// those that were `seen` of the kind, oldest first; behind the ordinary ones made [`longer`] as long as
/// there are few.
#[must_use]
pub fn handovers(
    seen: &[FixedCost],
    ordinary: &[FixedCost],
    mode: Mode,
    round_trip: Duration,
) -> Vec<FixedCost> {
    if seen.len() >= RULE {
        return seen.to_vec();
    }
    let none = [FixedCost::default()];
    let ordinary = if ordinary.is_empty() { &none } else { ordinary };
    let assumed = ordinary.iter().map(|cost| longer(*cost, mode, round_trip));
    assumed.chain(seen.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn few_are_no_rule_and_enough_speak_for_themselves() {
        let ordinary = [FixedCost::default(); 9];
        let more = |cost: &FixedCost| cost.sum() - FixedCost::default().sum();
        let near = handovers(&[], &ordinary, Mode::PostCopy, ms(0));
        assert_eq!(near.len(), ordinary.len());
        assert!(near.iter().all(|cost| more(cost) > ms(8)), "{near:?}");
        let far = handovers(&[], &[], Mode::PostCopy, ms(20));
        assert_eq!(far.len(), 1);
        assert_eq!(more(&far[0]) - more(&near[0]), ms(20) * TOUCHED, "each page is a round trip");
        let behind_rounds = handovers(&[], &[], Mode::Hybrid, ms(20));
        assert!(more(&behind_rounds[0]) < ms(5), "what is touched is there: {behind_rounds:?}");

        let seen = FixedCost { device_state: ms(40), ..FixedCost::default() };
        let few = handovers(&[seen; RULE - 1], &ordinary, Mode::PostCopy, ms(0));
        assert_eq!(few.len(), ordinary.len() + RULE - 1);
        assert_eq!(handovers(&[seen; RULE], &ordinary, Mode::PostCopy, ms(20)), [seen; RULE]);
    }
}
