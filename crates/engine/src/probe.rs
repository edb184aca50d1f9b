//! The measure of a link before anything moves: how fast it is tried, and what is enough.

use punctual_units::BytesPerSecond;

/// A link is measured so many times before it is called too slow: the first probe meets a
/// connection that has not yet found its pace.
const PROBES: usize = 4;

/// A link does what was asked for if so much of it arrives: of an Ethernet frame's time on the wire
/// TCP can use 94 %, and a probe is short.
const ENOUGH: f64 = 0.85;

/// Padding is sent a little faster than was asked for, so that the link is what limits it, and not
/// as fast as the link can, so that others are not disturbed for more than was asked for.
const FASTER: f64 = 1.25;

/// The rate at which a link is tried of which so much was `asked` for.
pub(crate) fn rate(asked: BytesPerSecond) -> BytesPerSecond {
    BytesPerSecond::new((asked.get() as f64 * FASTER) as u64)
}

/// What was seen of a link. The second best probe counts: one alone can read too much, when the
/// receiver was late and found padding that had piled up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    rates: Vec<BytesPerSecond>,
}

impl Measured {
    /// One more probe.
    pub(crate) fn add(&mut self, rate: BytesPerSecond) {
        self.rates.push(rate);
        self.rates.sort_by(|a, b| b.cmp(a));
    }

    /// The rate that two probes have shown; zero before.
    pub(crate) fn rate(&self) -> BytesPerSecond {
        self.rates.get(1).copied().unwrap_or_default()
    }

    /// Whether the link is what was `asked` for.
    pub(crate) fn is_enough(&self, asked: BytesPerSecond) -> bool {
        is_enough(self.rate(), asked)
    }

    /// Whether it will not be measured once more.
    pub(crate) fn is_over(&self) -> bool {
        self.rates.len() >= PROBES
    }
}

/// Whether a link of which `measured` was seen is what was `asked` for.
fn is_enough(measured: BytesPerSecond, asked: BytesPerSecond) -> bool {
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
        assert_eq!(rate(asked), BytesPerSecond::megabits(1250));
    }

    #[test]
    fn one_probe_alone_is_not_believed() {
        let asked = BytesPerSecond::megabits(5000);
        let mut measured = Measured::default();
        for megabits in [960, 9000, 970] {
            measured.add(BytesPerSecond::megabits(megabits));
            assert!(!measured.is_enough(asked) && !measured.is_over());
        }
        assert_eq!(measured.rate(), BytesPerSecond::megabits(970));
        measured.add(BytesPerSecond::megabits(4900));
        assert!(measured.is_enough(asked) && measured.is_over());
    }
}
