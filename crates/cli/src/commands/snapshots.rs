//! `punctual suspend`, `punctual resume`, `punctual clone`

use std::io::IsTerminal;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use punctual_host::api::{
    CloneRequest, Restored, ResumeRequest, Saved, SnapshotEvent, SnapshotPhase, SnapshotProgress,
    SuspendRequest,
};
use punctual_host::client::{Client, Events};

use crate::arguments::{CloneMachine, Global, Resume, Suspend};
use crate::daemon;
use crate::failure::{Exit, Failure};
use crate::output::{self, milliseconds, seconds};

pub(super) async fn suspend(global: &Global, said: &Suspend) -> Result<ExitCode, Failure> {
    let (file, keep_running) = (whole(&said.file)?, said.keep_running);
    let client = daemon::client(global)?;
    let events = client.suspend(&said.name, &SuspendRequest { file, keep_running }).await?;
    follow(global, &client, events).await
}

pub(super) async fn resume(global: &Global, said: &Resume) -> Result<ExitCode, Failure> {
    let Resume { name, keep, force, link_up, .. } = said;
    let (keep, force, link_up) = (*keep, *force, *link_up);
    let request =
        ResumeRequest { file: whole(&said.file)?, name: name.clone(), keep, force, link_up };
    let client = daemon::client(global)?;
    let events = client.resume(&request).await?;
    follow(global, &client, events).await
}

pub(super) async fn clone(global: &Global, said: &CloneMachine) -> Result<ExitCode, Failure> {
    let request = CloneRequest { name: said.new.clone(), link_up: said.link_up };
    let client = daemon::client(global)?;
    let events = client.clone_machine(&said.name, &request).await?;
    follow(global, &client, events).await
}

/// The name as the daemon needs it, which is at home elsewhere.
fn whole(file: &Path) -> Result<PathBuf, Failure> {
    absolute(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display()), "name a file"))
}

/// Shows how it goes on until it has ended. The first Ctrl-C ends it early, the second leaves it.
async fn follow(
    global: &Global,
    client: &Client,
    mut events: Events<SnapshotEvent>,
) -> Result<ExitCode, Failure> {
    let mut display = Display::new(global.json);
    let mut machine = None;
    let mut asked = false;
    let ended = loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => {
                match machine.as_deref().filter(|_| !asked) {
                    Some(machine) => end_early(client, machine).await?,
                    None => return Err(left()),
                }
                asked = true;
                continue;
            }
        };
        match event {
            Some(SnapshotEvent::Progress(progress)) => {
                display.show(&progress);
                machine = Some(progress.machine);
            }
            Some(event) => break event,
            None => {
                display.end();
                return Err(Failure::failed(
                    "the daemon ended before that was through",
                    "start it again: it sees to it that the machine runs, or is in its file",
                ));
            }
        }
    };
    display.end();
    tell(global, ended)
}

async fn end_early(client: &Client, machine: &str) -> Result<(), Failure> {
    eprintln!("ending early; Ctrl-C again leaves it to the daemon");
    Ok(client.end_recording(machine).await?)
}

fn left() -> Failure {
    Failure::left(
        "left before the end",
        "the daemon ends it early, unless it is about to be through: `punctual list` shows what is",
    )
}

fn tell(global: &Global, event: SnapshotEvent) -> Result<ExitCode, Failure> {
    match event {
        SnapshotEvent::Saved(saved) if global.json => output::json(&saved)?,
        SnapshotEvent::Restored(restored) if global.json => output::json(&restored)?,
        SnapshotEvent::Saved(saved) => tell_saved(&saved)?,
        SnapshotEvent::Restored(restored) => tell_restored(&restored)?,
        SnapshotEvent::Failed(problem) => return Err(problem.into()),
        SnapshotEvent::Cancelled(what) => {
            eprintln!("cancelled: {what}");
            return Ok(Exit::Cancelled.into());
        }
        SnapshotEvent::Progress(_) => unreachable!("it is not the last"),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_saved(saved: &Saved) -> Result<(), Failure> {
    let Saved { machine, file, memory, size, .. } = saved;
    let file = file.display();
    output::line(match saved.keeps_running {
        true => format!(
            "machine `{machine}` stood for {} and runs on; a copy of it is in {file}",
            milliseconds(saved.stood)
        ),
        false => format!("machine `{machine}` is in {file} and no longer here"),
    })?;
    output::line(format_args!("{size} for {memory} of memory, in {}", seconds(saved.took)))?;
    notes(&saved.notes);
    Ok(())
}

fn tell_restored(restored: &Restored) -> Result<(), Failure> {
    let (name, pid) = (&restored.machine.name, restored.machine.pid);
    let took = seconds(restored.took);
    output::line(format_args!(
        "machine `{name}` runs as process {pid}, its memory as it was; it took {took}"
    ))?;
    if let Some(file) = &restored.file {
        output::line(format_args!("its file is {}", file.display()))?;
    }
    notes(&restored.notes);
    Ok(())
}

fn notes(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("note: {note}"));
}

/// A bar on a terminal, a line for each phase elsewhere.
enum Display {
    Bar(ProgressBar),
    Lines(Option<SnapshotPhase>),
    Silent,
}

impl Display {
    fn new(silent: bool) -> Self {
        if silent {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let style =
            ProgressStyle::with_template("{prefix:>13} [{bar:16}] {percent:>3}%  {wide_msg}")
                .expect("the template is sound");
        Self::Bar(ProgressBar::new(1).with_style(style.progress_chars("=> ")))
    }

    fn show(&mut self, progress: &SnapshotProgress) {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(progress.phase.to_string());
                bar.set_length(progress.total.get().max(1));
                bar.set_position(progress.done.get());
                bar.set_message(describe(progress));
            }
            Self::Lines(last) if *last != Some(progress.phase) => {
                *last = Some(progress.phase);
                eprintln!("{:>13}  {}", progress.phase.to_string(), describe(progress));
            }
            Self::Lines(_) | Self::Silent => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn describe(progress: &SnapshotProgress) -> String {
    let since = format!("since {}", seconds(progress.elapsed));
    match progress.ends_in {
        Some(left) => {
            format!("{} of {}, ETA {}", progress.done, progress.total, seconds(left))
        }
        None if progress.total.get() > 0 => format!("{}, {since}", progress.total),
        None => since,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use punctual_units::Bytes;

    use super::*;

    #[test]
    fn a_look_tells_how_much_and_when() {
        let mut progress = SnapshotProgress {
            machine: "web".to_owned(),
            phase: SnapshotPhase::Copying,
            elapsed: Duration::from_secs(3),
            done: Bytes::mib(3),
            total: Bytes::mib(4),
            ends_in: Some(Duration::from_secs(1)),
        };
        assert_eq!(describe(&progress), "3 MiB of 4 MiB, ETA 1.00 s");
        progress.ends_in = None;
        assert_eq!(describe(&progress), "4 MiB, since 3.00 s");
    }

    #[test]
    fn files_are_named_in_full_for_the_daemon() {
        assert!(whole(Path::new("web.snap")).unwrap().is_absolute());
    }
}
