//! `punctual bench modes`

use std::process::ExitCode;

use comfy_table::Table;
use punctual_engine::report::Mode;
use punctual_lab::bench::modes::{Change, ModesSpec, run as compare};

use super::demo::newest;
use crate::arguments::{BenchModes, Global};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(global: &Global, said: &BenchModes) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = ModesSpec {
        lab: "bench-modes".parse().expect("bench-modes is a name"),
        rate: said.rate,
        qemu: newest(&said.guest)?,
        modes: Mode::ALL.to_vec(),
        repetitions: said.repetitions,
    };
    let (all, mut done) = (spec.modes.len() * spec.repetitions, 0);
    let changes = compare(&spec, &program, |change| {
        done += 1;
        eprintln!("{done:>3}/{all}  {}", in_a_line(change));
    });
    let changes = changes.map_err(|error| Failure::failed(error, ""))?;
    if global.json {
        output::json(&changes)?;
    } else {
        output::line(table(&changes))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_a_line(change: &Change) -> String {
    let Change { mode, gap_ms, total_s, remarks, .. } = change;
    format!("{:14} gap {gap_ms:8.1} ms  total {total_s:6.2} s  {}", mode, remarks.join("; "))
}

fn table(changes: &[Change]) -> Table {
    let mut table = output::plain();
    table.set_header([
        "MODE",
        "CPU AND MEMORY",
        "CONNECTIONS",
        "INTERRUPTION ms",
        "PREDICTED",
        "CLIENT GAP ms",
        "TOTAL s",
        "PREDICTED",
    ]);
    let kept = |kept: bool| if kept { "kept" } else { "lost" }.to_owned();
    for change in changes {
        let (downtime, total) = change.predicted.unzip();
        let figure = |figure: Option<f64>, digits: usize| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        table.add_row([
            change.mode.name().to_owned(),
            if change.arrived { kept(change.state_kept) } else { "did not move".to_owned() },
            if change.arrived { kept(change.connections_kept) } else { "-".to_owned() },
            figure(change.downtime_ms, 1),
            figure(downtime, 1),
            figure(Some(change.gap_ms), 1),
            figure(Some(change.total_s), 2),
            figure(total, 2),
        ]);
    }
    table
}
