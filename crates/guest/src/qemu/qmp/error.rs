use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// QEMU's own refusal of a command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("QEMU refused `{command}`: {description} ({class})")]
pub struct CommandError {
    /// The command.
    pub command: String,
    /// QEMU's class of the error, such as `GenericError` or `CommandNotFound`.
    pub class: String,
    /// QEMU's words.
    pub description: String,
}

/// Why a QMP monitor could not be asked.
#[derive(Debug, Error)]
pub enum QmpError {
    /// Nobody can be reached at the socket.
    #[error("no QMP monitor at {}: {cause}; start QEMU with -qmp unix:{},server=on,wait=off", path.display(), path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What connecting said.
        cause: io::Error,
    },
    /// QEMU serves one client per monitor, and that is somebody else now.
    #[error("the monitor at {} does not greet: another program holds this monitor; let it disconnect, or give QEMU a second -qmp", .0.display())]
    Busy(PathBuf),
    /// The socket speaks something else.
    #[error("{} is no QMP monitor: it says `{said}`; name the socket of -qmp, not of -monitor", path.display())]
    NotQmp {
        /// The socket.
        path: PathBuf,
        /// The beginning of what it said.
        said: String,
    },
    /// QEMU refused the command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The answer has not the form that the protocol promises.
    #[error("QEMU's answer to `{command}` is not understood: {cause}")]
    Answer {
        /// The command.
        command: String,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// QEMU did not answer in time, or an event did not come.
    #[error("QEMU did not come to {what} within {after:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// The connection ended.
    #[error("QEMU's monitor closed during `{command}`: {cause}")]
    Lost {
        /// The command or event that was waited for.
        command: String,
        /// What reading said.
        cause: String,
    },
}

impl QmpError {
    pub(super) fn connect(path: &Path, cause: io::Error) -> Self {
        Self::Connect { path: path.to_owned(), cause }
    }

    /// Whether QEMU is no longer there to be asked.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Connect { .. })
    }
}
