use std::io;

use thiserror::Error;

use crate::VERSION;

/// Why bytes were not taken as a snapshot, or not wholly.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// Something else.
    #[error("this is no snapshot of Punctual: give a file that `punctual suspend` has written")]
    NotASnapshot,
    /// Whoever wrote it did not come to the end.
    #[error(
        "the snapshot was not written to its end: the machine has not left the host where that was \
         begun; suspend it again, and remove this file"
    )]
    Unfinished,
    /// Written by another release, in a form that this one does not know.
    #[error(
        "the snapshot is of version {found}, and this Punctual reads version {VERSION}: resume it \
         with the release that wrote it"
    )]
    OtherVersion {
        /// The version it states.
        found: u16,
    },
    /// The end is missing.
    #[error("the snapshot ends {missing} bytes too early: copy it again from where it is whole")]
    Truncated {
        /// How many bytes are missing.
        missing: u64,
    },
    /// Bytes changed after it was written, or it was written wrongly.
    #[error(
        "the snapshot is damaged at byte {at}: {what}; copy it again from where it is whole, and \
         check the disk that it lies on"
    )]
    Corrupt {
        /// Where in the file: the beginning of the header or of a section.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It could not be read.
    #[error("the snapshot cannot be read: {0}: check the disk that it lies on")]
    Io(#[from] io::Error),
}
