//! `punctual recover`

use std::process::ExitCode;

use punctual_host::api::RecoverRequest;

use crate::arguments::{Global, Recover};
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global, said: Recover) -> Result<ExitCode, Failure> {
    let Recover { name, to } = said;
    let machine = daemon::client(global)?.recover(&name, &RecoverRequest { to }).await?;
    if global.json {
        output::json(&machine)?;
    } else {
        output::line(format_args!("the destination of machine `{name}` is being sought"))?;
    }
    Ok(ExitCode::SUCCESS)
}
