//! A move by the machine's own hypervisor as its observers see it.

use std::time::Duration;

use punctual_engine::{Phase, Progress};
use punctual_guest::qemu::native::Look;
use punctual_units::Bytes;

/// What is known of a move at one moment beside what its hypervisor tells.
pub(super) struct Shown {
    pub(super) machine: String,
    pub(super) elapsed: Duration,
    pub(super) sent: Bytes,
    /// The interruption that was asked for.
    pub(super) asked: Duration,
}

impl Shown {
    pub(super) fn progress(self, phase: Phase, look: &Look) -> Progress {
        let left = look.left();
        Progress {
            machine: self.machine,
            phase,
            elapsed: self.elapsed,
            round: look.passes,
            round_left: look.remaining.pages(),
            dirty: look.remaining.pages(),
            pages_sent: look.pages,
            sent: self.sent,
            rate: look.rate,
            round_ends_in: left,
            downtime_now: left,
            ends_in: ends_in(look),
            downtime_predicted: None,
            downtime_asked: self.asked,
            throttled: None,
        }
    }
}

/// When all is sent at the rates of lately: what is written meanwhile is sent, too, and so on.
/// `None` where that has no end.
fn ends_in(look: &Look) -> Option<Duration> {
    let (rate, writing) = (look.rate.get(), look.writing.get());
    let left = look.left().filter(|_| writing < rate)?;
    Duration::try_from_secs_f64(left.as_secs_f64() * rate as f64 / (rate - writing) as f64).ok()
}

#[cfg(test)]
mod tests {
    use punctual_units::BytesPerSecond;

    use super::*;

    #[test]
    fn an_end_is_seen_where_less_is_written_than_sent() {
        let look = |writing| Look {
            remaining: Bytes::new(1_000_000),
            rate: BytesPerSecond::new(1_000_000),
            writing: BytesPerSecond::new(writing),
            ..Look::default()
        };
        assert_eq!(ends_in(&look(0)), Some(Duration::from_secs(1)));
        assert_eq!(ends_in(&look(500_000)), Some(Duration::from_secs(2)));
        assert_eq!(ends_in(&look(1_000_000)), None);
        assert_eq!(ends_in(&Look::default()), None);
    }
}
