//! Machines in files.

use std::path::PathBuf;

use clap::Args;

/// The machine is written while it runs, and stopped only for what is left then. It ends once the
/// file is complete and durable; until then, whatever happens, it runs on here and no file is left.
///
/// The file holds the machine's memory and the state of its devices, not its disks: those must be
/// as they are when it is resumed. It may be resumed on any host that has the same QEMU, or a newer
/// one, and the same disks and bridges at the same paths. The file holds all secrets that the machine has in its
/// memory; only its owner may read it.
#[derive(Debug, Args)]
pub(crate) struct Suspend {
    /// The machine
    pub(crate) name: String,
    /// The file, which must not be there yet
    pub(crate) file: PathBuf,
    /// Let the machine run on: the file is a copy of it as it was at one moment. It is good only as long as
    /// the disks are as they were at that moment
    #[arg(long)]
    pub(crate) keep_running: bool,
}

/// The machine goes on where it stood, once its memory has been found to be what it was.
///
/// A suspended machine runs once: its file is renamed to FILE.resumed, so that nobody resumes it again
/// while it runs. A copy (`suspend --keep-running`) can be resumed as often as wanted, under other
/// names, and comes up with its network links down, since the machine it was made of may use the
/// same addresses.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The file that `punctual suspend` has written
    pub(crate) file: PathBuf,
    /// The name that the machine gets [default: the one that it had]
    #[arg(long, value_name = "NEW")]
    pub(crate) name: Option<String>,
    /// Leave the file of a suspended machine as it is; it is for you to see to it that it does not run twice
    #[arg(long)]
    pub(crate) keep: bool,
    /// Resume it although a disk was changed since. A machine that goes on with other data on its disks
    /// than it knows destroys the file systems on them
    #[arg(long)]
    pub(crate) force: bool,
    /// Bring a copy up with its network links up
    #[arg(long)]
    pub(crate) link_up: bool,
}

/// The machine is stopped for a moment and runs on; the second one goes on from that moment under
/// another name, with its network links down, since both have the same addresses.
///
/// Refused for machines that write disks: two machines on one disk destroy what is on it.
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
