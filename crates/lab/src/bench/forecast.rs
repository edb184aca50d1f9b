//! How long a benchmark takes, so that whoever waits for it is told.

use std::time::Duration;

use punctual_units::BytesPerSecond;

use super::{BenchSpec, Contender, Load};

/// A guest's start, the watch before and after its move, its check, and its end.
const AROUND: Duration = Duration::from_secs(11);
/// Punctual's look at a guest before it moves it.
const LOOK: Duration = Duration::from_secs(3);
/// A lab, its daemons, and the guest of which all are copies.
const SCENE: Duration = Duration::from_secs(12);
/// How much of a link that is not shaped a move uses.
const UNSHAPED: BytesPerSecond = BytesPerSecond::megabits(10_000);

impl BenchSpec {
    /// All moves, in the order in which they are made.
    pub fn moves(&self) -> impl Iterator<Item = (Load, Contender)> {
        let once = || {
            let loads = self.loads.iter();
            loads.flat_map(|load| self.contenders.iter().map(|contender| (*load, *contender)))
        };
        (0..self.repetitions).flat_map(move |_| once())
    }

    /// About how long the lab and all moves but the first `made` ones take.
    #[must_use]
    pub fn forecast(&self, made: usize) -> Duration {
        let scene = if made == 0 { SCENE } else { Duration::ZERO };
        scene
            + self.moves().skip(made).map(|(load, mover)| self.takes(load, mover)).sum::<Duration>()
    }

    /// Guests that write much let QEMU's pre-copy run until its time is up; what comes to its end
    /// sends the guest once, and half of it again.
    fn takes(&self, load: Load, contender: Contender) -> Duration {
        let once = self.memory.passage(self.rate.unwrap_or(UNSHAPED)) * 3 / 2;
        let moving = match contender {
            Contender::Punctual => once + LOOK,
            Contender::QemuPostCopy => once,
            _ if load.is_light() => once,
            _ => self.within,
        };
        AROUND + moving.min(self.within)
    }
}
