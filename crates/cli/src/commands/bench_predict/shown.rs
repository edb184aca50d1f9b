//! What the benchmark of predictions found, on a terminal and on a page.

use std::collections::BTreeSet;
use std::time::Duration;

use punctual_engine::Report;
use punctual_engine::report::Predicted;
use punctual_lab::bench::predict::{
    Accuracy, Counts, Fate, Figures, Predictions, Row, Share, Stage, Summary, Trip, Verdict,
};
use punctual_page::{Dot, PredictionView, Scatter, Tabular};

use crate::failure::Failure;
use crate::output;

/// One move in a line.
pub(super) fn in_a_line(trip: &Trip) -> String {
    let Trip { workload, link, asked, report, .. } = trip;
    let asked = asked.as_secs_f64() * 1e3;
    let forced = trip.forced.as_ref().map(|forced| {
        let verdict = trip.verdict().map_or("", verdict);
        format!("; forced: {}, so it was {verdict}", measured(forced))
    });
    format!(
        "{:4}  {workload:13} {:>10}  asked {asked:3.0} ms: {}{}",
        stage(trip.stage),
        link.to_string(),
        measured(report),
        forced.unwrap_or_default()
    )
}

/// What became of a move, beside what was predicted.
fn measured(report: &Report) -> String {
    let fate = fate(Fate::of(report));
    let Some(downtime) = report.measured.downtime else {
        return format!("{fate} after {}", output::seconds(report.measured.total));
    };
    let said = |of: fn(&Predicted) -> String| report.predicted.as_ref().map_or("?".to_owned(), of);
    format!(
        "{fate}, {} ({}), {} ({}), {}",
        output::milliseconds(downtime),
        said(|predicted| output::milliseconds(predicted.downtime.p50)),
        output::seconds(report.measured.total),
        said(|predicted| output::seconds(predicted.total.p50)),
        report.policy,
    )
}

/// Prints all figures.
pub(super) fn print(made: &Predictions, summary: &Summary) -> Result<(), Failure> {
    let [figures, targets, refusals, _] = tables(made, summary);
    for sentence in about(made) {
        output::line(sentence)?;
    }
    for table in [figures, targets, refusals] {
        if table.rows.is_empty() {
            continue;
        }
        let mut lines = output::plain();
        lines.set_header(table.header.iter().map(|name| name.to_uppercase()));
        for row in table.rows {
            lines.add_row(row);
        }
        output::line(format_args!("\n{}", table.title))?;
        output::line(lines)?;
    }
    Ok(())
}

/// The page of all figures.
pub(super) fn view(made: &Predictions, summary: &Summary) -> PredictionView {
    let scatter = |title: &str, unit: &str, dot: fn(&Report, &Predicted) -> Option<Dot>| {
        let links: BTreeSet<_> = made.trips.iter().map(|trip| trip.link).collect();
        let dots = |link| {
            let trips = made.trips.iter().filter(|trip| trip.stage == Stage::Warm);
            let trips = trips.filter(|trip| trip.link == link);
            trips.filter_map(|trip| dot(&trip.report, trip.report.predicted.as_ref()?)).collect()
        };
        let series = links.into_iter().map(|link| (link.to_string(), dots(link))).collect();
        Scatter { title: title.to_owned(), unit: unit.to_owned(), series }
    };
    let total = scatter("Total time, warm moves", "s", |report, predicted| {
        report.measured.downtime?;
        let interval = predicted.interval95.total;
        Some(Dot {
            predicted: predicted.total.p50.as_secs_f64(),
            interval: interval.low.as_secs_f64()..interval.high.as_secs_f64(),
            measured: report.measured.total.as_secs_f64(),
        })
    });
    let downtime = scatter("Downtime, warm moves", "ms", |report, predicted| {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let interval = predicted.interval95.downtime;
        Some(Dot {
            predicted: ms(predicted.downtime.p50),
            interval: ms(interval.low)..ms(interval.high),
            measured: ms(report.measured.downtime?),
        })
    });
    let [figures, targets, refusals, moves] = tables(made, summary);
    let mut tables = vec![targets, figures, refusals, moves];
    tables.retain(|table| !table.rows.is_empty());
    PredictionView { about: about(made), tables, plots: vec![total, downtime] }
}

fn about(made: &Predictions) -> Vec<String> {
    let Predictions { qemu, seed, within, planned, trips } = made;
    let of = |stage| trips.iter().filter(|trip| trip.stage == stage).count();
    let forced = trips.iter().filter(|trip| trip.forced.is_some()).count();
    let mut about = vec![format!(
        "{} moves of {planned} ({} cold, {} warm, {} for digests), and {forced} forced, of Linux \
         guests of 256 MiB under QEMU {qemu} (TCG); {} asked in all; order by seed {seed}.",
        trips.len(),
        of(Stage::Cold),
        of(Stage::Warm),
        of(Stage::Digest),
        output::seconds(*within),
    )];
    let made = trips.iter().filter(|trip| trip.fate().is_completed());
    let unpredicted = made.filter(|trip| trip.report.predicted.is_none()).count();
    if unpredicted > 0 {
        about.push(format!("Of {unpredicted} moves made nothing was predicted: they only count."));
    }
    about
}

