//! What is asked of moves of guests that write faster than the link, over a whole table.

mod cell;

use punctual_engine::report::Promise;
use serde::Serialize;

use super::{Bench, Contender, Spread, Trial};

pub use cell::{Cell, Faults};

/// What is to be reached: the median of [`Verdict::gap`].
pub const GAP: f64 = 0.5;
/// What is to be reached: the median of [`Verdict::work_lost`].
pub const WORK_LOST: f64 = 0.7;
/// What is to be reached: [`Faults::percent`], in each cell.
pub const FAULTS_PERCENT: f64 = 25.0;

/// How Punctual did over a table of loads and links.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Moves by Punctual.
    pub moves: usize,
    /// Those that ended with the guest at the destination, unharmed.
    pub finished: usize,
    /// Those of which the promise was kept.
    pub kept: usize,
    /// Guests, whoever moved them, that were harmed.
    pub harmed: usize,
    /// What the guests did before their moves, by what they were to do: far below 1 the machine had
    /// no time for them, and no figure of the table is worth much.
    pub at_rest: Option<Spread>,
    /// Moves whose client saw a silence longer than the downtime promised and the silence without
    /// any move together.
    pub above_promise: usize,
    /// The longest silence by what it may be: by the downtime promised and the silence without a
    /// move together. In the cell that is worst.
    pub of_promise: Option<f64>,
    /// The silence at the client, divided by that of QEMU's best mode that finished: over the cells
    /// of the table.
    pub gap: Option<Spread>,
    /// The guest's work lost, divided by that with QEMU's post-copy: over the cells.
    pub work_lost: Option<Spread>,
    /// From a fault to its page, in milliseconds: the medians of the cells in which pages followed.
    pub fault_median_ms: Option<Spread>,
    /// Faults, in percent of the pages that the guest writes.
    pub faults_percent: Option<Spread>,
    /// Each link and load.
    pub cells: Vec<Cell>,
}

/// Judges the tables of several links together.
#[must_use]
pub fn verdict(tables: &[Bench]) -> Verdict {
    let trials = || tables.iter().flat_map(|table| &table.trials);
    let cells: Vec<Cell> = tables.iter().flat_map(cell::of).collect();
    let sum = |count: fn(&Cell) -> usize| cells.iter().map(count).sum();
    let faults = |of: fn(&Faults) -> Option<f64>| {
        Spread::of(cells.iter().filter_map(|cell| of(cell.faults.as_ref()?)))
    };
    Verdict {
        moves: sum(|cell| cell.moves),
        finished: sum(|cell| cell.finished),
        kept: sum(|cell| cell.kept),
        harmed: trials().filter(|trial| trial.harmed.is_some()).count(),
        at_rest: Spread::of(tables.iter().flat_map(at_rest)),
        above_promise: sum(|cell| cell.above_promise),
        of_promise: cells.iter().filter_map(|cell| cell.of_promise).max_by(f64::total_cmp),
        gap: Spread::of(cells.iter().filter_map(|cell| cell.gap)),
        work_lost: Spread::of(cells.iter().filter_map(|cell| cell.work_lost)),
        fault_median_ms: faults(|faults| Some(faults.median_ms)),
        faults_percent: faults(|faults| faults.percent),
        cells,
    }
}

fn at_rest(table: &Bench) -> impl Iterator<Item = f64> {
    table.trials.iter().map(|trial| trial.work_rate / trial.load.work(table.rate).1 as f64)
}

/// Whether a promise was made and kept.
#[must_use]
pub fn kept(trial: &Trial) -> bool {
    let kept = trial.how.as_ref().is_some_and(|how| how.promise == Some(Promise::Kept));
    kept && trial.contender == Contender::Punctual && trial.lost.is_none()
}

#[cfg(test)]
mod tests;
