//! What may be said of a machine that changes its QEMU and stays where it is.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::time;

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The machine
    pub(crate) name: String,
    /// What it goes on in: a path, or a name to be found by the daemon [default: the program that it
    /// runs, as it now lies on the disk]
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// The longest interruption
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = time)]
    pub(crate) downtime: Duration,
    /// Only check, and show the new command line
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Upgrade {
    /// It takes a second or two; whoever needs longer has something in the way.
    pub(crate) const WITHIN: Duration = Duration::from_secs(60);
}