fn tables(made: &Predictions, summary: &Summary) -> [Tabular; 4] {
    let Summary { cold, warm, forced, workloads, links, downtimes, targets } = summary;
    let rows = [warm].into_iter().chain(workloads).chain(links).chain(downtimes);
    let rows = rows.chain([cold, forced]);
    let figures = Tabular {
        title: "Figures (rows from `warm` to `cold` are of warm moves; errors are medians)"
            .to_owned(),
        header: texts(&[
            "moves",
            "made",
            "predicted",
            "kept",
            "refused",
            "right",
            "needless",
            "total error",
            "bias",
            "in 95 %",
            "downtime error",
            "relative",
            "bias",
            "in 95 %",
            "close",
            "bytes error",
        ]),
        rows: rows.map(figure_row).collect(),
    };
    let targets = Tabular {
        title: "Aimed at and found".to_owned(),
        header: texts(&["of warm moves", "aim", "found", ""]),
        rows: targets
            .iter()
            .map(|target| {
                let reached = match target.reached {
                    Some(true) => "reached",
                    Some(false) => "MISSED",
                    None => "unknown",
                };
                vec![target.name.clone(), target.aim.clone(), target.found.clone(), reached.into()]
            })
            .collect(),
    };
    let refusals = Tabular {
        title: "Refused or given up, and then forced".to_owned(),
        header: texts(&["move", "workload", "link", "asked", "fate", "forced", "verdict"]),
        rows: made.trips.iter().filter(|trip| trip.fate().is_no()).map(refusal_row).collect(),
    };
    let moves = Tabular {
        title: "All moves".to_owned(),
        header: texts(&[
            "move",
            "stage",
            "workload",
            "link",
            "asked",
            "policy",
            "fate",
            "downtime",
            "predicted",
            "client gap",
            "total",
            "predicted",
            "bytes",
            "predicted",
        ]),
        rows: made.trips.iter().map(move_row).collect(),
    };
    [figures, targets, refusals, moves]
}

fn figure_row(row: &Row) -> Vec<String> {
    let Row { name, counts, figures } = row;
    let Counts { kept, refused, given_up, right, needless, .. } = counts;
    let Figures { moves, unpredicted, total, downtime, close, bytes_error } = figures;
    let of = |accuracy: &Option<Accuracy>, text: fn(&Accuracy) -> String| {
        accuracy.as_ref().map_or_else(none, text)
    };
    vec![
        name.clone(),
        moves.to_string(),
        moves.saturating_sub(*unpredicted).to_string(),
        share(*kept),
        (refused + given_up).to_string(),
        right.to_string(),
        needless.to_string(),
        of(total, |total| percent(total.relative_error.median)),
        of(total, |total| signed_percent(total.bias)),
        of(total, |total| share(total.coverage)),
        of(downtime, |downtime| format!("{:.1} ms", downtime.absolute_error_s.median * 1e3)),
        of(downtime, |downtime| percent(downtime.relative_error.median)),
        of(downtime, |downtime| signed_percent(downtime.bias)),
        of(downtime, |downtime| share(downtime.coverage)),
        share(*close),
        bytes_error.map_or_else(none, |error| percent(error.median)),
    ]
}

fn refusal_row(trip: &Trip) -> Vec<String> {
    vec![
        trip.number.to_string(),
        trip.workload.to_string(),
        trip.link.to_string(),
        output::milliseconds(trip.asked),
        fate(trip.fate()).to_owned(),
        trip.forced.as_ref().map_or_else(none, measured),
        trip.verdict().map_or("", verdict).to_owned(),
    ]
}

fn move_row(trip: &Trip) -> Vec<String> {
    let Report { measured, predicted, policy, .. } = &trip.report;
    let ms = |time: Option<Duration>| time.map_or_else(none, output::milliseconds);
    vec![
        trip.number.to_string(),
        stage(trip.stage).to_owned(),
        trip.workload.to_string(),
        trip.link.to_string(),
        output::milliseconds(trip.asked),
        policy.to_string(),
        fate(trip.fate()).to_owned(),
        ms(measured.downtime),
        ms(predicted.map(|predicted| predicted.downtime.p50)),
        ms(measured.client_gap),
        output::seconds(measured.total),
        predicted.map_or_else(none, |predicted| output::seconds(predicted.total.p50)),
        measured.wire_bytes.to_string(),
        predicted.map_or_else(none, |predicted| predicted.wire_bytes.to_string()),
    ]
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Cold => "cold",
        Stage::Warm => "warm",
        Stage::Digest => "digest",
    }
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Broken => "BROKEN",
        Fate::Refused => "refused",
        Fate::GivenUp => "given up",
        Fate::Failed => "FAILED",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Right => "right",
        Verdict::Needless => "needless",
        Verdict::Unchecked => "unchecked",
    }
}

fn share(Share { part, of }: Share) -> String {
    if of == 0 { none() } else { format!("{part}/{of}") }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn signed_percent(ratio: f64) -> String {
    format!("{:+.1} %", ratio * 100.0)
}

fn none() -> String {
    "-".to_owned()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
