//! One load on one link: Punctual beside what of QEMU finished there.

use std::time::Duration;

use punctual_units::BytesPerSecond;
use serde::Serialize;

use super::super::{Bench, Contender, Load, Spread, Trial};
use super::kept;

/// Less work than this, in seconds, is none: nothing can be divided by it.
const NO_WORK: f64 = 0.05;

/// How Punctual did with one load on one link.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The rate of the link.
    pub rate: Option<BytesPerSecond>,
    /// What the guest did.
    pub load: Load,
    /// Moves by Punctual, those that finished, and those of which the promise was kept.
    pub moves: usize,
    /// See `moves`.
    pub finished: usize,
    /// See `moves`.
    pub kept: usize,
    /// Moves of which the silence at the client was longer than the downtime promised and the
    /// silence without a move together.
    pub above_promise: usize,
    /// The longest silence, divided by those two together.
    pub of_promise: Option<f64>,
    /// Which of QEMU's modes that finished had the shortest silence.
    pub best: Option<Contender>,
    /// The silence, divided by that one's: medians where there were several moves.
    pub gap: Option<f64>,
    /// The guest's work lost, divided by that with QEMU's post-copy; `None` where that lost none.
    pub work_lost: Option<f64>,
    /// Where pages followed: of the first such move.
    pub faults: Option<Faults>,
}

/// What a guest waited for whose pages followed it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Faults {
    /// From a fault to its page, in milliseconds: the median, and what is to be reached: two round
    /// trips and a millisecond.
    pub median_ms: f64,
    /// See `median_ms`; `None` where the round trip is not known.
    pub allowed_ms: Option<f64>,
    /// Faults, in percent of the pages that the guest writes.
    pub percent: Option<f64>,
}

/// The cells of one link, in the order of their loads.
pub(super) fn of(table: &Bench) -> Vec<Cell> {
    let mut loads: Vec<Load> = table.trials.iter().map(|trial| trial.load).collect();
    loads.sort_unstable();
    loads.dedup();
    loads.into_iter().map(|load| cell(table, load)).collect()
}

fn cell(table: &Bench, load: Load) -> Cell {
    let of = |contender| {
        let trials = table.trials.iter();
        trials.filter(move |trial| trial.load == load && trial.contender == contender)
    };
    // A mode that lost a guest in this cell did not finish in it.
    let median = |contender, figure: fn(&Trial) -> f64| {
        let sound = of(contender).all(|trial| trial.lost.is_none());
        Spread::of(of(contender).filter(|_| sound).map(figure)).map(|spread| spread.median)
    };
    let gap = |trial: &Trial| trial.gap_ms;
    let qemu = Contender::ALL.into_iter().filter(|contender| *contender != Contender::Punctual);
    let best = qemu.filter_map(|contender| Some((contender, median(contender, gap)?)));
    let best = best.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let lost = |trial: &Trial| trial.work_lost_s;
    let theirs = median(Contender::QemuPostCopy, lost).filter(|lost| *lost >= NO_WORK);

    let ours = || of(Contender::Punctual);
    let finished = || ours().filter(|trial| trial.lost.is_none());
    let of_promise = |trial: &Trial| trial.gap_ms / (table.downtime_ms + trial.baseline_gap_ms);
    Cell {
        rate: table.rate,
        load,
        moves: ours().count(),
        finished: finished().count(),
        kept: ours().filter(|trial| kept(trial)).count(),
        above_promise: ours().filter(|trial| of_promise(trial) > 1.0).count(),
        of_promise: ours().map(of_promise).max_by(f64::total_cmp),
        best: best.map(|(contender, _)| contender),
        gap: median(Contender::Punctual, gap).zip(best).map(|(ours, (_, best))| ours / best),
        work_lost: median(Contender::Punctual, lost).zip(theirs).map(|(ours, qemu)| ours / qemu),
        faults: finished().filter_map(|trial| faults(table, trial)).next(),
    }
}

/// Of a move in which pages followed.
fn faults(table: &Bench, trial: &Trial) -> Option<Faults> {
    let rest = trial.how.as_ref()?.post_copy?;
    let written = (trial.written_pages > 0).then_some(trial.written_pages as f64);
    Some(Faults {
        median_ms: milliseconds(rest.fault_median),
        allowed_ms: table.round_trip_ms.map(|trip| 2.0 * trip.median + 1.0),
        percent: written.map(|written| 100.0 * rest.faults as f64 / written),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
