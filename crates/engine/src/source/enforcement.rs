//! How long a guest may be stopped before it is let run on here.
//!
//! A stop that takes twice as long as was promised is a long blackout, and one that is given up is
//! a shorter blackout with no move to show for it. So a stop that is nearly over is let end, and one
//! that is seen to have far to go is given up as soon as that is known.

use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE, Pages};

use super::context::Context;
use super::event::Why;
use crate::Phase;

/// A stop is given up if it is expected to take so many times what was promised, ...
const EXPECTED: u32 = 2;
/// ... and longer by at least this.
const EXPECTED_LEAST: Duration = Duration::from_millis(100);
/// What is expected is judged by what the link did for this long, and for this part of what was
/// promised: device state goes with the first pages, and tells nothing of the others.
const SEEN: Duration = Duration::from_millis(50);
const SEEN_OF_PROMISED: u32 = 4;
/// It is given up in any case after so many times what was promised, ...
const ANY_CASE: u32 = 3;
/// ... but not before this time.
const ANY_CASE_LEAST: Duration = Duration::from_millis(500);
/// What is received is acknowledged only after so much of it.
const UNACKNOWLEDGED: Bytes = Bytes::mib(1);
/// Time for digests is added, at this rate.
const DIGEST_RATE: BytesPerSecond = BytesPerSecond::new(100_000_000);

/// Where the connection stood when the guest stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    at: Duration,
    sent: Bytes,
    received: Bytes,
}

/// The pages of the final copy: those that have been sent, and those that have not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) sent: Pages,
    pub(super) left: Pages,
}

impl Context {
    /// The guest's processors stopped at `since`, and it is known now that it is quiet.
    pub(super) fn stopped(&mut self, at: Duration, since: Duration) {
        self.course.stopped(at, since);
        let (sent, received) = (self.meter.total_sent(), self.meter.total_received());
        self.stopped = Some(Mark { at, sent, received });
    }

    /// What was promised: the interruption asked for, or the one that was expected if it is longer,
    /// as it is of a machine that is moved in any case.
    fn promised(&self) -> Duration {
        self.offer.downtime.max(self.stopping_for)
    }

    /// Whether a guest that stopped at `since` is to be let run on here. `copied` tells of the final
    /// copy while that goes on.
    pub(super) fn overrun(
        &self,
        at: Duration,
        since: Duration,
        phase: Phase,
        copied: Option<Copied>,
    ) -> Option<Why> {
        let (stopped, promised) = (at.saturating_sub(since), self.promised());
        let digests = match self.offer.verify {
            true => DIGEST_RATE.time_for(self.offer.layout.pages().bytes()),
            false => Duration::ZERO,
        };
        let left = copied.and_then(|copied| self.still_takes(at, copied));
        let expected = (promised * EXPECTED).max(promised + EXPECTED_LEAST);
        // One that is nearly over is let end.
        // As long as the promise is not broken, a link that has just begun to send tells too little.
        let far = left.filter(|_| stopped > promised + digests).is_some_and(|left| {
            left > promised / 2 && stopped.saturating_add(left) > expected + digests
        });
        let any_case = (promised * ANY_CASE).max(ANY_CASE_LEAST) + digests;
        (far || stopped > any_case).then_some(Why::Overrun { phase, stopped, left, promised })
    }

    /// What the rest of the copy takes, by what the link did since the guest stopped; `None` if that
    /// says nothing yet.
    fn still_takes(&self, at: Duration, copied: Copied) -> Option<Duration> {
        let mark = self.stopped?;
        let seen = SEEN.max(self.promised() / SEEN_OF_PROMISED);
        let time = at.checked_sub(mark.at).filter(|time| *time >= seen)?;
        let sent = self.meter.total_sent();
        // It may have arrived without having been acknowledged.
        let arrived = (self.meter.total_received() + UNACKNOWLEDGED).min(sent);
        let took = sent.saturating_sub(mark.sent).get();
        let page = (took / copied.sent.get().max(1)).min(PAGE_SIZE.get());
        let left = sent.saturating_sub(arrived) + Bytes::new(page * copied.left.get());
        let rate = arrived.saturating_sub(mark.received).per(time).unwrap_or_default();
        let copy = match rate {
            _ if left == Bytes::ZERO => Duration::ZERO,
            BytesPerSecond::ZERO => Duration::MAX,
            rate => rate.time_for(left),
        };
        let fixed = self.request.fixed;
        Some(copy.saturating_add(fixed.device_state + fixed.commit + fixed.resume))
    }
}
