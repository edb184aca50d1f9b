//! `punctual bench local`

use std::fs::File;
use std::process::ExitCode;

use comfy_table::CellAlignment;
use punctual_lab::bench::local::{self, Accel, Local, LocalRow, LocalSpec, Parts, Replacement};
use serde::Serialize;

use super::demo::{chosen, newest};
use crate::arguments::{BenchLocal, Global, GuestChoice};
use crate::failure::Failure;
use crate::output;

/// How much longer the gap may be than the fixed part.
const MOST: f64 = 1.5;

/// What `--json` prints: every guest, and the medians.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    outcome: &'a Local,
    row: Option<LocalRow>,
}

pub(super) fn run(global: &Global, said: BenchLocal) -> Result<ExitCode, Failure> {
    let accel = said.accel.into();
    if accel == Accel::Kvm {
        let what = |error| format!("/dev/kvm cannot be opened: {error}");
        let remedy = "load the module kvm_intel or kvm_amd, or measure with `--accel tcg`";
        let opened = File::options().read(true).write(true).open("/dev/kvm");
        opened.map_err(|error| Failure::refused(what(error), remedy))?;
    }
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = LocalSpec {
        lab: "bench-local".parse().expect("bench-local is a name"),
        qemu: newest(&said.guest)?,
        successor: said
            .successor
            .map(|series| chosen(&GuestChoice { qemu: Some(series) }))
            .transpose()?,
        accel,
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
    let ratio = format!("client gap / fixed part (asked: at most {MOST:.1})");
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
        (ratio.as_str(), Some(row.ratio), 2),
        ("pages of RAM copied", Some(row.pages_sent), 0),
    ] {
        let figure = spread.map_or_else(|| "-".to_owned(), |all| output::spread(all, 1.0, digits));
        table.add_row([name.to_owned(), figure]);
    }
    let column = table.column_mut(1).expect("the table has two columns");
    column.set_cell_alignment(CellAlignment::Right);
    let Local { qemu, successor, accel, memory, replacements } = outcome;
    let guests = match accel {
        Accel::Tcg => "idle Linux guests under TCG",
        Accel::Kvm => "bare-metal guests under KVM",
    };
    let about =
        format!("{} {guests}, {memory} each, QEMU {qemu} -> {successor}", replacements.len());
    table.add_row([about]);
    table
}
