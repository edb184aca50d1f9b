//! `punctual bench local`

use std::process::ExitCode;

use comfy_table::CellAlignment;
use punctual_lab::bench::local::{self, Local, LocalRow, LocalSpec, Parts, Replacement};
use serde::Serialize;

use super::demo::newest;
use crate::arguments::{BenchLocal, Global};
use crate::failure::Failure;
use crate::output;

/// What `--json` prints: every guest, and the medians.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    outcome: &'a Local,
    row: Option<LocalRow>,
}

pub(super) fn run(global: &Global, said: BenchLocal) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = LocalSpec {
        lab: "bench-local".parse().expect("bench-local is a name"),
        qemu: newest(&said.guest)?,
        memory: said.memory,
        repetitions: said.repetitions,
    };
    let (all, mut done) = (spec.repetitions, 0);
    let outcome = local::run(&spec, &program, |one| {
        done += 1;
        eprintln!("{done:>3}/{all}  {}", in_a_line(one));
    });
    let outcome = outcome.map_err(|error| Failure::failed(error, ""))?;
    let row = outcome.row();
    if global.json {
        output::json(&Printed { outcome: &outcome, row })?;
    } else if let Some(row) = row {
        output::line(table(&outcome, &row))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_a_line(one: &Replacement) -> String {
    let Replacement { gap_ms, downtime_ms, fixed_ms, wire_bytes, pages_sent, move_gap_ms, .. } =
        one;
    format!(
        "gap {gap_ms:.1} ms, interruption {downtime_ms:.1} ms, {wire_bytes} and {} pages; a move: \
         fixed part {fixed_ms:.1} ms, gap {move_gap_ms:.1} ms",
        pages_sent.get()
    )
}

fn table(outcome: &Local, row: &LocalRow) -> comfy_table::Table {
    let mut table = output::plain();
    table.set_header(["", "MEDIAN (LEAST–MOST)"]);
    let Parts { stop_ms, save_ms, load_ms, commit_ms, run_ms } = row.parts;
    for (name, spread, digits) in [
        ("client gap, ms", Some(row.gap_ms), 1),
        ("  until the new QEMU is heard", row.until_announced_ms, 1),
        ("  then until the guest is heard", row.until_heard_ms, 1),
        ("gap undisturbed, ms", Some(row.baseline_gap_ms), 1),
        ("interruption reported, ms", Some(row.downtime_ms), 1),
        ("  stop", Some(stop_ms), 1),
        ("  save the device state", Some(save_ms), 1),
        ("  load it", Some(load_ms), 1),
        ("  commit", Some(commit_ms), 1),
        ("  run", Some(run_ms), 1),
        ("fixed part of a move, ms", Some(row.fixed_ms), 1),
        ("client gap of a move, ms", Some(row.move_gap_ms), 1),
        ("client gap / fixed part", Some(row.ratio), 2),
    ] {
        let figure = spread.map_or_else(|| "-".to_owned(), |all| output::spread(all, 1.0, digits));
        table.add_row([name.to_owned(), figure]);
    }
    let column = table.column_mut(1).expect("the table has two columns");
    column.set_cell_alignment(CellAlignment::Right);
    let Local { qemu, memory, replacements } = outcome;
    let about = format!("{} idle guests of {memory}, TCG, QEMU {qemu}", replacements.len());
    table.add_row([about]);
    table
}
