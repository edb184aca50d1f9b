//! `punctual stop`

use std::process::ExitCode;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let machine = daemon::client(global)?.stop(name).await?;
    if global.json {
        output::json(&machine)?;
    } else {
        output::line(format_args!("machine `{}` has ended", machine.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
