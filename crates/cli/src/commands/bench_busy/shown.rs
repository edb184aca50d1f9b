//! The table of busy guests and what it comes to, on a terminal and as Markdown.

use comfy_table::Table;
use punctual_engine::report::Promise;
use punctual_lab::bench::busy::{self, Cell, Verdict};
use punctual_lab::bench::{Bench, Figures, How, Row, Spread, Trial};

use crate::output;

const HEADER: [&str; 9] =
    ["link", "guest", "mover", "gap ms", "without a move ms", "total s", "MB", "work lost s", ""];

/// Of Punctual's moves in each cell: beside what was promised, and beside QEMU's.
const CELLS: [&str; 8] = [
    "link",
    "guest",
    "promises kept",
    "gap / (promise + baseline)",
    "gap / QEMU's best",
    "work lost / post-copy's",
    "fault to page ms (allowed)",
    "faults %",
];

/// One move in a line.
pub(super) fn in_a_line(trial: &Trial) -> String {
    let Trial { contender, load, gap_ms, total_s, bytes, work_lost_s, .. } = trial;
    let outcome = outcome(trial);
    format!(
        "{load:20} {contender:18} gap {gap_ms:6.1} ms  total {total_s:5.2} s  {bytes}  work lost \
         {work_lost_s:.2} s  {outcome}"
    )
}

/// Every mover with every guest, medians where there were several moves.
pub(super) fn table(tables: &[Bench]) -> Table {
    plain(HEADER, tables.iter().flat_map(rows))
}

/// How Punctual did in each cell.
pub(super) fn cells(verdict: &Verdict) -> Table {
    plain(CELLS, verdict.cells.iter().map(cell))
}

fn plain<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Table {
    let mut table = output::plain();
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows);
    table
}

/// What it comes to, beside what is to be reached.
pub(super) fn verdict(verdict: &Verdict) -> String {
    let points = points(verdict).into_iter();
    points.map(|(what, found)| format!("{what:50} {found}\n")).collect()
}

/// The table and what it comes to.
pub(super) fn markdown(tables: &[Bench], verdict: &Verdict) -> String {
    let about: String = tables.iter().map(about).collect();
    let moves = marked(HEADER, tables.iter().flat_map(rows));
    let cells = marked(CELLS, verdict.cells.iter().map(cell));
    let points = points(verdict).into_iter();
    let points: String = points.map(|(what, found)| format!("- {what}: {found}\n")).collect();
    format!("{about}\n{moves}\n{cells}\n{points}")
}

fn marked<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let row = |cells: [String; N]| format!("| {} |\n", cells.join(" | "));
    let rule = row(header.map(|_| "---".to_owned()));
    let rows: String = rows.map(row).collect();
    format!("{}{rule}{rows}", row(header.map(str::to_owned)))
}

fn about(table: &Bench) -> String {
    let trip = table.round_trip_ms.map_or_else(
        || "not measured".to_owned(),
        |trip| format!("{} ms", output::spread(trip, 1.0, 2)),
    );
    format!(
        "- {}: {:.0} ms of interruption and {:.0} s in all asked of every mover; round trip {trip}; \
         QEMU {}\n",
        link(table),
        table.downtime_ms,
        table.within_s,
        table.qemu
    )
}

fn link(table: &Bench) -> String {
    table.rate.map_or_else(|| "unshaped".to_owned(), |rate| rate.to_string())
}

fn cell(cell: &Cell) -> [String; 8] {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
    let best = cell.best.map_or_else(String::new, |best| format!(" ({best})"));
    let times = cell.faults.map_or_else(
        || "-".to_owned(),
        |faults| format!("{:.2} ({})", faults.median_ms, ratio(faults.allowed_ms)),
    );
    [
        cell.rate.map_or_else(|| "unshaped".to_owned(), |rate| rate.to_string()),
        cell.load.to_string(),
        count(cell.kept, cell.moves),
        ratio(cell.of_promise),
        format!("{}{best}", ratio(cell.gap)),
        ratio(cell.work_lost),
        times,
        ratio(cell.faults.and_then(|faults| faults.percent)),
    ]
}

fn rows(table: &Bench) -> Vec<[String; 9]> {
    table.summary().rows.iter().map(|row| figures(table, row)).collect()
}

fn figures(table: &Bench, row: &Row) -> [String; 9] {
    let of = |of: fn(&Figures) -> Spread, digits: usize, times: f64| {
        let median = |figures: &Figures| format!("{:.digits$}", of(figures).median * times);
        row.figures.as_ref().map_or_else(|| "-".to_owned(), median)
    };
    let of_row = |trial: &&Trial| trial.load == row.load && trial.contender == row.contender;
    let mut outcomes: Vec<String> = table.trials.iter().filter(of_row).map(outcome).collect();
    outcomes.dedup();
    [
        link(table),
        row.load.to_string(),
        row.contender.to_string(),
        of(|figures| figures.gap_ms, 1, 1.0),
        of(|figures| figures.baseline_gap_ms, 1, 1.0),
        of(|figures| figures.total_s, 1, 1.0),
        of(|figures| figures.bytes, 0, 1e-6),
        of(|figures| figures.work_lost_s, 2, 1.0),
        outcomes.join("; "),
    ]
}

