//! The medians of all replacements.

use std::time::Duration;

use punctual_engine::report::Phases;
use serde::Serialize;

use super::{Local, Replacement, milliseconds};
use crate::bench::Spread;

/// The medians, and how far the figures lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LocalRow {
    /// See [`Replacement::gap_ms`]; as for those that follow.
    pub gap_ms: Spread,
    /// Its part before the new QEMU was heard.
    pub until_announced_ms: Option<Spread>,
    /// Its part behind that: until the guest itself was heard.
    pub until_heard_ms: Option<Spread>,
    /// The silence without any interruption.
    pub baseline_gap_ms: Spread,
    /// The interruption by the report.
    pub downtime_ms: Spread,
    /// Its parts, in their order.
    pub parts: Parts,
    /// The fixed part of a move.
    pub fixed_ms: Spread,
    /// The silence in a move.
    pub move_gap_ms: Spread,
    /// The gap, divided by the fixed part of the same guest's move.
    pub ratio: Spread,
    /// Pages of RAM that went from the one process to the other.
    pub pages_sent: Spread,
}

/// Where the time of an interruption went that copied nothing, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parts {
    /// The processors stood; until the disks were quiet, too.
    pub stop_ms: Spread,
    /// Until the state of the devices was saved.
    pub save_ms: Spread,
    /// Until the new process had loaded it.
    pub load_ms: Spread,
    /// Until the commit was recorded.
    pub commit_ms: Spread,
    /// Until it was heard that the machine runs.
    pub run_ms: Spread,
}

impl Replacement {
    /// The part of the gap behind the announcement.
    fn until_heard_ms(&self) -> Option<f64> {
        self.until_announced_ms.map(|until| self.gap_ms - until)
    }
}

impl Local {
    /// The medians; `None` without a guest.
    #[must_use]
    pub fn row(&self) -> Option<LocalRow> {
        let all = || self.replacements.iter();
        let of = |figure: fn(&Replacement) -> f64| Spread::of(all().map(figure));
        let part = |part: fn(&Phases) -> Duration| {
            Spread::of(all().map(|one| milliseconds(part(&one.phases))))
        };
        Some(LocalRow {
            gap_ms: of(|one| one.gap_ms)?,
            until_announced_ms: Spread::of(all().filter_map(|one| one.until_announced_ms)),
            until_heard_ms: Spread::of(all().filter_map(Replacement::until_heard_ms)),
            baseline_gap_ms: of(|one| one.baseline_gap_ms)?,
            downtime_ms: of(|one| one.downtime_ms)?,
            parts: Parts {
                stop_ms: part(|phases| phases.stop)?,
                save_ms: part(|phases| phases.final_copy)?,
                load_ms: part(|phases| phases.device_state)?,
                commit_ms: part(|phases| phases.commit)?,
                run_ms: part(|phases| phases.resume)?,
            },
            fixed_ms: of(|one| one.fixed_ms)?,
            move_gap_ms: of(|one| one.move_gap_ms)?,
            ratio: of(|one| one.gap_ms / one.fixed_ms)?,
            pages_sent: of(|one| one.pages_sent.get() as f64)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use punctual_units::{Bytes, Pages};

    use super::*;
    use crate::bench::local::Accel;

    fn replacement(gap_ms: f64, announced: Option<f64>, fixed_ms: f64) -> Replacement {
        Replacement {
            gap_ms,
            until_announced_ms: announced,
            baseline_gap_ms: 1.0,
            downtime_ms: gap_ms - 1.0,
            phases: Phases { stop: Duration::from_millis(2), ..Phases::default() },
            wire_bytes: Bytes::kib(300),
            pages_sent: Pages::ZERO,
            total_s: 0.5,
            fixed_ms,
            move_phases: Phases::default(),
            move_gap_ms: 20.0,
        }
    }

    fn local(replacements: Vec<Replacement>) -> Local {
        let (qemu, successor) = ("7.2.22".to_owned(), "10.0.2".to_owned());
        Local { qemu, successor, accel: Accel::Kvm, memory: Bytes::mib(512), replacements }
    }

    #[test]
    fn each_gap_is_compared_with_the_move_of_the_same_guest() {
        let row = local(vec![
            replacement(10.0, None, 10.0),
            replacement(12.0, Some(9.0), 4.0),
            replacement(30.0, Some(10.0), 20.0),
        ])
        .row()
        .unwrap();
        // The ratio of the medians would be 1.2.
        assert_eq!(row.ratio, Spread { least: 1.0, median: 1.5, most: 3.0 });
        assert_eq!(row.until_announced_ms.unwrap().median, 9.5);
        assert_eq!(row.until_heard_ms.unwrap(), Spread { least: 3.0, median: 11.5, most: 20.0 });
        assert_eq!((row.parts.stop_ms.median, row.pages_sent.most), (2.0, 0.0));
    }

    #[test]
    fn a_guest_that_is_heard_before_its_announcement_has_no_parts() {
        let row = local(vec![replacement(10.0, None, 8.0)]).row().unwrap();
        assert_eq!((row.until_announced_ms, row.until_heard_ms), (None, None));
        assert_eq!(local(vec![]).row(), None);
    }
}
