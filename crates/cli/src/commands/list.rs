//! `punctual list`

use std::process::ExitCode;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let machines = daemon::client(global)?.machines().await?;
    if global.json {
        output::json(&machines)?;
    } else {
        output::line(output::machines(&machines))?;
    }
    Ok(ExitCode::SUCCESS)
}
