//! `punctual bench busy`

use std::process::ExitCode;
use std::time::Instant;

use punctual_engine::report::Promise;
use punctual_lab::bench::busy::{Verdict, verdict};
use punctual_lab::bench::{
    Bench, BenchSpec, Contender, Load, Spread, Summary, Trial, run as compare,
};
use serde::Serialize;

use super::demo::newest;
use crate::arguments::{BenchBusy, Global};
use crate::failure::Failure;
use crate::output;

/// What moves each guest where nobody says.
const CONTENDERS: [Contender; 4] = [
    Contender::Punctual,
    Contender::QemuPreCopy,
    Contender::QemuAutoConverge,
    Contender::QemuPostCopy,
];

/// What `--json` prints: every move, the medians of each table, and what they come to.
#[derive(Serialize)]
struct Printed<'a> {
    tables: &'a [Bench],
    summaries: &'a [Summary],
    verdict: Verdict,
}

pub(super) fn run(global: &Global, said: BenchBusy) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let specs = specs(said)?;
    let all: usize = specs.iter().map(BenchSpec::moves).sum();
    let (begun, mut done) = (Instant::now(), 0);
    let mut tables = Vec::with_capacity(specs.len());
    for spec in &specs {
        let table = compare(spec, &program, |trial| {
            done += 1;
            let left = begun.elapsed() / done * (all as u32 - done);
            eprintln!("{done:>3}/{all}  {}  ETA {}", in_a_line(trial), output::seconds(left));
        });
        tables.push(table.map_err(|error| Failure::failed(error, ""))?);
    }
    let summaries: Vec<Summary> = tables.iter().map(Bench::summary).collect();
    let verdict = verdict(&tables);
    if global.json {
        output::json(&Printed { tables: &tables, summaries: &summaries, verdict })?;
        return Ok(ExitCode::SUCCESS);
    }
    for (table, summary) in tables.iter().zip(&summaries) {
        output::line(output::bench(table, summary))?;
    }
    print(&verdict)?;
    Ok(ExitCode::SUCCESS)
}

fn specs(said: BenchBusy) -> Result<Vec<BenchSpec>, Failure> {
    let qemu = newest(&said.guest)?;
    let contenders = Some(said.contenders).filter(|named| !named.is_empty());
    let contenders = contenders.unwrap_or_else(|| CONTENDERS.to_vec());
    let loads = said.patterns.iter().flat_map(|pattern| {
        let of = |percent: &u32| Load::Share { pattern: *pattern, percent: *percent };
        said.shares.iter().map(of).collect::<Vec<_>>()
    });
    let loads: Vec<Load> = loads.collect();
    let spec = |rate| BenchSpec {
        lab: "bench-busy".parse().expect("bench-busy is a name"),
        rate: Some(rate),
        downtime: said.downtime,
        within: said.within,
        qemu: qemu.clone(),
        loads: loads.clone(),
        contenders: contenders.clone(),
        planned: true,
        repetitions: said.repetitions,
    };
    Ok(said.rates.iter().copied().map(spec).collect())
}

fn in_a_line(trial: &Trial) -> String {
    let Trial { contender, load, gap_ms, total_s, bytes, work_lost_s, .. } = trial;
    let how = trial.how.as_ref().map_or_else(String::new, |how| {
        let kept = how.promise == Some(Promise::Kept);
        let promise = if kept { "promise kept" } else { "promise not kept" };
        format!("  {} {}, {promise}", how.mode, how.policy)
    });
    let lost = trial.lost.as_ref().map(|why| format!("  LOST: {why}")).unwrap_or_default();
    format!(
        "{load:20} {contender:18} gap {gap_ms:6.1} ms  total {total_s:5.2} s  {bytes}  work lost \
         {work_lost_s:.2} s{how}{lost}"
    )
}

fn print(verdict: &Verdict) -> Result<(), Failure> {
    let spread = |spread: Option<Spread>| {
        spread.map_or_else(
            || "-".to_owned(),
            |Spread { least, median, most }| format!("{median:.2} ({least:.2} to {most:.2})"),
        )
    };
    let Verdict { moves, finished, kept, above_promise, .. } = verdict;
    output::line(format_args!(
        "\nPunctual finished {finished} of {moves} moves; {kept} promises kept; {above_promise} \
         silences above what was promised\n\
         gap / QEMU's best that finished   {}\n\
         work lost / QEMU's post-copy      {}\n\
         fault to page, median, ms         {}\n\
         faults, % of the pages written    {}",
        spread(verdict.gap),
        spread(verdict.work_lost),
        spread(verdict.fault_median_ms),
        spread(verdict.faults_percent),
    ))
}
