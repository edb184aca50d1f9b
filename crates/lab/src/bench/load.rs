//! What the guest does while it is moved, and what it holds.

use std::fmt;
use std::time::Duration;

use punctual_guest_protocol::Workload;
use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE};
use serde::{Deserialize, Serialize};

/// What the guest does while it is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Nothing but its beacon.
    Idle,
    /// So many single-byte writes a second, spread evenly over 64 MiB.
    Writes(u64),
    /// Writes to as many pages a second as would take this share of the link's rate, in percent.
    Share {
        /// Which pages it writes.
        pattern: Workload,
        /// The share, in percent.
        percent: u32,
    },
}

/// What a guest of 512 MiB holds beside its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Filled once.
    pub fill: Bytes,
    /// Written again and again.
    pub set: Bytes,
}

/// What a move brings over beside [`Memory`]: the pages of the kernel and of the guest's program.
const SYSTEM: Bytes = Bytes::mib(40);
/// A link that is slower carries a round of the large guest in a minute rather than in seconds.
const FAST: BytesPerSecond = BytesPerSecond::megabits(500);
/// Of which a share is taken where the link is not shaped.
const UNSHAPED: BytesPerSecond = BytesPerSecond::megabits(1000);

impl Load {
    /// The workload, and its units of work a second, for a link of `rate`.
    pub(super) fn work(self, rate: Option<BytesPerSecond>) -> (Workload, u64) {
        match self {
            Self::Idle => (Workload::Idle, 0),
            Self::Writes(units) => (Workload::Uniform, units),
            Self::Share { pattern, percent } => {
                let link = rate.unwrap_or(UNSHAPED).get();
                (pattern, link / PAGE_SIZE.get() * u64::from(percent) / 100)
            }
        }
    }

    /// Whether the guest writes at most half of what the link carries, so that any pre-copy comes
    /// to its end.
    pub(super) fn is_light(self) -> bool {
        !matches!(self, Self::Share { percent, .. } if percent > 50)
    }
}

impl Memory {
    /// That of a guest that writes little: 264 MiB of incompressible data, 64 MiB of it written.
    pub const QUIET: Self = Self { fill: Bytes::mib(200), set: Bytes::mib(64) };

    /// That of a guest that writes as fast as a link: 360 MiB, 160 MiB of it written; on links
    /// below 500 Mbit/s 112 MiB and 48 MiB, so that a round takes seconds.
    #[must_use]
    pub fn busy(link: BytesPerSecond) -> Self {
        if link < FAST {
            Self { fill: Bytes::mib(64), set: Bytes::mib(48) }
        } else {
            Self { fill: Bytes::mib(200), set: Bytes::mib(160) }
        }
    }

    /// How long all of it takes over a link, once.
    #[must_use]
    pub fn passage(self, link: BytesPerSecond) -> Duration {
        let all = self.fill + self.set + SYSTEM;
        Duration::from_secs_f64(all.get() as f64 / link.get() as f64)
    }

    /// The time that every mover is given where nobody says another: twice the passage and twelve
    /// seconds, in whole seconds. What comes to its end in a few rounds has done so by then.
    #[must_use]
    pub fn patience(self, link: BytesPerSecond) -> Duration {
        Duration::from_secs((2 * self.passage(link)).as_secs() + 12)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.pad("idle"),
            Self::Writes(rate) => f.pad(&format!("{rate} writes/s")),
            Self::Share { pattern, percent } => {
                f.pad(&format!("{pattern} {:.1} × link", f64::from(*percent) / 100.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_the_link_carries() {
        let load = Load::Share { pattern: Workload::Sweep, percent: 200 };
        let rate = Some(BytesPerSecond::megabits(100));
        assert_eq!(load.work(rate), (Workload::Sweep, 12_500_000 / 4096 * 2));
        assert!(!load.is_light());
        assert!(Load::Writes(20_000).is_light());
    }

    #[test]
    fn slow_links_are_given_longer() {
        let given = [100, 1000].map(|megabits| {
            let link = BytesPerSecond::megabits(megabits);
            Memory::busy(link).patience(link).as_secs()
        });
        assert_eq!(given, [37, 18]);
    }
}
