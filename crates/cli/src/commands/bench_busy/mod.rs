//! `punctual bench busy`

mod shown;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use punctual_lab::bench::busy::{Verdict, verdict};
use punctual_lab::bench::{
    Bench, BenchSpec, Contender, Load, Memory, Summary, TrialError, run as compare,
};
use punctual_units::BytesPerSecond;
use serde::Serialize;

use super::demo::newest;
use super::lasting::{left_on_interrupt, writable, write};
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

/// What `--json` prints and the file holds: every move, the medians of each table, and what they
/// come to.
#[derive(Serialize)]
struct Printed<'a> {
    tables: &'a [Bench],
    summaries: &'a [Summary],
    verdict: &'a Verdict,
}

pub(super) fn run(global: &Global, said: BenchBusy) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let (json, page) = (writable(&said.output, "--output")?, writable(&said.report, "--report")?);
    let lab = format!("busy-{}", std::process::id());
    let specs = specs(&lab, said)?;
    let mut course = Course::new(&specs, json, page, left_on_interrupt(lab));
    course.announce();
    let ended = specs.iter().try_for_each(|spec| course.go(spec, &program));
    // What there is is shown however it ended.
    let mut kept = String::new();
    if course.done() > 0 {
        course.show(global.json)?;
        kept = format!("what was measured until then is in {}", course.json.display());
    }
    ended.map_err(|error| Failure::failed(error, kept))?;
    course.verdict()
}

fn specs(lab: &str, said: BenchBusy) -> Result<Vec<BenchSpec>, Failure> {
    let qemu = newest(&said.guest)?;
    let contenders = Some(said.contenders).filter(|named| !named.is_empty());
    let contenders = contenders.unwrap_or_else(|| CONTENDERS.to_vec());
    let loads = said.patterns.iter().flat_map(|pattern| {
        let of = |percent: &u32| Load::Share { pattern: *pattern, percent: *percent };
        said.shares.iter().map(of).collect::<Vec<_>>()
    });
    let loads: Vec<Load> = loads.collect();
    let links = said.rates.len();
    let downtimes = for_each("--downtime", &said.downtime, links)?;
    let withins = for_each("--within", &said.within, links)?;
    let spec = |(index, rate): (usize, &BytesPerSecond)| {
        let memory = Memory::busy(*rate);
        BenchSpec {
            lab: lab.parse().expect("letters and digits make a name"),
            rate: Some(*rate),
            downtime: downtimes[index].expect("the interruption has a default"),
            within: withins[index].unwrap_or_else(|| memory.patience(*rate)),
            qemu: qemu.clone(),
            memory,
            loads: loads.clone(),
            contenders: contenders.clone(),
            planned: true,
            repetitions: said.repetitions,
        }
    };
    Ok(said.rates.iter().enumerate().map(spec).collect())
}

/// What was said for each of several links: one for all, one for each, or none.
fn for_each(
    option: &str,
    said: &[Duration],
    links: usize,
) -> Result<Vec<Option<Duration>>, Failure> {
    match said {
        [] => Ok(vec![None; links]),
        [one] => Ok(vec![Some(*one); links]),
        each if each.len() == links => Ok(each.iter().copied().map(Some).collect()),
        each => Err(Failure::usage(
            format!("{option} has {} times for {links} links", each.len()),
            "say one for all, or as many as there are --rates",
        )),
    }
}

/// The tables as they come into being: told on the terminal, and written down.
struct Course<'a> {
    specs: &'a [BenchSpec],
    json: PathBuf,
    page: PathBuf,
    left: Arc<AtomicBool>,
    begun: Instant,
    tables: Vec<Bench>,
    unwritten: Option<Failure>,
}

impl<'a> Course<'a> {
    fn new(specs: &'a [BenchSpec], json: PathBuf, page: PathBuf, left: Arc<AtomicBool>) -> Self {
        let (begun, tables) = (Instant::now(), Vec::new());
        Self { specs, json, page, left, begun, tables, unwritten: None }
    }

    fn announce(&self) {
        let takes: Duration = self.specs.iter().map(|spec| spec.forecast(0)).sum();
        let (all, minutes) = (self.all(), takes.as_secs().div_ceil(60));
        eprintln!("{all} moves, about {minutes} min; Ctrl-C shows what there is by then");
    }