/// How a move ended, in few words.
fn outcome(trial: &Trial) -> String {
    let mut words = Vec::new();
    words.extend(trial.harmed.as_ref().map(|harm| format!("GUEST HARMED: {harm}")));
    match &trial.lost {
        Some(why) if trial.harmed.as_ref() != Some(why) => words
            .push(format!("not moved: {why} ({:.2} s of work lost meanwhile)", trial.work_lost_s)),
        _ => {}
    }
    if trial.lost.is_none() && trial.how.is_none() {
        words.push("moved".to_owned());
    }
    words.extend(trial.how.as_ref().map(|how| by_punctual(how, trial.written_pages)));
    words.join("; ")
}

fn by_punctual(how: &How, written: u64) -> String {
    let promise = match how.promise {
        Some(Promise::Kept) => "promise kept",
        Some(Promise::Broken) => "PROMISE BROKEN",
        Some(Promise::Refused) => "refused",
        None => "nothing promised",
    };
    let followed = how.post_copy.map_or_else(String::new, |rest| {
        let share = 100.0 * rest.faults as f64 / written.max(1) as f64;
        format!(
            "; {} pages followed in {}, {} faults ({share:.1} %), {:.2} ms each (99 %: {:.2})",
            rest.missing.get(),
            output::seconds(rest.dependence),
            rest.faults,
            rest.fault_median.as_secs_f64() * 1e3,
            rest.fault_p99.as_secs_f64() * 1e3,
        )
    });
    format!("{}, {}; {promise}{followed}", how.mode, how.policy)
}

/// What is asked, and what was found.
fn points(verdict: &Verdict) -> Vec<(String, String)> {
    let Verdict { moves, finished, kept, harmed, above_promise, .. } = verdict;
    let allowed = verdict.cells.iter().filter_map(|cell| cell.faults?.allowed_ms);
    let allowed = allowed.min_by(f64::total_cmp);
    let mut points = vec![
        point("Punctual's moves that finished", "all", moves == finished, count(*finished, *moves)),
        point("promises kept", "all", moves == kept, count(*kept, *moves)),
        point("guests harmed, whoever moved them", "none", *harmed == 0, harmed.to_string()),
        point(
            "silences above the promise and the baseline gap",
            "none",
            *above_promise == 0,
            above_promise.to_string(),
        ),
    ];
    points.extend(verdict.at_rest.map(|rate| {
        let what = "work done before the moves / work asked for";
        point(what, "at least 0.95", rate.least >= 0.95, output::spread(rate, 1.0, 3))
    }));
    points.extend(verdict.of_promise.map(|most| {
        point("worst silence by those two together", "at most 1", most <= 1.0, format!("{most:.2}"))
    }));
    let (gap, lost) = (busy::GAP, busy::WORK_LOST);
    points.extend(most("gap / QEMU's best that finished", verdict.gap, |s| s.median, gap));
    points.extend(most("work lost / QEMU's post-copy", verdict.work_lost, |s| s.median, lost));
    points.extend(verdict.fault_median_ms.zip(allowed).map(|(times, limit)| {
        let mut cells = verdict.cells.iter().filter_map(|cell| cell.faults);
        let held = cells.all(|faults| faults.allowed_ms.is_some_and(|ms| faults.median_ms <= ms));
        let found = output::spread(times, 1.0, 2);
        point(
            "fault to page, ms: 2 round trips and 1 ms",
            &format!("at most {limit:.2}"),
            held,
            found,
        )
    }));
    let faults = busy::FAULTS_PERCENT;
    points.extend(most(
        "faults, % of the pages written",
        verdict.faults_percent,
        |s| s.most,
        faults,
    ));
    points
}

fn count(part: usize, of: usize) -> String {
    format!("{part} of {of}")
}

fn most(
    what: &str,
    found: Option<Spread>,
    judged: fn(&Spread) -> f64,
    limit: f64,
) -> Option<(String, String)> {
    let found = found?;
    let asked = format!("at most {limit}");
    Some(point(what, &asked, judged(&found) <= limit, output::spread(found, 1.0, 2)))
}

fn point(what: &str, asked: &str, reached: bool, found: String) -> (String, String) {
    let reached = if reached { "reached" } else { "MISSED" };
    (what.to_owned(), format!("{found} ({asked}: {reached})"))
}
