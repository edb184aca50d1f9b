//! `punctual trace`

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use punctual_host::api::{TraceEvent, TraceRequest, TraceSummary};
use punctual_host::client::{Client, Events};
use punctual_trace::Trace;
use punctual_units::Probability;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::{Global, Record, ShowTrace, Trace as Said, TraceCommand};
use crate::failure::Failure;
use crate::output::{self, seconds};
use crate::{daemon, trace_output};

pub(super) fn run(global: &Global, said: Said) -> Result<ExitCode, Failure> {
    match said.other {
        Some(TraceCommand::Show(said)) => show(global, &said),
        None => super::ask(record(global, said.record)),
    }
}

/// Reads a trace from a file.
pub(crate) fn read(path: &Path) -> Result<Trace, Failure> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = fs::read(path).map_err(|error| {
        Failure::usage(named(&error), "name a file that `punctual trace` wrote")
    })?;
    Trace::decode(&file).map_err(|error| Failure::usage(named(&error), ""))
}

fn show(global: &Global, said: &ShowTrace) -> Result<ExitCode, Failure> {
    let trace = read(&said.file)?;
    if let Some(page) = &said.html {
        let html = punctual_page::trace(&trace).map_err(|error| Failure::failed(error, ""))?;
        write(page, html.as_bytes())?;
    }
    tell(global, &trace)?;
    if let Some(page) = said.html.as_ref().filter(|_| !global.json) {
        output::line(format_args!("plots: {}", page.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn record(global: &Global, said: Record) -> Result<ExitCode, Failure> {
    let name = said.name.expect("the name is required where there is no subcommand");
    // A file that cannot be written shall not be found out after a recording of an hour.
    said.output.as_deref().map(check_writable).transpose()?;
    let client = daemon::client(global)?;
    // From here on Ctrl-C does not end this program, but the recording.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::failed(error, "free some file descriptors"))?;
    let request = TraceRequest { length: said.length, cost: said.cost };
    let events = client.record(&name, &request).await?;
    let display = Display::new(&name, said.length, global.json);
    let ended = follow(&client, &name, events, &mut interrupt, &display).await;
    display.end();
    let summary = ended?;
    let file = client.last_trace(&name).await?;
    let trace = Trace::decode(&file)
        .map_err(|error| Failure::failed(format!("machine `{name}`: {error}"), ""))?;
    if let Some(path) = &said.output {
        write(path, &file)?;
    }
    tell(global, &trace)?;
    if !global.json {
        let place = match &said.output {
            Some(path) => format!("{} ({})", path.display(), summary.size),
            None => format!("kept by the daemon ({})", summary.size),
        };
        output::line(format_args!("trace: {place}"))?;
        if summary.cost.get() > said.cost.get() {
            eprintln!(
                "note: it cost the guest some {}, more than the {} asked for: it goes on to pages \
                 that it has not written before, or writes too many for so short a trace",
                trace_output::percent(summary.cost),
                trace_output::percent(said.cost)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(global: &Global, trace: &Trace) -> Result<(), Failure> {
    if global.json {
        output::json(&trace_output::Shown::of(trace))
    } else {
        output::line(trace_output::table(trace))
    }
}

/// Shows the recording until it has ended. The first Ctrl-C ends it early, with what there is; the
/// second leaves it.
async fn follow(
    client: &Client,
    name: &str,
    mut events: Events<TraceEvent>,
    interrupt: &mut Signal,
    display: &Display,
) -> Result<TraceSummary, Failure> {
    let ended = async {
        while let Some(event) = events.next().await? {
            match event {
                TraceEvent::Progress { elapsed, rate, cost, .. } => {
                    display.show(elapsed, rate, cost)
                }
                TraceEvent::Recorded(summary) => return Ok(summary),
                TraceEvent::Failed(problem) => return Err(problem.into()),
            }
        }
        let what = format!("machine `{name}`: the recording was not carried to an end");
        Err(Failure::failed(what, "see the daemon's log; the machine runs on"))
    };
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => return ended,
        _ = interrupt.recv() => {}
    }
    eprintln!("ending early; Ctrl-C again leaves it to the daemon");
    client.end_recording(name).await?;
    tokio::select! {
        ended = ended => ended,
        _ = interrupt.recv() => Err(Failure::left(
            format!("machine `{name}`: left while the recording is being ended"),
            "the daemon keeps what there is",
        )),
    }
}

fn check_writable(path: &Path) -> Result<(), Failure> {
    // What a file has already is kept until the trace replaces it.
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| unwritable(path, &error))
}

fn write(path: &PathBuf, contents: &[u8]) -> Result<(), Failure> {
    fs::write(path, contents).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()), "name another file")
}

/// A bar on a terminal, a line elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    length: Duration,
}

impl Display {
    fn new(name: &str, length: Duration, silent: bool) -> Self {
        if silent {
            return Self { bar: None, length };
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("recording the page writes of `{name}` for {}", seconds(length));
            return Self { bar: None, length };
        }
        let style =
            ProgressStyle::with_template("{prefix:>13} [{bar:16}] {percent:>3}%  {wide_msg}")
                .expect("the template is sound");
        let milliseconds = length.as_millis().try_into().unwrap_or(u64::MAX);
        let bar = ProgressBar::new(milliseconds).with_style(style.progress_chars("=> "));
        bar.set_prefix("recording");
        Self { bar: Some(bar), length }
    }

    fn show(&self, elapsed: Duration, rate: f64, cost: Probability) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
        let left = seconds(self.length.saturating_sub(elapsed));
        let cost = trace_output::percent(cost);
        bar.set_message(format!("{rate:.0} pages/s, cost to the guest {cost}, ETA {left}"));
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
