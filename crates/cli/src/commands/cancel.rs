//! `punctual cancel`

use std::process::ExitCode;

use punctual_host::api::MachineState;

use crate::arguments::Global;
use crate::failure::{Exit, Failure};
use crate::{daemon, output};

/// Asks for the end and waits for it: the migration may be past the point where it could be. A
/// recording ends at any moment, and so does what is done with a machine and a file.
pub(super) async fn run(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let client = daemon::client(global)?;
    let summary = client.machine(name).await?.summary;
    let ends_at_once = matches!(
        summary.state,
        MachineState::Traced | MachineState::Suspending | MachineState::Resuming
    );
    if ends_at_once {
        client.end_recording(name).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(id) = summary.migration else {
        return Err(Failure::refused(
            format!("machine `{name}`: no migration is under way, nor a recording"),
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
