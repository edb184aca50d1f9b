//! `punctual bench local`

use std::process::ExitCode;

use comfy_table::CellAlignment;
use punctual_lab::bench::local::{self, Local, LocalRow, LocalSpec, Replacement};
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
    for (name, spread, digits) in [
        ("client gap, ms", row.gap_ms, 1),
        ("gap undisturbed, ms", row.baseline_gap_ms, 1),
        ("interruption reported, ms", row.downtime_ms, 1),
        ("fixed part of a move, ms", row.fixed_ms, 1),
        ("client gap of a move, ms", row.move_gap_ms, 1),
        ("client gap / fixed part", row.ratio, 2),
    ] {
        table.add_row([name.to_owned(), output::spread(spread, 1.0, digits)]);
    }
    let column = table.column_mut(1).expect("the table has two columns");
    column.set_cell_alignment(CellAlignment::Right);
    let Local { qemu, memory, replacements } = outcome;
    let about = format!("{} idle guests of {memory}, TCG, QEMU {qemu}", replacements.len());
    table.add_row([about]);
    table
}
