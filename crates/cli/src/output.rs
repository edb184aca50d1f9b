//! Results as people read them, and as JSON.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use punctual_engine::report::{
    Ending, Engine, Phases, PostCopy, Predicted, Promise, Quantiles, Report,
};
use punctual_host::api::{MachineDetails, MachineSummary};
use punctual_lab::bench::throughput::{Throughput, ThroughputRow};
use punctual_lab::bench::tracing::{Tracing, TracingRow, Writer};
use punctual_lab::bench::{Bench, Figures, Spread, Summary};
use punctual_lab::demo::Demo;
use punctual_units::Bytes;
use serde::Serialize;

use crate::failure::Failure;

/// Prints `value` as one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("results are JSON");
    line(text)
}

/// Prints `value` as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).expect("results are JSON"))
}

/// Prints text and the end of its line; blanks at the ends of lines, as tables have, are left out.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let text = text.to_string();
    text.lines()
        .try_for_each(|line| writeln!(output, "{}", line.trim_end()))
        .map_err(|error| Failure::failed(format!("cannot write the result: {error}"), ""))
}

/// The machines of a host.
pub(crate) fn machines(machines: &[MachineSummary]) -> Table {
    let mut table = plain();
    table.set_header(["NAME", "STATE", "MEMORY", "PID", "MIGRATION"]);
    for machine in machines {
        table.add_row([
            machine.name.clone(),
            machine.state.to_string(),
            machine.memory.to_string(),
            machine.pid.to_string(),
            machine.migration.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        ]);
    }
    for number in [2, 3] {
        let column = table.column_mut(number).expect("the table has five columns");
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// All that is known of one machine.
pub(crate) fn machine(machine: &MachineDetails) -> Table {
    let mut table = plain();
    let summary = &machine.summary;
    table.add_row(["name", &summary.name]);
    table.add_row(["state", &summary.state.to_string()]);
    table.add_row(["pid", &summary.pid.to_string()]);
    for ram in &machine.ram {
        let text = format!("{}: {}, {} populated", ram.name, ram.size, ram.populated);
        table.add_row(["memory", &text]);
    }
    if let Some(qmp) = &machine.qmp {
        table.add_row(["QMP socket", &qmp.display().to_string()]);
    }
    if let Some(id) = summary.migration {
        table.add_row(["migration", &id.to_string()]);
    }
    if machine.obstacles.is_empty() {
        table.add_row(["migratable", "yes"]);
        let engine = match machine.engine {
            Engine::External | Engine::Restart => "external: Punctual".to_owned(),
            Engine::Native => format!("native: QEMU's own, since {}", machine.engine_reason),
        };
        table.add_row(["engine", &engine]);
    }
    for obstacle in &machine.obstacles {
        let text = format!("no: {}\n{}", obstacle.reason, obstacle.remedy);
        table.add_row(["migratable", &text]);
    }
    table.add_row(["command", &command_line(&machine.command_line)]);
    table
}

/// A command line as a shell would take it.
pub(crate) fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// What of a migration was promised, predicted and measured, in few lines.
pub(crate) fn report(report: &Report) -> Table {
    let mut table = plain();
    let measured = &report.measured;
    let predicted = report.predicted.as_ref();
    let foretold = |of: fn(&Predicted) -> String| predicted.map_or_else(String::new, of);
    table.set_header(["", "PROMISED", "PREDICTED", "MEASURED"]);
    table.add_row([
        "downtime",
        &milliseconds(report.promised.downtime),
        &foretold(|predicted| span(predicted.downtime, milliseconds)),
        &measured.downtime.map_or_else(|| "not stopped".to_owned(), |_| downtime(report)),
    ]);
    table.add_row([
        "total time",
        &seconds(report.promised.total),
        &foretold(|predicted| span(predicted.total, seconds)),
        &seconds(measured.total),
    ]);
    let bytes = foretold(|predicted| predicted.wire_bytes.to_string());
    table.add_row(["on the wire", "", &bytes, &measured.wire_bytes.to_string()]);
    let promise = report.promise.map_or("-", |promise| match promise {
        Promise::Kept => "kept",
        Promise::Broken => "BROKEN",
        Promise::Refused => "refused",
    });
    table.add_row(["promise", "", "", promise]);
    table.add_row(["mode", "", "", report.mode.name()]);
    match report.engine {
        Engine::External | Engine::Restart => {
            table.add_row(["policy", "", "", report.policy.name()])
        }
        Engine::Native => table.add_row(["engine", "", "", "native"]),
    };
    table.add_row(["pages sent", "", "", &measured.pages_sent.get().to_string()]);
    table.add_row(["rounds", "", "", &measured.rounds.to_string()]);
    measured.post_copy.iter().for_each(|tail| followed(&mut table, tail));
    if let Some(missed) = &measured.missed {
        let did = format!("{} after {}", missed.did, seconds(missed.at));
        table.add_row(["on the miss", "", "", &did]);
    }
    if let Some(throttled) = &measured.throttled {
        let share = throttled.share.get() * 100.0;
        table.add_row(["slowed down", "", "", &format!("to {share:.0} %")]);
        table.add_row(["  for", "", "", &seconds(throttled.time)]);
        table.add_row(["  work lost", "", "", &seconds(throttled.lost)]);
    }
    if let Some(planned) = measured.planned {
        table.add_row(["looked beforehand", "", "", &seconds(planned)]);
    }
    if measured.downtime.is_some() {
        for (name, time) in parts(&measured.phases).into_iter().filter(|(_, time)| !time.is_zero())
        {
            table.add_row([name, "", "", &milliseconds(time)]);
        }
    }
    if let Some(equal) = report.ram_digest_equal {
        table.add_row(["RAM digest", "equal", "", if equal { "equal" } else { "DIFFERENT" }]);
    }
    for number in [1, 2, 3] {
        let column = table.column_mut(number).expect("the table has four columns");
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What depending on two hosts came to.
fn followed(table: &mut Table, tail: &PostCopy) {
    let PostCopy { missing, dependence, faults, fault_median, fault_p99, recoveries } = tail;
    table.add_row(["on two hosts", "", "", &seconds(*dependence)]);
    table.add_row(["  pages that followed", "", "", &missing.get().to_string()]);
    table.add_row(["  waits for a page", "", "", &faults.to_string()]);
    if *faults > 0 {
        table.add_row(["    median", "", "", &milliseconds(*fault_median)]);
        table.add_row(["    99 of 100", "", "", &milliseconds(*fault_p99)]);
    }
    if *recoveries > 0 {
        table.add_row(["  link lost and back", "", "", &recoveries.to_string()]);
    }
}

/// Where the interruption went.
fn parts(phases: &Phases) -> [(&'static str, Duration); 6] {
    [
        ("  stop", phases.stop),
        ("  final copy", phases.final_copy),
        ("  device state", phases.device_state),
        ("  verify", phases.verify),
        ("  commit", phases.commit),
        ("  resume", phases.resume),
    ]
}

/// A median, and what is exceeded once in a hundred times.
fn span(quantiles: Quantiles, shown: fn(Duration) -> String) -> String {
    format!("{} (99 %: {})", shown(quantiles.p50), shown(quantiles.p99))
}

/// What a demonstration promised and showed.
pub(crate) fn demo(demo: &Demo) -> Table {
    let mut table = report(&demo.report);
    let gap = demo.report.measured.client_gap;
    let gap = gap.map_or_else(|| "not heard".to_owned(), milliseconds);
    table.add_row(["client's longest silence", "", "", &gap]);
    table.add_row(["  without a move", "", "", &milliseconds(demo.client.baseline_gap)]);
    let stream = if demo.stream_broke.is_none() { "unbroken" } else { "BROKEN" };
    table.add_row(["client's TCP stream", "unbroken", "", stream]);
    let check = match &demo.check.wrong {
        None => format!("{} pages right", demo.check.pages_checked),
        Some(_) => "WRONG BYTE".to_owned(),
    };
    table.add_row(["guest's own check", "all right", "", &check]);
    table
}

/// A comparison of movers, medians first, the worst in brackets, then the ratios to QEMU's best.
pub(crate) fn bench(outcome: &Bench, summary: &Summary) -> Table {
    let mut table = plain();
    table.set_header([
        "LOAD",
        "MOVER",
        "LOST",
        "GAP ms (worst)",
        "BASE ms",
        "TOTAL s",
        "MB",
        "WORK LOST s",
        "GAP ×",
        "TOTAL ×",
        "MB ×",
        "LOST WORK ×",
    ]);
    for row in &summary.rows {
        let figure = |of: fn(&Figures) -> String| row.figures.as_ref().map_or("-".to_owned(), of);
        let ratio = |index: usize| {
            row.ratios[index].map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        table.add_row([
            row.load.to_string(),
            row.contender.to_string(),
            format!("{}/{}", row.lost, row.moves),
            figure(|figures| format!("{:.1} ({:.1})", figures.gap_ms.median, figures.gap_ms.most)),
            figure(|figures| format!("{:.1}", figures.baseline_gap_ms.median)),
            figure(|figures| format!("{:.2}", figures.total_s.median)),
            figure(|figures| format!("{:.1}", figures.bytes.median / 1e6)),
            figure(|figures| format!("{:.2}", figures.work_lost_s.median)),
            ratio(0),
            ratio(1),
            ratio(2),
            ratio(3),
        ]);
    }
    let rate = outcome.rate.map_or_else(|| "unshaped".to_owned(), |rate| rate.to_string());
    let about = format!("{} ms asked, {rate}, QEMU {}", outcome.downtime_ms, outcome.qemu);
    table.add_row([about.as_str()]);
    table
}

/// What tracing alone costs: medians, with the least and the most in brackets.
pub(crate) fn tracing(outcome: &Tracing, rows: &[TracingRow]) -> Table {
    let mut table = plain();
    table.set_header([
        "WRITER",
        "SCAN EVERY",
        "WRITES/s",
        "WRITES/s ×",
        "vCPU TIME A WRITE ×",
        "LOST % OF A CPU",
        "A SCAN ms",
        "PAGES",
    ]);
    for row in rows {
        let writer = match row.writer {
            Writer::Paced(rate) => format!("{rate} writes/s"),
            Writer::Saturating => "saturating".to_owned(),
        };
        table.add_row([
            writer,
            format!("{} ms", row.period_ms),
            format!("{:.0}", row.free_writes_per_s.median),
            spread(row.rate_ratio, 1.0, 3),
            spread(row.time_ratio, 1.0, 3),
            spread(row.lost_share, 100.0, 1),
            format!("{:.2}", row.scan_ms.median),
            format!("{:.0}", row.pages_per_scan.median),
        ]);
    }
    let pairs = rows.first().map_or(0, |row| row.pairs);
    let about = format!("traced / free, {pairs} pairs each, TCG, QEMU {}", outcome.qemu);
    table.add_row([about.as_str()]);
    table
}

/// How fast RAM moves: medians, with the least and the most in brackets.
pub(crate) fn throughput(outcome: &Throughput, rows: &[ThroughputRow]) -> Table {
    let mut table = plain();
    table.set_header([
        "GUEST",
        "MOVES",
        "iperf3 Gbit/s",
        "RAM Gbit/s",
        "RAM ×",
        "WHOLE MOVE ×",
        "SOURCE MiB",
        "DESTINATION MiB",
        "ALLOWED MiB",
    ]);
    let mebibytes = |bytes: Bytes| format!("{:.1}", bytes.get() as f64 / f64::from(1 << 20));
    for row in rows {
        table.add_row([
            row.memory.to_string(),
            row.passages.to_string(),
            spread(row.stream, 8e-9, 1),
            spread(row.copy, 8e-9, 1),
            spread(row.copy_ratio, 1.0, 2),
            spread(row.whole_ratio, 1.0, 2),
            mebibytes(row.source_memory),
            mebibytes(row.destination_memory),
            mebibytes(row.memory_limit),
        ]);
    }
    let about = format!("unshaped, × iperf3 just before, TCG, QEMU {}", outcome.qemu);
    table.add_row([about.as_str()]);
    table
}

/// A median, and how far the figures lie apart.
pub(crate) fn spread(spread: Spread, times: f64, digits: usize) -> String {
    let Spread { least, median, most } = spread;
    let [least, median, most] = [least, median, most].map(|figure| figure * times);
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// How a simulated migration ended, in one word.
pub(crate) fn simulated_ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Refused => "refused",
        Ending::Cancelled => "cancelled",
        Ending::Failed => "given up",
    }
}

/// How a migration ended, in one line.
pub(crate) fn ending(report: &Report) -> String {
    let Report { machine, from, to, .. } = report;
    match report.outcome {
        Ending::Completed => format!("machine `{machine}` moved from `{from}` to `{to}`"),
        Ending::Refused => format!("machine `{machine}` stays on `{from}`: refused"),
        Ending::Cancelled => format!("machine `{machine}` stays on `{from}`: cancelled"),
        Ending::Failed => format!("machine `{machine}`: the move to `{to}` failed"),
    }
}

/// The measured downtime; what the digests took is not part of the promise, and stands apart.
fn downtime(report: &Report) -> String {
    let verify = report.measured.phases.verify;
    let rest = milliseconds(report.measured.downtime.unwrap_or_default().saturating_sub(verify));
    if verify.is_zero() { rest } else { format!("{rest} + {} verify", milliseconds(verify)) }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// A table without lines, for terminals and for other programs alike.
pub(crate) fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_given_to_a_shell() {
        let words = ["qemu", "-append", "a b", "it's", ""].map(str::to_owned);
        assert_eq!(command_line(&words), r"qemu -append 'a b' 'it'\''s' ''");
    }
}
