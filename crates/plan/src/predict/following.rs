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
/// Until missing pages are waited for there: what is missing is written down, the memory is registered
/// with the kernel, and looked through for what is no hole. So much longer than a pre-copy's was the phase
/// of the device state in hybrids of 512 MiB.
const ARMING: Duration = Duration::from_micros(1500);
/// So many pages QEMU touches then while it loads the device state: the rings of a Linux guest's network
/// card. Counted on the wire in four post-copies (QEMU 10.0.2, one virtio-net card). In 20 hybrids, with
/// 60 to 350 pages missing, none of those was touched.
const TOUCHED: u32 = 5;
/// What such a page takes beside its way over the link: threads that ask for it and put it in have to
/// wake, and it stands behind what is pushed, up to 2 ms of that (`QUEUE` in the engine's
/// `post_copy/pace.rs`). Medians of moves were 0.1 to 0.7 ms at 1 Gbit/s, and 2.5 ms at 100 Mbit/s.
const FAULT: Duration = Duration::from_micros(500);

/// What a handover that took `ordinary` would have taken if pages had followed as in this mode, over a
/// link with this round trip. Nothing is copied meanwhile that would hide how long the device state is
/// saved, and missing pages have to be waited for before it is loaded; where all are missing, each that
/// is touched then comes over the link.
#[must_use]
pub fn longer(ordinary: FixedCost, mode: Mode, round_trip: Duration) -> FixedCost {
    let touched = if mode == Mode::PostCopy { TOUCHED } else { 0 };
    let waits = (round_trip + FAULT) * touched;
    let device_state = ordinary.device_state + Costs::default().saving + ARMING + waits;
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
        assert!(near.iter().all(|cost| *cost == near[0]) && more(&near[0]) > ms(5), "{near:?}");
        let far = handovers(&[], &[], Mode::PostCopy, ms(20));
        assert_eq!(far.len(), 1);
        assert_eq!(more(&far[0]) - more(&near[0]), ms(20) * TOUCHED, "each page is a round trip");
        let behind_rounds = handovers(&[], &[], Mode::Hybrid, ms(20));
        let nothing_touched = more(&near[0]) - FAULT * TOUCHED;
        assert_eq!(more(&behind_rounds[0]), nothing_touched, "what is touched is there");

        let seen = FixedCost { device_state: ms(40), ..FixedCost::default() };
        let few = handovers(&[seen; RULE - 1], &ordinary, Mode::PostCopy, ms(0));
        assert_eq!(few.len(), ordinary.len() + RULE - 1);
        assert_eq!(handovers(&[seen; RULE], &ordinary, Mode::PostCopy, ms(20)), [seen; RULE]);
    }
}
