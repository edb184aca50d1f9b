//! The streaming guests: real servers of the distribution, started without an agent of ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

use crate::cache::{CacheError, describe};
use crate::cpio::Archive;
use crate::initramfs::InitramfsError;
use crate::workspace::{output, root, write_whole};
use crate::{kernel, modules};

/// What `setup/streaming.sh` writes.
const DESCRIPTION: &str = "streaming/streaming.toml";

/// What a streaming guest starts from, beside [`kernel()`](crate::kernel()).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamingImage {
    /// The initramfs, for QEMU's `-initrd`.
    pub initramfs: PathBuf,
    /// The disk, raw. Guests only read it: any number of them may share it.
    pub disk: PathBuf,
}

/// Why there is no streaming guest.
#[derive(Debug, thiserror::Error)]
pub enum StreamingError {
    /// The disk is not in the cache.
    #[error("the streaming guests' disk is missing: {0} and `make streaming`")]
    Disk(#[source] CacheError),
    /// The disk cannot be made.
    #[error("the streaming guests' disk could not be made: {0}")]
    Make(String),
    /// The initramfs cannot be made.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
}

/// The unpacked servers (`setup/streaming.sh` writes this).
#[derive(Debug, Deserialize)]
struct Described {
    disk: PathBuf,
    busybox: PathBuf,
}

/// What streaming guests start from, if `make streaming` has run. The initramfs is written anew
/// each time; that takes milliseconds.
///
/// # Errors
///
/// [`StreamingError::Disk`] if the disk is not in the cache; [`StreamingError::Initramfs`] if the
/// kernel is not, or a file cannot be read or written.
pub fn streaming() -> Result<StreamingImage, StreamingError> {
    let described: Described = describe(DESCRIPTION).map_err(StreamingError::Disk)?;
    let initramfs = initramfs(&described.busybox)?;
    Ok(StreamingImage { initramfs, disk: described.disk })
}

/// The same, but makes the disk first if it is not in the cache.
///
/// # Errors
///
/// As [`streaming`], and [`StreamingError::Make`] with the reason if the disk cannot be made: not
/// root, no network.
///
/// # Blocking
///
/// Some two minutes where the disk must be made; what goes on is printed.
pub fn make_streaming() -> Result<StreamingImage, StreamingError> {
    let script = root().join("setup/streaming.sh");
    let status = Command::new("sh").arg(&script).status();
    match status {
        Ok(status) if status.success() => streaming(),
        Ok(status) => Err(StreamingError::Make(format!(
            "{} ended with {status}: see its message above",
            script.display()
        ))),
        Err(error) => Err(StreamingError::Make(format!("sh cannot be started: {error}"))),
    }
}

/// Writes the initramfs: the kernel's modules, busybox, and `guests/streaming`.
fn initramfs(busybox: &Path) -> Result<PathBuf, InitramfsError> {
    let kernel = kernel::described()?;
    let sources = root().join("guests/streaming");
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "modules", "root", "streaming"] {
        archive.directory(directory);
    }
    archive.device("dev/console", (5, 1));
    archive.file("bin/busybox", &read(busybox)?);
    archive.file("init", &read(&sources.join("init"))?);
    for name in files_of(&sources)? {
        archive.file(&format!("streaming/{name}"), &read(&sources.join(&name))?);
    }
    modules::add_to(&mut archive, &kernel.modules)?;
    let target = output().join(format!("streaming-{}.cpio", kernel.version));
    write_whole(&target, &archive.finish())
        .map_err(|source| InitramfsError::File { path: target.clone(), source })?;
    Ok(target)
}

/// The names of the files in a directory, sorted, so that the archive is the same each time.
fn files_of(directory: &Path) -> Result<Vec<String>, InitramfsError> {
    let listed = || -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    listed().map_err(|source| InitramfsError::File { path: directory.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    fs::read(path).map_err(|source| InitramfsError::File { path: path.to_owned(), source })
}
