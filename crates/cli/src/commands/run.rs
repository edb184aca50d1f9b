//! `punctual run`

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use punctual_host::api::RunRequest;

use crate::arguments::{Global, Run};
use crate::failure::Failure;
use crate::{daemon, output};

pub(super) async fn run(global: &Global, said: &Run) -> Result<ExitCode, Failure> {
    let request = read(&said.spec).map_err(|error| {
        let path = said.spec.display();
        Failure::usage(
            format!("cannot read the specification {path}: {error}"),
            "name a TOML file, or - for the input",
        )
    })?;
    let machine = daemon::client(global)?.run(&request).await?;
    if global.json {
        output::json(&machine)?;
    } else {
        output::line(format_args!("machine `{}` runs as process {}", machine.name, machine.pid))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> io::Result<RunRequest> {
    if path == Path::new("-") {
        let mut spec = String::new();
        io::stdin().read_to_string(&mut spec)?;
        return Ok(RunRequest { spec, directory: std::env::current_dir()? });
    }
    let path = path.canonicalize()?;
    let directory = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    Ok(RunRequest { spec: std::fs::read_to_string(path)?, directory })
}
