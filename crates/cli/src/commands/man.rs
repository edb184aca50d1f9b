//! `punctual man`

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Writes a page for the command and one for each of its commands.
pub(super) fn run(directory: &Path) -> Result<ExitCode, Failure> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory));
    written.map_err(|error| {
        Failure::failed(format!("cannot write to {}: {error}", directory.display()), "")
    })?;
    Ok(ExitCode::SUCCESS)
}
