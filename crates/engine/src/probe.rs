//! The measure of a link before anything moves: how much is sent, and what is enough.

use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};

/// The first probe takes so long at the rate asked for; each further one twice as long.
const FIRST: Duration = Duration::from_millis(20);
const LEAST: Bytes = Bytes::kib(256);
const MOST: Bytes = Bytes::mib(64);

/// A link is measured so many times before it is called too slow: the first probe meets a
/// connection that has not yet found its pace.
pub(crate) const PROBES: u32 = 3;

/// A link does what was asked for if so much of it arrives: of an Ethernet frame's time on the wire
/// TCP can use 94 %, and a probe is short.
const ENOUGH: f64 = 0.85;

/// The padding of the probe that follows `earlier` ones.
pub(crate) fn size(asked: BytesPerSecond, earlier: u32) -> Bytes {
    asked.bytes_in(FIRST * 2_u32.pow(earlier)).clamp(LEAST, MOST)
}

/// Whether a link of which `measured` was seen is what was `asked` for.
pub(crate) fn is_enough(measured: BytesPerSecond, asked: BytesPerSecond) -> bool {
    measured.get() as f64 >= asked.get() as f64 * ENOUGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabit_link_that_tcp_fills_is_a_gigabit_link() {
        let asked = BytesPerSecond::megabits(1000);
        assert!(is_enough(BytesPerSecond::megabits(941), asked));
        assert!(!is_enough(BytesPerSecond::megabits(500), asked));
        assert_eq!(size(asked, 0), Bytes::new(2_500_000));
        assert_eq!(size(asked, 1), Bytes::new(5_000_000));
        assert_eq!(size(BytesPerSecond::megabits(1), 0), LEAST);
    }
}
