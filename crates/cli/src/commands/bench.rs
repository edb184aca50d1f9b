//! `punctual bench`

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use punctual_lab::bench::throughput::{self, Passage, Throughput, ThroughputRow, ThroughputSpec};
use punctual_lab::bench::tracing::{self, Pair, Tracing, TracingRow, TracingSpec, Writer};
use punctual_lab::bench::{
    Bench as Outcome, BenchSpec, Contender, Load, Memory, Summary, Trial, run as compare,
};
use punctual_units::Bytes;
use serde::Serialize;

use super::demo::{chosen, newest};
use super::{bench_busy, bench_local, bench_modes, bench_predict};
use crate::arguments::{Bench as Said, BenchMigrate, Global, GuestChoice, OtherBench as Other};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(global: &Global, said: Said) -> Result<ExitCode, Failure> {
    match said.other {
        None => migrate(global, said.migrate),
        Some(Other::Throughput { repetitions, memory, guest }) => {
            pass(global, repetitions, memory, &guest)
        }
        Some(Other::Tracing { repetitions, guest }) => trace(global, repetitions, &guest),
        Some(Other::Busy(said)) => bench_busy::run(global, said),
        Some(Other::Modes(said)) => bench_modes::run(global, &said),
        Some(Other::Local(said)) => bench_local::run(global, said),
        Some(Other::Predict(said)) => bench_predict::run(global, said),
    }
}

/// What `--json` prints: every move, and the medians side by side.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    summary: &'a Summary,
}

fn migrate(global: &Global, said: BenchMigrate) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let load = |writes| if writes == 0 { Load::Idle } else { Load::Writes(writes) };
    let mut contenders = said.contenders;
    if contenders.is_empty() {
        contenders = Contender::ALL.to_vec();
    }
    let spec = BenchSpec {
        lab: "bench".parse().expect("bench is a name"),
        rate: said.rate.0,
        downtime: said.downtime,
        within: said.within,
        qemu: newest(&said.guest)?,
        memory: Memory::QUIET,
        loads: said.writes.into_iter().map(load).collect(),
        contenders,
        planned: false,
        repetitions: said.repetitions,
    };
    let (begun, all) = (Instant::now(), spec.moves().count());
    let outcome = compare(&spec, &program, |made| {
        let done = made.trials.len();
        let left = begun.elapsed() / done as u32 * (all - done) as u32;
        let trial = made.trials.last().map_or_else(String::new, in_a_line);
        eprintln!("{done:>3}/{all}  {trial}  ETA {}", output::seconds(left));
        ControlFlow::Continue(())
    });
    let outcome = outcome.map_err(|error| Failure::failed(error, ""))?;
    let summary = outcome.summary();
    if global.json {
        output::json(&Printed { outcome: &outcome, summary: &summary })?;
    } else {
        output::line(output::bench(&outcome, &summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_a_line(trial: &Trial) -> String {
    let Trial { contender, load, gap_ms, total_s, bytes, .. } = trial;
    let lost = trial.lost.as_ref().map(|why| format!("  LOST: {why}")).unwrap_or_default();
    format!("{load:14} {contender:18} gap {gap_ms:6.1} ms  total {total_s:5.2} s  {bytes}{lost}")
}

/// What `--json` prints: every passage, and the medians.
#[derive(Serialize)]
struct PrintedThroughput<'a> {
    #[serde(flatten)]
    outcome: &'a Throughput,
    rows: &'a [ThroughputRow],
}

fn pass(
    global: &Global,
    repetitions: usize,
    memory: Vec<Bytes>,
    guest: &GuestChoice,
) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = ThroughputSpec {
        lab: "bench-throughput".parse().expect("bench-throughput is a name"),
        qemu: chosen(guest)?,
        memory,
        repetitions,
    };
    let (all, mut done) = (2 * repetitions * spec.memory.len(), 0);
    let outcome = throughput::run(&spec, &program, |passage| {
        done += 1;
        eprintln!("{done:>3}/{all}  {}", passed_in_a_line(passage));
    });
    let outcome = outcome.map_err(|error| Failure::failed(error, ""))?;
    let rows = outcome.rows();
    if global.json {
        output::json(&PrintedThroughput { outcome: &outcome, rows: &rows })?;
    } else {
        output::line(output::throughput(&outcome, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn passed_in_a_line(passage: &Passage) -> String {
    let Passage { memory, from, to, stream, copied, copy, whole, .. } = passage;
    let memories = [passage.source_memory, passage.destination_memory];
    let [source, destination] = memories.map(|memory| memory.get() >> 20);
    format!(
        "{memory} {from} → {to}: iperf3 {stream}, {copied} of RAM {copy}, whole {whole}; daemons \
         {source} and {destination} MiB"
    )
}

/// What `--json` prints: every pair of windows, and the medians.
#[derive(Serialize)]
struct PrintedTracing<'a> {
    #[serde(flatten)]
    outcome: &'a Tracing,
    rows: &'a [TracingRow],
}

fn trace(global: &Global, repetitions: usize, guest: &GuestChoice) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = TracingSpec {
        lab: "bench-tracing".parse().expect("bench-tracing is a name"),
        qemu: chosen(guest)?,
        repetitions,
    };
    let (all, mut done) = (Tracing::pairs_of(repetitions), 0);
    let outcome = tracing::run(&spec, &program, |pair| {
        done += 1;
        eprintln!("{done:>3}/{all}  {}", traced_in_a_line(pair));
    });
    let outcome = outcome.map_err(|error| Failure::failed(error, ""))?;
    let rows = outcome.rows();
    if global.json {
        output::json(&PrintedTracing { outcome: &outcome, rows: &rows })?;
    } else {
        output::line(output::tracing(&outcome, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn traced_in_a_line(pair: &Pair) -> String {
    let writer = match pair.writer {
        Writer::Paced(rate) => format!("{rate} writes/s"),
        Writer::Saturating => "saturating".to_owned(),
    };
    let Pair { period_ms, free, traced, scan_ms, .. } = pair;
    format!(
        "{writer:14} scan every {period_ms:4} ms: {:.0} → {:.0} writes/s, {:.2} → {:.2} µs for \
         each, a scan {scan_ms:.2} ms",
        free.writes_per_s,
        traced.writes_per_s,
        free.microseconds_per_write(),
        traced.microseconds_per_write(),
    )
}
