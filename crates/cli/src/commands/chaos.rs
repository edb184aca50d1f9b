//! `punctual chaos`

use std::process::ExitCode;

use clap::Args;
use punctual_lab::LabName;
use punctual_lab::chaos::{Case, Chaos as Stage};
use punctual_simulation as simulation;
use serde_json::json;

use super::demo::chosen;
use crate::arguments::{Global, GuestChoice};
use crate::failure::Failure;
use crate::output;

/// What `punctual chaos` takes.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// The case, or the first of them; all of it follows from this number
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// How many cases, from the first on
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// In a simulation: the engine itself on virtual time, with up to four faults a case
    #[arg(long)]
    pub(crate) simulated: bool,
    /// Only say what the cases are
    #[arg(long)]
    pub(crate) list: bool,
    /// The lab's name
    #[arg(long, default_value = "chaos", value_name = "LAB")]
    pub(crate) lab: LabName,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

pub(super) fn run(global: &Global, said: &Chaos) -> Result<ExitCode, Failure> {
    let seeds = said.seed..said.seed.saturating_add(said.count);
    let failed = if said.list {
        seeds.for_each(|seed| list(seed, said.simulated));
        vec![]
    } else if said.simulated {
        simulated(global, seeds)?
    } else {
        real(global, said, seeds)?
    };
    verdict(said, &failed)
}

fn list(seed: u64, simulated: bool) {
    if simulated {
        println!("{}", simulation::Case::of(seed));
    } else {
        println!("{}", Case::of(seed));
    }
}

/// Runs cases in a simulation. Returns the seeds of those in which something does not hold.
fn simulated(global: &Global, seeds: std::ops::Range<u64>) -> Result<Vec<u64>, Failure> {
    let alone = seeds.end - seeds.start == 1;
    let mut failed = vec![];
    for seed in seeds {
        let case = simulation::Case::of(seed);
        let verdict = case.run();
        let well = verdict.wrong.is_empty();
        if global.json {
            let (settled, moved) = (verdict.settled.as_secs_f64(), verdict.moved);
            let case = case.to_string();
            output::json(&json!({
                "seed": seed, "case": case, "faults": verdict.faults, "moved": moved,
                "followed": verdict.followed, "outcome": verdict.outcome,
                "reason": verdict.reason, "settled_s": settled, "wrong": verdict.wrong,
            }))?;
        } else if alone || !well {
            output::line(&case)?;
            output::line(format_args!("  {}", simulated_end(&verdict)))?;
            for wrong in &verdict.wrong {
                output::line(format_args!("  WRONG: {wrong}"))?;
            }
        }
        if !well {
            failed.push(seed);
        }
    }
    Ok(failed)
}

fn simulated_end(verdict: &simulation::Verdict) -> String {
    let simulation::Verdict { faults, moved, settled, reason, .. } = verdict;
    let place = if *moved { "the destination" } else { "the source" };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{faults} faults came; {place} has the machine after {settled:.2?}{reason}")
}

/// Carries cases out in a lab, until one does not end well. Returns its seed.
fn real(global: &Global, said: &Chaos, seeds: std::ops::Range<u64>) -> Result<Vec<u64>, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let qemu = chosen(&said.guest)?;
    let failure = |error: punctual_lab::chaos::ChaosError| {
        let down = format!("`punctual lab down --name {}` removes what is left", said.lab);
        Failure::failed(error, down)
    };
    let mut stage = Stage::set(said.lab.clone(), &program, qemu).map_err(failure)?;
    let mut failed = vec![];
    for seed in seeds {
        let case = Case::of(seed);
        if !global.json {
            output::line(case)?;
        }
        let verdict = stage.play(&case).map_err(failure)?;
        if global.json {
            let course = verdict.course.iter();
            let course: Vec<_> = course.map(|(at, what)| json!([at.as_secs_f64(), what])).collect();
            let (case, took) = (case.to_string(), verdict.took.as_secs_f64());
            output::json(&json!({
                "seed": seed, "case": case, "took_s": took, "course": course,
                "struck": verdict.struck, "wrong": verdict.wrong,
            }))?;
        } else {
            for (at, what) in &verdict.course {
                output::line(format_args!("  {:7.3} s  {what}", at.as_secs_f64()))?;
            }
            for wrong in &verdict.wrong {
                output::line(format_args!("  WRONG: {wrong}"))?;
            }
        }
        if !verdict.wrong.is_empty() {
            for (host, log) in stage.logs() {
                eprintln!("--- daemon of host {host}\n{log}");
            }
            failed.push(seed);
            break;
        }
    }
    stage.take_down().map_err(failure)?;
    Ok(failed)
}

fn verdict(said: &Chaos, failed: &[u64]) -> Result<ExitCode, Failure> {
    let Some(first) = failed.first() else { return Ok(ExitCode::SUCCESS) };
    let simulated = if said.simulated { " --simulated" } else { "" };
    let what = format!("{} of {} cases did not end as they must", failed.len(), said.count);
    let again = format!("`punctual chaos{simulated} --seed {first}` runs the first of them again");
    Err(Failure::failed(what, again))
}
