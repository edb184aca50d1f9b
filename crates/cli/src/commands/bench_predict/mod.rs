//! `punctual bench predict`

mod shown;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use punctual_lab::bench::predict::{
    News, Occupation, PredictSpec, Predictions, Summary, run as check,
};
use serde::Serialize;

use super::demo::chosen;
use super::lasting::{left_on_interrupt, writable, write};
use crate::arguments::{BenchPredict, Global};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(global: &Global, said: BenchPredict) -> Result<ExitCode, Failure> {
    let said = said.sliced();
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let [json, page] = [(&said.output, "--output"), (&said.report, "--report")]
        .map(|(path, option)| writable(path, option));
    let (json, page) = (json?, page?);
    let spec = spec(said)?;
    eprintln!("seed {}: {} moves, and those that are forced", spec.seed, spec.moves());
    let left = left_on_interrupt(spec.lab.to_string());
    let mut told = Told { json, begun: None, error: None };
    let made = check(&spec, &program, |news| {
        let goes_on = told.tell(&news);
        if left.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { goes_on }
    });
    let kept = format!("what was measured until then is in {}", told.json.display());
    let made = made.map_err(|error| Failure::failed(error, &kept))?;
    if let Some(failure) = told.error {
        return Err(failure);
    }
    let summary = made.summary();
    let html = punctual_page::prediction(&shown::view(&made, &summary))
        .map_err(|error| Failure::failed(error, ""))?;
    write(&page, html.as_bytes())?;
    if global.json {
        output::json(&Printed { made: &made, summary: &summary })?;
    } else {
        shown::print(&made, &summary)?;
        output::line(format_args!("plots: {}", page.display()))?;
        output::line(format_args!("moves: {}", told.json.display()))?;
    }
    if left.load(Ordering::Relaxed) {
        let (of, done) = (made.planned, made.trips.len());
        return Err(Failure::left(format!("left after {done} of {of} moves"), ""));
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--json` prints, and what the file holds: every move, and the figures.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    made: &'a Predictions,
    summary: &'a Summary,
}

fn spec(said: BenchPredict) -> Result<PredictSpec, Failure> {
    let mut workloads = said.workloads;
    if workloads.is_empty() {
        workloads = Occupation::ALL.to_vec();
    }
    let mut once = Vec::new();
    for workload in workloads {
        // Each has one guest.
        if !once.contains(&workload) {
            once.push(workload);
        }
    }
    Ok(PredictSpec {
        lab: format!("predict-{}", std::process::id()).parse().expect("digits make a name"),
        qemu: chosen(&said.guest)?,
        workloads: once,
        links: said.rates,
        downtimes: said.downtimes,
        within: said.within,
        cold: said.cold,
        repetitions: said.repetitions,
        seed: said.seed.unwrap_or_else(drawn),
    })
}

/// A seed that is easily typed again.
fn drawn() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| u64::from(since.subsec_micros()))
}

/// Says what happens, and writes it down, so that nothing is lost by leaving early.
struct Told {
    json: PathBuf,
    /// When the first move began.
    begun: Option<Instant>,
    error: Option<Failure>,
}

impl Told {
    fn tell(&mut self, news: &News<'_>) -> ControlFlow<()> {
        match news {
            News::Booting(workload) => {
                eprintln!("booting {workload}");
                self.begun = Some(Instant::now());
                ControlFlow::Continue(())
            }
            News::Moved(made) => self.moved(made),
        }
    }

    fn moved(&mut self, made: &Predictions) -> ControlFlow<()> {
        let Some(trip) = made.trips.last() else { return ControlFlow::Continue(()) };
        let done = made.trips.len();
        let left = made.planned.saturating_sub(done) as u32;
        let each = self.begun.map_or_else(Default::default, |begun| begun.elapsed() / done as u32);
        eprintln!(
            "{done:>3}/{}  {}  ETA {}",
            made.planned,
            shown::in_a_line(trip),
            output::seconds(each * left)
        );
        let printed = Printed { made, summary: &made.summary() };
        let text = serde_json::to_vec_pretty(&printed).expect("moves are JSON");
        match write(&self.json, &text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.error = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}
