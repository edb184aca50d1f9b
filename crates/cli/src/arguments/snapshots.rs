//! Machines in files.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Suspend {
    /// The machine
    pub(crate) name: String,
    /// The file, which must not be there yet
    pub(crate) file: PathBuf,
    /// Let the machine run on: the file is a copy of it as it was at one moment. It is good only as
    /// long as the disks are as they were at that moment
    #[arg(long)]
    pub(crate) keep_running: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The file that `punctual suspend` has written
    pub(crate) file: PathBuf,
    /// The name that the machine gets [default: the one that it had]
    #[arg(long, value_name = "NEW")]
    pub(crate) name: Option<String>,
    /// Leave the file of a suspended machine as it is; it is for you to see to it that it does not
    /// run twice
    #[arg(long)]
    pub(crate) keep: bool,
    /// Resume it although a disk was changed since. A machine that goes on with other data on its
    /// disks than it knows destroys the file systems on them
    #[arg(long)]
    pub(crate) force: bool,
    /// Bring a copy up with its network links up
    #[arg(long)]
    pub(crate) link_up: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CloneMachine {
    /// The machine
    pub(crate) name: String,
    /// The name of the second one
    pub(crate) new: String,
    /// Bring it up with its network links up
    #[arg(long)]
    pub(crate) link_up: bool,
}
