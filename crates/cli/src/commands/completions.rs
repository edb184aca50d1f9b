//! `punctual completions`

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;

#[expect(clippy::unnecessary_wraps, reason = "every command returns the same")]
pub(super) fn run(shell: Shell) -> Result<ExitCode, Failure> {
    clap_complete::generate(shell, &mut Arguments::command(), "punctual", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}
