use std::time::Duration;

use punctual_guest_protocol::control::Failure;
use punctual_guest_protocol::frame;

use super::sweep::Sweep;
use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Writes as a streaming server does: the set is a ring of buffers, into which the next frame is
/// written in one go, 25 times a second. (The frames that clients get are sent whatever the
/// workload.)
pub(super) struct Stream {
    ring: Sweep,
    /// Pages that have become due since the last frame.
    gathered: u64,
    next_frame: Duration,
}

impl Stream {
    pub(super) const fn new(pages: usize) -> Self {
        Self { ring: Sweep::new(pages), gathered: 0, next_frame: Duration::ZERO }
    }
}

impl Work for Stream {
    fn work(&mut self, set: &mut Set, units: u64, now: Duration) -> Result<u64, Failure> {
        self.gathered += units;
        if now < self.next_frame {
            return Ok(0);
        }
        self.next_frame = (self.next_frame + frame::PERIOD).max(now);
        self.ring.write(set, self.gathered);
        Ok(std::mem::take(&mut self.gathered))
    }

    keeps_nothing_outside_the_set!();
}
