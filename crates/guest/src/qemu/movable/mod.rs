//! Whether a machine can be moved: asked before anything moves, at both ends.
//!
//! What is asked of a host is gathered first ([`HostFacts`], [`DestinationFacts`]); the answers are
//! pure functions of it.

mod destination;
mod native;
mod source;
mod successor;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use destination::{DestinationFacts, refusals_at_destination};
pub use native::refusals_of_native;
pub use source::{HostFacts, refusals};
pub use successor::refusals_to_succeed;

/// Why a machine is not moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of reason it is, for programs.
    pub code: Code,
    /// The reason.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// Kinds of reasons. Their names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A part of the memory is private to QEMU.
    RamNotShared,
    /// A part of the memory is in no file that has a name.
    RamNotFile,
    /// A part of the memory would be emptied by one of two processes that share it.
    RamDiscarded,
    /// A device of the host is assigned to the machine.
    AssignedDevice,
    /// Another process writes the machine's memory.
    SharedMemory,
    /// A device was plugged in that the destination cannot be started with.
    PluggedDevice,
    /// A device of the command line was unplugged.
    UnpluggedDevice,
    /// QEMU was given open files by whoever started it.
    PassedDescriptor,
    /// A disk is not the one that the command line names.
    DiskReplaced,
    /// Changes to disks go to temporary files.
    TemporaryDisk,
    /// The machine does not run.
    NotRunning,
    /// QEMU migrates the machine already.
    MigrationUnderWay,
    /// QEMU says that the machine cannot be migrated.
    Blocked,
    /// The kernel cannot trace writes.
    Kernel,
    /// This process may not trace QEMU.
    Permission,
    /// QEMU is too old.
    Version,
    /// QEMU loses writes when it migrates the machine itself.
    LosesWrites,
    /// The destination has no such program.
    ProgramMissing,
    /// The destination cannot run the machine by its accelerator.
    AccelMissing,
    /// The destination's QEMU does not know the machine type.
    MachineTypeUnknown,
    /// The destination has a machine of this name.
    NameTaken,
    /// Something at the destination listens on a port of the machine.
    PortTaken,
    /// The destination has too little memory.
    RamTooSmall,
    /// The destination cannot open a disk.
    DiskUnavailable,
    /// The destination lacks a file or directory that the command line names.
    FileMissing,
    /// The destination lacks the bridge.
    BridgeMissing,
}

impl Refusal {
    fn new(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.remedy)
    }
}

#[cfg(test)]
mod tests;
