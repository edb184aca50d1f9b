use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE};

use crate::Facts;

/// The link of a simulated move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What it carries, in payload bytes a second.
    pub rate: BytesPerSecond,
    /// The time of a byte from one host to the other.
    pub latency: Duration,
    /// How much the socket and the card take before the sender has to wait.
    pub queue: Bytes,
}

impl Link {
    /// What `TCP_NOTSENT_LOWAT` leaves in the socket, and what is on its way below it.
    pub const QUEUE: Bytes = Bytes::kib(384);

    /// A link of this rate and with this time for a message and its answer.
    #[must_use]
    pub const fn new(rate: BytesPerSecond, round_trip: Duration) -> Self {
        let latency = Duration::from_nanos(round_trip.as_nanos() as u64 / 2);
        Self { rate, latency, queue: Self::QUEUE }
    }
}

/// What the two hosts of a simulated move take for what they do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// From the stop of the processors until the machine is quiet.
    pub stop: Duration,
    /// From the command to save the device state until its end is read.
    pub saving: Duration,
    /// How much device state there is.
    pub device_state: Bytes,
    /// Loading the device state.
    pub load: Duration,
    /// The durable record of the commit.
    pub commit: Duration,
    /// Letting the machine run.
    pub resume: Duration,
    /// From the offer until the destination takes pages.
    pub preparing: Duration,
    /// Reading and packing one page that is sent for the first time.
    pub first: Duration,
    /// The same for one that was sent before.
    pub again: Duration,
    /// The same for one that is zero.
    pub zero: Duration,
    /// Sending one page raw.
    pub raw: Duration,
    /// Looking at one page for whether it was written.
    pub look: Duration,
    /// Waiting for the disk requests in flight.
    pub settle: Duration,
}

impl Costs {
    /// From the command until the processors stand.
    pub(super) const TO_STOP: Duration = Duration::from_micros(500);
    /// A scan of nothing.
    pub(super) const SCAN: Duration = Duration::from_micros(50);
    /// Links from this rate on get long runs of pages raw, as the engine's driver sends them.
    pub(super) const RAW_FROM: BytesPerSecond = BytesPerSecond::megabits(2500);

    /// Nothing takes time but the link: what formulas without a fixed part speak of.
    pub const NONE: Self = Self {
        stop: Duration::ZERO,
        saving: Duration::ZERO,
        device_state: Bytes::ZERO,
        load: Duration::ZERO,
        commit: Duration::ZERO,
        resume: Duration::ZERO,
        preparing: Duration::ZERO,
        first: Duration::ZERO,
        again: Duration::ZERO,
        zero: Duration::ZERO,
        raw: Duration::ZERO,
        look: Duration::ZERO,
        settle: Duration::ZERO,
    };

    /// The costs of a move over `link` if interruptions take `fixed` beside the copy.
    ///
    /// Past interruptions were measured with their messages' way, which the simulation adds by
    /// itself: here it is taken off.
    #[must_use]
    pub fn from_history(fixed: FixedCost, preparing: Duration, link: &Link) -> Self {
        let messages = link.latency * 2;
        Self {
            stop: fixed.stop,
            commit: fixed.commit,
            load: fixed.device_state.saturating_sub(messages),
            resume: fixed.resume.saturating_sub(messages),
            preparing,
            ..Self::default()
        }
    }

    /// The rate at which one core packs pages for the first time.
    #[must_use]
    pub fn packing_rate(&self) -> Option<BytesPerSecond> {
        PAGE_SIZE.per(self.first)
    }
}

impl Default for Costs {
    /// As measured for small Linux guests in QEMU 7.2 and 10 (`docs/benchmarks.md`), on one core of
    /// 2023: packing 4.5 Gbit/s, fingerprints 2.7 GB/s, a scan of 512 MiB 0.5 ms.
    fn default() -> Self {
        let FixedCost { stop, device_state, commit, resume } = FixedCost::default();
        Self {
            stop,
            saving: Duration::from_millis(2),
            device_state: FixedCost::STATE,
            load: device_state,
            commit,
            resume,
            preparing: Facts::PREPARING,
            first: Duration::from_nanos(7300),
            again: Duration::from_nanos(3000),
            zero: Duration::from_nanos(700),
            raw: Duration::from_nanos(1300),
            look: Duration::from_nanos(4),
            settle: Duration::from_millis(2),
        }
    }
}
