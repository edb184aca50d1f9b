//! The last trace of each machine, one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;

/// Keeps a trace in place of the one before.
///
/// # Errors
/// The disk is full or does not answer; the one before is still there.
pub(crate) fn write(directory: &Path, machine: &str, trace: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    durable::replace(&path(directory, machine), trace)
}

/// The last trace; `None` if none is kept.
///
/// # Errors
/// The disk does not answer.
pub(crate) fn read(directory: &Path, machine: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path(directory, machine)) {
        Ok(trace) => Ok(Some(trace)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Forgets the trace of a machine that is no longer here.
pub(crate) fn forget(directory: &Path, machine: &str) {
    if let Err(error) = durable::remove(&path(directory, machine)) {
        tracing::warn!(machine, %error, "its last trace cannot be removed");
    }
}

fn path(directory: &Path, machine: &str) -> PathBuf {
    directory.join(format!("{machine}.trace"))
}
