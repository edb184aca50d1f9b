//! `punctual cancel`

use std::process::ExitCode;

use crate::arguments::Global;
use crate::failure::{Exit, Failure};
use crate::{daemon, output};

/// Asks for the end and waits for it: the migration may be past the point where it could be.
pub(super) async fn run(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let client = daemon::client(global)?;
    let Some(id) = client.machine(name).await?.summary.migration else {
        return Err(Failure::refused(
            format!("machine `{name}`: no migration is under way"),
            "`punctual watch` shows those that are",
        ));
    };
    client.cancel(id).await?;
    let mut events = client.follow(id).await?;
    while let Some(migration) = events.next().await? {
        let Some(report) = migration.report else { continue };
        if global.json {
            output::json(&report)?;
        } else {
            output::line(output::ending(&report))?;
        }
        return match Failure::of_report(&report) {
            Some(failure) if failure.exit == Exit::Cancelled => Ok(ExitCode::SUCCESS),
            Some(failure) => Err(failure),
            None => Err(Failure::refused(
                format!("machine `{name}`: it was too late to cancel, it has moved"),
                format!("migrate it back from `{}`", report.to),
            )),
        };
    }
    Err(Failure::failed(format!("machine `{name}`: the daemon ended"), "start it again"))
}
