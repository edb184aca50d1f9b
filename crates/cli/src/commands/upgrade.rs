//! `punctual upgrade`

use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;

use punctual_engine::report::Ending;
use punctual_host::api::UpgradeRequest;
use punctual_units::Probability;

use super::migrate::{self, DryRun};
use crate::arguments::{Global, Upgrade};
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global, said: Upgrade) -> Result<ExitCode, Failure> {
    let Upgrade { name, qemu, downtime, dry_run } = said;
    let program = qemu.as_deref().map(program).transpose()?;
    let request =
        UpgradeRequest { machine: name, program, downtime, within: Upgrade::WITHIN, dry_run };
    let client = daemon::client(global)?;
    let migration = client.upgrade(&request).await?;
    let quiet = global.json || dry_run;
    // Nothing is foretold, so with no probability.
    let migration = migrate::see_through(&client, migration, Probability::ZERO, quiet).await?;
    let report = migration.report.as_ref().expect("a migration that has ended has a report");
    let command_line = &migration.command_line;
    match (dry_run, global.json) {
        (true, true) => output::json(&DryRun { report, command_line })?,
        (true, false) if !command_line.is_empty() => {
            output::line(output::command_line(command_line))?;
        }
        (false, true) => output::json(report)?,
        (false, false) if report.outcome == Ending::Completed => {
            let machine = &report.machine;
            output::line(format_args!("machine `{machine}` goes on in another QEMU"))?;
            output::line(output::report(report))?;
        }
        (_, false) => {}
    }
    migrate::exit_of(report)
}

/// A bare name is looked up by the daemon, a path starts from here.
fn program(said: &Path) -> Result<PathBuf, Failure> {
    if said.components().count() == 1 {
        return Ok(said.to_owned());
    }
    absolute(said).map_err(|error| {
        Failure::usage(format!("--qemu {}: {error}", said.display()), "name a QEMU")
    })
}
