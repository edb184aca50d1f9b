//! `punctual migrate`

use std::process::ExitCode;

use punctual_engine::Report;
use punctual_engine::report::Ending;
use punctual_host::api::{MigrateRequest, Migration};
use punctual_host::client::{Client, Events};
use serde::Serialize;

use crate::arguments::{Global, Migrate};
use crate::failure::Failure;
use crate::progress::Display;
use crate::{daemon, output};

/// The report of a dry run, with what it found out.
#[derive(Serialize)]
struct DryRun<'a> {
    #[serde(flatten)]
    report: &'a Report,
    command_line: &'a [String],
}

pub(super) async fn run(global: &Global, said: Migrate) -> Result<ExitCode, Failure> {
    let client = daemon::client(global)?;
    let dry_run = said.dry_run;
    let migration = client.migrate(&request(&said)).await?;
    let mut display = Display::new(global.json || dry_run);
    // One that was refused at once is not remembered.
    let ended = if migration.has_ended() {
        Ok(migration)
    } else {
        follow(&client, &migration, &mut display).await
    };
    display.end();
    let migration = ended?;
    let report = migration.report.as_ref().expect("a migration that has ended has a report");
    let command_line = &migration.command_line;
    match (dry_run, global.json) {
        (true, true) => output::json(&DryRun { report, command_line })?,
        (true, false) if !command_line.is_empty() => {
            output::line(output::command_line(command_line))?;
        }
        (false, true) => output::json(report)?,
        (false, false) if report.outcome != Ending::Refused => {
            output::line(output::ending(report))?;
            output::line(output::report(report))?;
        }
        (_, false) => {}
    }
    match Failure::of_report(report) {
        None => Ok(ExitCode::SUCCESS),
        // It is what was asked for, and has been told.
        Some(failure) if report.outcome == Ending::Cancelled => Ok(failure.exit.into()),
        Some(failure) => Err(failure),
    }
}

fn request(said: &Migrate) -> MigrateRequest {
    MigrateRequest {
        bandwidth: said.bandwidth,
        verify: said.verify,
        dry_run: said.dry_run,
        ..MigrateRequest::new(&said.name, &said.to, said.downtime, said.within)
    }
}

/// Shows the migration until it has ended. The first Ctrl-C cancels it, the second leaves it.
async fn follow(
    client: &Client,
    migration: &Migration,
    display: &mut Display,
) -> Result<Migration, Failure> {
    let mut events = client.follow(migration.id).await?;
    let ended = async { show(&mut events, display).await };
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => return ended,
        _ = tokio::signal::ctrl_c() => {}
    }
    eprintln!("cancelling; Ctrl-C again leaves it to the daemon");
    client.cancel(migration.id).await?;
    tokio::select! {
        ended = ended => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::left(
            format!("machine `{}`: left while the migration is being cancelled", migration.machine),
            "`punctual watch` shows how it goes on",
        )),
    }
}

async fn show(events: &mut Events, display: &mut Display) -> Result<Migration, Failure> {
    while let Some(migration) = events.next().await? {
        if let Some(progress) = &migration.progress {
            display.show(progress);
        }
        if migration.has_ended() {
            return Ok(migration);
        }
    }
    Err(Failure::failed(
        "the daemon ended while the migration was under way",
        "start it again: it sees to it that the machine runs on one host",
    ))
}
