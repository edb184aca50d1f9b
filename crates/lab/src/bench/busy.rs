//! What is asked of moves of guests that write faster than the link, over a whole table.

use punctual_engine::report::Promise;
use serde::Serialize;

use super::{Bench, Contender, Load, Spread, Trial};

/// How Punctual did over a table of loads and links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Moves by Punctual.
    pub moves: usize,
    /// Those that ended with the guest at the destination, unharmed.
    pub finished: usize,
    /// Those of which the promise was kept.
    pub kept: usize,
    /// Those whose client saw a silence longer than the downtime promised and the silence without
    /// any move together.
    pub above_promise: usize,
    /// The silence at the client, divided by that of QEMU's best mode that finished: over the cells
    /// of the table.
    pub gap: Option<Spread>,
    /// The guest's work lost, divided by that with QEMU's post-copy.
    pub work_lost: Option<Spread>,
    /// From a fault to its page, in milliseconds: the medians of the moves in which pages followed.
    pub fault_median_ms: Option<Spread>,
    /// Faults, in percent of the pages that the guest writes.
    pub faults_percent: Option<Spread>,
}

/// Less work than this, in seconds, is none: nothing can be divided by it.
const NO_WORK: f64 = 0.05;

/// Judges the tables of several links together.
#[must_use]
pub fn verdict(tables: &[Bench]) -> Verdict {
    let of_punctual = |trial: &&Trial| trial.contender == Contender::Punctual;
    let all = || tables.iter().flat_map(|table| &table.trials).filter(of_punctual);
    let finished = || all().filter(|trial| trial.lost.is_none());
    let kept =
        |trial: &&Trial| trial.how.as_ref().is_some_and(|how| how.promise == Some(Promise::Kept));
    let above = |table: &Bench| {
        let trials = table.trials.iter().filter(of_punctual);
        trials.filter(|trial| trial.gap_ms > table.downtime_ms + trial.baseline_gap_ms).count()
    };
    let post_copies =
        || finished().filter_map(|trial| Some((trial, trial.how.as_ref()?.post_copy?)));
    let cells = || tables.iter().flat_map(cells);
    Verdict {
        moves: all().count(),
        finished: finished().count(),
        kept: finished().filter(kept).count(),
        above_promise: tables.iter().map(above).sum(),
        gap: Spread::of(cells().filter_map(|cell| cell.gap)),
        work_lost: Spread::of(cells().filter_map(|cell| cell.work_lost)),
        fault_median_ms: Spread::of(
            post_copies().map(|(_, rest)| rest.fault_median.as_secs_f64() * 1e3),
        ),
        faults_percent: Spread::of(
            post_copies()
                .filter(|(trial, _)| trial.written_pages > 0)
                .map(|(trial, rest)| 100.0 * rest.faults as f64 / trial.written_pages as f64),
        ),
    }
}

/// The ratios of one load on one link.
struct Cell {
    gap: Option<f64>,
    work_lost: Option<f64>,
}

fn cells(table: &Bench) -> Vec<Cell> {
    let mut loads: Vec<Load> = table.trials.iter().map(|trial| trial.load).collect();
    loads.sort_unstable();
    loads.dedup();
    loads.into_iter().map(|load| cell(table, load)).collect()
}

fn cell(table: &Bench, load: Load) -> Cell {
    // A mode that lost a guest in this cell did not finish in it.
    let median = |contender: Contender, figure: fn(&Trial) -> f64| {
        let of = |trial: &&Trial| trial.load == load && trial.contender == contender;
        let trials = || table.trials.iter().filter(of);
        if trials().any(|trial| trial.lost.is_some()) {
            return None;
        }
        Spread::of(trials().map(figure)).map(|spread| spread.median)
    };
    let qemu = Contender::ALL.into_iter().filter(|contender| *contender != Contender::Punctual);
    let gap = |trial: &Trial| trial.gap_ms;
    let best = qemu.filter_map(|contender| median(contender, gap)).min_by(f64::total_cmp);
    let lost = |trial: &Trial| trial.work_lost_s;
    let theirs = median(Contender::QemuPostCopy, lost).filter(|lost| *lost >= NO_WORK);
    Cell {
        gap: median(Contender::Punctual, gap).zip(best).map(|(ours, best)| ours / best),
        work_lost: median(Contender::Punctual, lost).zip(theirs).map(|(ours, qemu)| ours / qemu),
    }
}

#[cfg(test)]
mod tests {
    use punctual_engine::report::{Mode, Policy, PostCopy};
    use punctual_guest_protocol::Workload;
    use punctual_units::Bytes;

    use super::*;
    use crate::bench::How;

    fn trial(contender: Contender, percent: u32, gap_ms: f64, work_lost_s: f64) -> Trial {
        Trial {
            contender,
            load: Load::Share { pattern: Workload::Zipf, percent },
            gap_ms,
            baseline_gap_ms: 2.0,
            total_s: 2.0,
            bytes: Bytes::new(100),
            work_lost_s,
            written_pages: 1000,
            reported_downtime_ms: None,
            how: None,
            lost: None,
        }
    }

    #[test]
    fn each_cell_is_compared_with_what_finished_in_it() {
        use Contender::{Punctual, QemuPostCopy, QemuPreCopy};
        let post_copy = PostCopy { faults: 100, ..PostCopy::default() };
        let how = How {
            mode: Mode::Hybrid,
            policy: Policy::PreCopy,
            promise: Some(Promise::Kept),
            post_copy: Some(post_copy),
        };
        let lost = Some("still active when time was up".to_owned());
        let trials = vec![
            Trial { how: Some(how), ..trial(Punctual, 200, 20.0, 0.3) },
            Trial { lost, ..trial(QemuPreCopy, 200, 1.0, 0.0) },
            trial(QemuPostCopy, 200, 80.0, 0.6),
            trial(Punctual, 50, 105.0, 0.1),
            trial(QemuPreCopy, 50, 100.0, 0.1),
            trial(QemuPostCopy, 50, 200.0, 0.01),
        ];
        let table = Bench { rate: None, downtime_ms: 100.0, qemu: "10".to_owned(), trials };
        let verdict = verdict(&[table]);
        assert_eq!((verdict.moves, verdict.finished, verdict.kept), (2, 2, 1));
        assert_eq!(verdict.above_promise, 1);
        let gap = verdict.gap.unwrap();
        assert_eq!((gap.least, gap.most), (0.25, 1.05));
        assert_eq!(verdict.work_lost.unwrap().median, 0.5, "none lost is not divided by");
        assert_eq!(verdict.faults_percent.unwrap().median, 10.0);
    }
}
