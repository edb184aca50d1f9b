//! The ways that are not live: they are computed, not simulated.

use punctual_engine::report::Predicted;

use super::{AtMost, Forecast, Way};
use std::time::Duration;

use crate::predict::{Drawn, Prospect, Sample, Samples};
use crate::replay::Replay;
use crate::simulate::Costs;
use crate::{Ask, Facts};
use punctual_engine::report::{Interval, Intervals, Quantiles};
use punctual_units::{Bytes, Pages, Probability};

/// Stop the machine, send all of its memory, let it go on there.
pub(super) fn stop_and_copy(prospect: &Prospect<'_>, samples: usize) -> Forecast {
    let memory = Memory::of(prospect.replay);
    let Prospect { facts, ask, .. } = prospect;
    let samples: Samples = (0..samples)
        .map(|number| {
            let Drawn { rate, fixed, preparing } = prospect.drawn(number);
            let costs = Costs::default();
            let packing = costs.first.mul_f64(memory.filled) + costs.zero.mul_f64(memory.zero);
            let sending = rate.time_for(memory.packed).max(packing);
            let disks = facts.disk.map_or(sending, |disk| sending + disk.time_for(memory.raw) * 2);
            let downtime = fixed.sum() + facts.round_trip + disks;
            let total = preparing + downtime;
            Sample {
                kept: downtime <= ask.downtime && total <= ask.within,
                times: Some((downtime.as_secs_f64(), total.as_secs_f64())),
                missing: None,
                wire_bytes: memory.packed,
                reason: String::new(),
            }
        })
        .collect();
    let mut forecast = samples.forecast(Way::StopAndCopy, facts, ask);
    forecast.remarks.push(match facts.disk {
        Some(disk) => format!("saved to and restored from a disk at {disk}"),
        None => "the memory is sent as it is, past any disk".to_owned(),
    });
    forecast
}

/// Shut the machine down and boot it there.
pub(super) fn restart(prospect: &Prospect<'_>) -> Forecast {
    restart_forecast(prospect.facts.restart, prospect.ask)
}

/// What a restart is expected to take; `known` is how long the guest takes to shut down and boot,
/// where that is known. Nothing needs to be traced for it.
#[must_use]
pub fn restart_forecast(known: Option<Duration>, ask: &Ask) -> Forecast {
    let downtime = known.unwrap_or(Facts::RESTART);
    let always = Quantiles { p50: downtime, p99: downtime };
    let interval = Interval { low: downtime, high: downtime };
    let mut remarks = vec!["what the machine holds in memory is lost".to_owned()];
    if known.is_none() {
        remarks.push(format!(
            "how long it takes to shut down and boot is not known; {} s is assumed",
            downtime.as_secs()
        ));
    }
    let in_time = downtime <= ask.downtime && downtime <= ask.within;
    Forecast {
        way: Way::Restart,
        excluded: Way::Restart.excluded(ask),
        keeps: if in_time { Probability::ONE } else { Probability::ZERO },
        gives_up: Probability::ZERO,
        predicted: Some(Predicted {
            downtime: always,
            total: always,
            wire_bytes: Bytes::ZERO,
            interval95: Intervals { downtime: interval, total: interval },
        }),
        at_most: Some(AtMost { downtime, total: downtime }),
        exposure: None,
        simulated: None,
        remarks,
    }
}

/// What a machine's memory amounts to.
pub(super) struct Memory {
    /// Pages that are zero, and those that are not.
    pub(super) zero: f64,
    pub(super) filled: f64,
    pub(super) packed: Bytes,
    raw: Bytes,
}

impl Memory {
    pub(super) fn of(replay: &Replay) -> Self {
        let subject = replay.subject();
        let pages = (subject.populated.len().get() * u64::from(subject.thinning)) as f64;
        let zero = pages * subject.content.zero.get();
        let filled = pages - zero;
        Self {
            zero,
            filled,
            packed: Bytes::new((filled * subject.content.first) as u64),
            raw: Pages::new(filled as u64).bytes(),
        }
    }
}
