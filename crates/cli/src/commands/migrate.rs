//! `punctual migrate`

use std::process::ExitCode;

use punctual_engine::Report;
use punctual_engine::report::Ending;
use punctual_host::api::{MigrateRequest, Migration};
use punctual_host::client::{Client, Events};
use punctual_units::Probability;
use serde::Serialize;

use super::plan;
use crate::arguments::{Global, Limits, Migrate};
use crate::failure::Failure;
use crate::progress::Display;
use crate::{daemon, native_output, output, plan_output};

/// The report of a dry run, with what it found out.
#[derive(Serialize)]
pub(super) struct DryRun<'a> {
    #[serde(flatten)]
    pub(super) report: &'a Report,
    pub(super) command_line: &'a [String],
}

pub(super) async fn run(global: &Global, said: Migrate) -> Result<ExitCode, Failure> {
    let request = request(&said)?;
    let client = daemon::client(global)?;
    let dry_run = said.dry_run;
    let migration = client.migrate(&request).await?;
    let quiet = global.json || dry_run;
    let migration = see_through(&client, migration, request.confidence, quiet).await?;
    let report = migration.report.as_ref().expect("a migration that has ended has a report");
    let command_line = &migration.command_line;
    match (dry_run, global.json) {
        (true, true) => output::json(&DryRun { report, command_line })?,
        (true, false) if !command_line.is_empty() => {
            output::line(output::command_line(command_line))?;
            if let Some(native) = &migration.native {
                native_output::lines(native).into_iter().try_for_each(output::line)?;
            }
            if let Some(forecast) = &migration.forecast {
                output::line(plan_output::in_a_line(forecast, request.confidence))?;
            }
        }
        (false, true) => output::json(report)?,
        (false, false) if report.outcome != Ending::Refused => {
            output::line(output::ending(report))?;
            output::line(output::report(report))?;
        }
        (_, false) => {}
    }
    exit_of(report)
}

/// Follows a migration to its end, showing it unless it is to be `quiet`.
pub(super) async fn see_through(
    client: &Client,
    migration: Migration,
    confidence: Probability,
    quiet: bool,
) -> Result<Migration, Failure> {
    // One that was refused at once is not remembered.
    if migration.has_ended() {
        return Ok(migration);
    }
    let mut display = Display::new(quiet);
    let ended = follow(client, &migration, confidence, &mut display).await;
    display.end();
    ended
}

/// How the command ends after a move with this report.
pub(super) fn exit_of(report: &Report) -> Result<ExitCode, Failure> {
    match Failure::of_report(report) {
        None => Ok(ExitCode::SUCCESS),
        // It is what was asked for, and has been told.
        Some(failure) if report.outcome == Ending::Cancelled => Ok(failure.exit.into()),
        Some(failure) => Err(failure),
    }
}

/// What is meant: the machine, the host and the limits may stand in a plan.
fn request(said: &Migrate) -> Result<MigrateRequest, Failure> {
    said.mode.check(said.no_post_copy)?;
    let plan = said.plan.as_deref().map(plan::read).transpose()?;
    let planned = plan.as_ref().map(|plan| (&plan.machine, &plan.ask.to));
    let said_or = |said: &Option<String>, planned: Option<&String>| {
        said.as_ref().or(planned).cloned().expect("it is required where there is no plan")
    };
    let machine = said_or(&said.name, planned.map(|(machine, _)| machine));
    let to = said_or(&said.to, planned.map(|(_, to)| to));
    let Limits { downtime, within, bandwidth, confidence } = said.limits;
    let confidence = plan.as_ref().map_or(confidence, |plan| plan.ask.confidence);
    Ok(MigrateRequest {
        bandwidth,
        verify: said.verify,
        dry_run: said.dry_run,
        force: said.force,
        confidence,
        look: said.look,
        mode: said.mode.0,
        post_copy: !said.no_post_copy,
        no_wait: said.no_wait,
        on_miss: said.on_miss,
        policy: said.policy,
        engine: said.engine.0,
        plan: plan.map(Box::new),
        ..MigrateRequest::new(&machine, &to, downtime, within)
    })
}

/// Shows the migration until it has ended. The first Ctrl-C cancels it, the second leaves it.
async fn follow(
    client: &Client,
    migration: &Migration,
    confidence: Probability,
    display: &mut Display,
) -> Result<Migration, Failure> {
    let mut events = client.follow(migration.id).await?;
    let ended = async { show(&mut events, confidence, display).await };
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

async fn show(
    events: &mut Events,
    confidence: Probability,
    display: &mut Display,
) -> Result<Migration, Failure> {
    let mut foretold = false;
    while let Some(migration) = events.next().await? {
        if let Some(forecast) = migration.forecast.as_ref().filter(|_| !foretold) {
            display.say(&plan_output::in_a_line(forecast, confidence));
            foretold = true;
        }
        if let Some(native) = migration.native.as_ref().filter(|_| !foretold) {
            native_output::lines(native).iter().for_each(|line| display.say(line));
            foretold = true;
        }
        match (&migration.queued, &migration.progress) {
            (Some(queued), _) => display.wait(queued),
            (None, Some(progress)) => display.show(progress),
            (None, None) => {}
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
