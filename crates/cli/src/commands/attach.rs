//! `punctual attach`

use std::path::absolute;
use std::process::ExitCode;

use punctual_host::api::AttachRequest;

use crate::arguments::{Attach, Global};
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global, said: Attach) -> Result<ExitCode, Failure> {
    let qmp = absolute(&said.qmp).map_err(|error| {
        Failure::usage(format!("--qmp {}: {error}", said.qmp.display()), "name QEMU's QMP socket")
    })?;
    let machine = daemon::client(global)?.attach(&AttachRequest { name: said.name, qmp }).await?;
    if global.json {
        output::json(&machine)?;
    } else {
        let (name, pid) = (&machine.name, machine.pid);
        output::line(format_args!("machine `{name}` is process {pid}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
