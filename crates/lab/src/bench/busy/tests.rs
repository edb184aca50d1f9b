use punctual_engine::report::{Mode, Policy, PostCopy};
use punctual_guest_protocol::Workload;
use punctual_units::{Bytes, BytesPerSecond};

use super::*;
use crate::bench::{How, Load};

fn load(percent: u32) -> Load {
    Load::Share { pattern: Workload::Zipf, percent }
}

fn trial(contender: Contender, percent: u32, gap_ms: f64, work_lost_s: f64) -> Trial {
    Trial {
        contender,
        load: load(percent),
        gap_ms,
        baseline_gap_ms: 2.0,
        total_s: 2.0,
        bytes: Bytes::new(100),
        work_lost_s,
        work_rate: 3000.0,
        written_pages: 1000,
        reported_downtime_ms: None,
        how: None,
        lost: None,
        harmed: None,
    }
}

fn table(trials: Vec<Trial>) -> Bench {
    Bench {
        rate: Some(BytesPerSecond::megabits(100)),
        round_trip_ms: Some(Spread { least: 0.1, median: 0.25, most: 3.0 }),
        downtime_ms: 100.0,
        within_s: 40.0,
        qemu: "10".to_owned(),
        trials,
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
    let verdict = verdict(&[table(vec![
        Trial { how: Some(how), ..trial(Punctual, 200, 20.0, 0.3) },
        Trial { lost, ..trial(QemuPreCopy, 200, 1.0, 0.0) },
        trial(QemuPostCopy, 200, 80.0, 0.6),
        trial(Punctual, 50, 105.0, 0.1),
        trial(QemuPreCopy, 50, 100.0, 0.1),
        trial(QemuPostCopy, 50, 200.0, 0.01),
    ])]);
    assert_eq!((verdict.moves, verdict.finished, verdict.kept), (2, 2, 1));
    assert_eq!((verdict.above_promise, verdict.of_promise), (1, Some(105.0 / 102.0)));
    let gap = verdict.gap.unwrap();
    assert_eq!((gap.least, gap.most), (0.25, 1.05));
    assert_eq!(verdict.work_lost.unwrap().median, 0.5, "none lost is not divided by");
    let best: Vec<_> = verdict.cells.iter().map(|cell| (cell.load, cell.best)).collect();
    assert_eq!(best, [(load(50), Some(QemuPreCopy)), (load(200), Some(QemuPostCopy))]);
    assert_eq!(verdict.cells[0].above_promise, 1, "each cell is judged by its own silence");
    assert_eq!(verdict.at_rest.unwrap().most, 3000.0 / 1525.0, "3,051 pages a second at 1 ×");
    let faults = verdict.cells[1].faults.unwrap();
    assert_eq!((faults.percent, faults.allowed_ms), (Some(10.0), Some(1.5)));
}

#[test]
fn a_guest_that_was_lost_is_neither_finished_nor_compared() {
    let lost = Some("refused".to_owned());
    let harmed = Some("wrong byte".to_owned());
    let verdict = verdict(&[table(vec![
        Trial { lost, ..trial(Contender::Punctual, 50, 1.0, 0.0) },
        Trial { harmed, ..trial(Contender::QemuPostCopy, 50, 200.0, 0.5) },
    ])]);
    assert_eq!((verdict.moves, verdict.finished, verdict.harmed), (1, 0, 1));
    assert_eq!((verdict.gap, verdict.work_lost), (None, None));
}
