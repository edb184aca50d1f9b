//! The command `punctual`.

mod arguments;
mod commands;
mod daemon;
mod failure;
mod native_output;
mod output;
mod plan_output;
mod progress;
mod trace_output;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(arguments) {
        Ok(exit) => exit,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}
