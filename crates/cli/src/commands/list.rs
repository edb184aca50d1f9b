//! `punctual list`

use std::process::ExitCode;

use punctual_host::api::Migration;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{daemon, output, progress};

pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let client = daemon::client(global)?;
    let machines = client.machines().await?;
    if global.json {
        output::json(&machines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let migrations = client.migrations().await?;
    output::line(output::machines(&machines))?;
    for Migration { machine, to, queued, .. } in &migrations {
        if let Some(queued) = queued {
            output::line(format_args!("{machine} → {to}: {}", progress::queued(queued)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
