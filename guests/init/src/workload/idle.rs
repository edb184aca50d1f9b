use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Writes nothing.
pub(super) struct Idle;

impl Work for Idle {
    fn work(&mut self, _: &mut Set, _: u64, _: Duration) -> Result<u64, Failure> {
        Ok(0)
    }

    keeps_nothing_outside_the_set!();
}
