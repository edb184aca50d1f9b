//! `punctual bench`

use std::process::ExitCode;

use crate::arguments::Global;
use crate::failure::Failure;

pub(super) fn run(_global: &Global) -> Result<ExitCode, Failure> {
    Err(Failure::failed("the benchmark is not built in yet", ""))
}