    /// Makes the moves of one link.
    fn go(&mut self, spec: &BenchSpec, program: &std::path::Path) -> Result<(), TrialError> {
        if self.ends() {
            return Ok(());
        }
        let place = self.tables.len();
        compare(spec, program, |table| {
            self.tables.truncate(place);
            self.tables.push(table.clone());
            self.tell();
            if self.ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(())
    }

    fn ends(&self) -> bool {
        self.left.load(Ordering::Relaxed) || self.unwritten.is_some()
    }

    fn tell(&mut self) {
        let trial = self.tables.last().and_then(|table| table.trials.last());
        let line = trial.map_or_else(String::new, shown::in_a_line);
        let rate = self.tables.last().and_then(|table| table.rate);
        let rate = rate.map_or_else(String::new, |rate| rate.to_string());
        let left = clock(self.remaining());
        eprintln!("{:>3}/{}  {rate:10} {line}  ETA {left}", self.done(), self.all());
        let written = self.write();
        self.unwritten = self.unwritten.take().or(written.err());
    }

    fn write(&self) -> Result<(), Failure> {
        let (summaries, verdict) = self.judged();
        let printed = Printed { tables: &self.tables, summaries: &summaries, verdict: &verdict };
        let text = serde_json::to_vec_pretty(&printed).expect("moves are JSON");
        write(&self.json, &text)?;
        write(&self.page, shown::markdown(&self.tables, &verdict).as_bytes())
    }

    fn judged(&self) -> (Vec<Summary>, Verdict) {
        (self.tables.iter().map(Bench::summary).collect(), verdict(&self.tables))
    }

    fn show(&self, json: bool) -> Result<(), Failure> {
        let (summaries, verdict) = self.judged();
        if json {
            let (tables, summaries) = (&self.tables, &summaries);
            return output::json(&Printed { tables, summaries, verdict: &verdict });
        }
        output::line(shown::table(&self.tables))?;
        output::line("\n")?;
        output::line(shown::cells(&verdict))?;
        output::line("\n")?;
        output::line(shown::verdict(&verdict))?;
        output::line(format_args!("moves: {}", self.json.display()))?;
        output::line(format_args!("Markdown: {}", self.page.display()))
    }

    /// What is left to be said at the end.
    fn verdict(self) -> Result<ExitCode, Failure> {
        let (done, all) = (self.done(), self.all());
        if let Some(failure) = self.unwritten {
            return Err(failure);
        }
        if done < all {
            return Err(Failure::left(format!("left after {done} of {all} moves"), ""));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn all(&self) -> usize {
        self.specs.iter().map(|spec| spec.moves().count()).sum()
    }

    fn done(&self) -> usize {
        self.tables.iter().map(|table| table.trials.len()).sum()
    }

    /// What is left by the forecast, corrected by how right it has been.
    fn remaining(&self) -> Duration {
        let made = self.tables.iter().map(|table| table.trials.len()).chain(std::iter::repeat(0));
        let left: Duration =
            self.specs.iter().zip(made).map(|(spec, made)| spec.forecast(made)).sum();
        let all: Duration = self.specs.iter().map(|spec| spec.forecast(0)).sum();
        let passed = all.saturating_sub(left).as_secs_f64();
        if passed <= 0.0 {
            return left;
        }
        left.mul_f64(self.begun.elapsed().as_secs_f64() / passed)
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_all_links_or_for_each() {
        let [one, two] = [Duration::from_secs(1), Duration::from_secs(2)];
        let each = |said: &[Duration]| for_each("--within", said, 2).ok();
        assert_eq!(each(&[]), Some(vec![None, None]));
        assert_eq!(each(&[one]), Some(vec![Some(one), Some(one)]));
        assert_eq!(each(&[one, two]), Some(vec![Some(one), Some(two)]));
        assert_eq!(each(&[one, two, one]), None);
    }

    #[test]
    fn times_that_are_left_are_read_at_a_glance() {
        assert_eq!(clock(Duration::from_secs(2465)), "41:05");
    }
}
