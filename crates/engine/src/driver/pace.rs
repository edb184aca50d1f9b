//! Whether long runs of pages go raw or packed, by how fast the link turns out to be.

use std::time::{Duration, Instant};

use punctual_units::{Bytes, BytesPerSecond, Pages};

use crate::meter::PACK_BELOW;

/// A measure of the link spans so many bytes and this time ...
const TRIAL: Bytes = Bytes::mib(2);
const TRIAL_LEAST: Duration = Duration::from_millis(10);
/// ... or this time: a link that did not take so much in it is slow.
const TRIAL_MOST: Duration = Duration::from_millis(50);
/// After so many batches of packed pages in a row for which the link did not have to be waited
/// for, it is tried again whether raw pages are faster.
const IDLE_BATCHES: u32 = 8;
/// A link with less than this in its queue does not have to be waited for.
const IDLE_BELOW: Bytes = Bytes::kib(16);

/// What is known of the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// The operator said how fast it is.
    Told(BytesPerSecond),
    /// Raw pages are sent, and it is watched how fast they go.
    Raw { window: Option<(Instant, Bytes)>, proven: bool },
    /// Pages are packed; so many batches in a row did not fill the link.
    Packed { idle: u32 },
}

impl Pace {
    pub(super) fn new(told: Option<BytesPerSecond>) -> Self {
        told.map_or(Self::Raw { window: None, proven: false }, Self::Told)
    }

    /// Whether long runs go raw. A final copy is not the time to try it.
    pub(super) fn is_raw(&self, is_final: bool) -> bool {
        match self {
            Self::Told(rate) => *rate >= PACK_BELOW,
            Self::Raw { proven, .. } => *proven || !is_final,
            Self::Packed { .. } => false,
        }
    }

    pub(super) fn is_on_trial(&self) -> bool {
        matches!(self, Self::Raw { proven: false, .. })
    }

    /// Sending begins after a pause.
    pub(super) fn begin(&mut self) {
        if let Self::Raw { window, .. } = self {
            *window = None;
        }
    }

    /// Before raw pages are sent: so much has arrived at the other host's kernel in all.
    pub(super) fn watch_raw(&mut self, now: Instant, arrived: Bytes) {
        let Self::Raw { window, .. } = self else { return };
        let (begin, before) = *window.get_or_insert((now, arrived));
        let (time, bytes) = (now - begin, arrived.saturating_sub(before));
        if (bytes >= TRIAL && time >= TRIAL_LEAST) || time >= TRIAL_MOST {
            let fast = bytes.per(time).is_none_or(|rate| rate >= PACK_BELOW);
            *self = if fast {
                Self::Raw { window: Some((now, arrived)), proven: true }
            } else {
                Self::Packed { idle: 0 }
            };
        }
    }

    /// After a batch was packed: `payload` for so many `pages`, and `queued` is still in the queue.
    pub(super) fn watch_packed(&mut self, payload: Bytes, pages: Pages, queued: Bytes) {
        let Self::Packed { idle } = self else { return };
        // Pages that packing makes small are better off packed, however fast the link is.
        let shrinks = payload.get() * 2 < pages.bytes().get();
        *idle = if shrinks || queued >= IDLE_BELOW { 0 } else { *idle + 1 };
        if *idle >= IDLE_BATCHES {
            *self = Self::Raw { window: None, proven: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: Pages = Pages::new(256);

    /// What comes of a link that takes so many megabits a second.
    fn after(megabits: u64, time: Duration) -> Pace {
        let mut pace = Pace::new(None);
        let (begin, rate) = (Instant::now(), BytesPerSecond::megabits(megabits));
        for step in 0..=time.as_millis() as u32 {
            let passed = Duration::from_millis(1) * step;
            pace.watch_raw(begin + passed, rate.bytes_in(passed));
        }
        pace
    }

    #[test]
    fn a_slow_link_gets_packed_pages_after_two_mebibytes() {
        assert!(after(1000, Duration::from_millis(15)).is_raw(false));
        assert!(!after(1000, Duration::from_millis(18)).is_raw(false));
        assert!(!after(10, Duration::from_millis(51)).is_raw(false));
    }

    #[test]
    fn a_fast_link_gets_raw_pages() {
        let pace = after(10_000, Duration::from_millis(30));
        assert!(pace.is_raw(false) && pace.is_raw(true) && !pace.is_on_trial());
    }

    #[test]
    fn an_unknown_link_is_not_tried_at_the_final_copy() {
        assert!(!Pace::new(None).is_raw(true));
    }

    #[test]
    fn a_link_that_waits_for_the_encoder_is_tried_again() {
        let mut pace = Pace::Packed { idle: 0 };
        for _ in 0..IDLE_BATCHES {
            pace.watch_packed(Bytes::mib(1), MIB, Bytes::ZERO);
        }
        assert!(pace.is_on_trial());
    }

    #[test]
    fn what_packing_makes_small_stays_packed() {
        let mut pace = Pace::Packed { idle: 0 };
        for _ in 0..100 {
            pace.watch_packed(Bytes::kib(100), MIB, Bytes::ZERO);
            pace.watch_packed(Bytes::mib(1), MIB, Bytes::kib(200));
        }
        assert!(!pace.is_raw(false));
    }
}
