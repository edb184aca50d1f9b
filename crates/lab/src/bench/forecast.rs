//! How long a benchmark takes, so that whoever waits for it is told.

use std::time::Duration;

use punctual_units::BytesPerSecond;

use super::{BenchSpec, Contender, Load};

/// A guest's start, the watch before and after its move, its check, and its end.
const AROUND: Duration = Duration::from_secs(8);
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

#[cfg(test)]
mod tests {
    use punctual_guest_protocol::Workload;
    use punctual_images::Qemu;

    use super::super::Memory;
    use super::*;

    fn table(megabits: u64) -> BenchSpec {
        use Contender::{Punctual, QemuAutoConverge, QemuPostCopy, QemuPreCopy};
        let rate = BytesPerSecond::megabits(megabits);
        let patterns = [Workload::HotCold, Workload::Zipf, Workload::Sweep];
        let load = |pattern| [50, 100, 200, 500].map(|percent| Load::Share { pattern, percent });
        BenchSpec {
            lab: "forecast".parse().unwrap(),
            rate: Some(rate),
            downtime: Duration::from_millis(100),
            within: Memory::busy(rate).patience(rate),
            qemu: Qemu {
                binary: "qemu".into(),
                version: "10".into(),
                env: std::collections::BTreeMap::default(),
                arguments: vec![],
            },
            memory: Memory::busy(rate),
            loads: patterns.into_iter().flat_map(load).collect(),
            contenders: vec![Punctual, QemuPreCopy, QemuAutoConverge, QemuPostCopy],
            planned: true,
            repetitions: 1,
        }
    }

    #[test]
    fn the_whole_table_of_busy_guests_takes_three_quarters_of_an_hour() {
        let tables = [table(100), table(1000)];
        let takes: Duration = tables.iter().map(|table| table.forecast(0)).sum();
        assert!(takes < Duration::from_mins(45), "{takes:?}");
        assert_eq!(tables[0].moves().count(), 48);
        assert_eq!(tables[0].forecast(48), Duration::ZERO);
        assert!(tables[0].forecast(47) > AROUND);
    }
}
