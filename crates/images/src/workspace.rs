//! The tree that the guests are built from, and where the results go.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, process};

/// The project's tree.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two levels below the root").to_owned()
}

/// Where built guests go; also the target directory of their own builds, so that their compiler
/// flags make no other crate build anew.
pub(crate) fn output() -> PathBuf {
    root().join("target/guests")
}

/// Whether `target` is there and not older than any of `sources`.
pub(crate) fn is_fresh(target: &Path, sources: &[&Path]) -> bool {
    let time = |path: &Path| -> io::Result<SystemTime> { fs::metadata(path)?.modified() };
    let Ok(built) = time(target) else { return false };
    sources.iter().all(|source| time(source).is_ok_and(|changed| changed <= built))
}

/// Writes a file so that others see all of it or what was there before.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", process::id()));
    fs::write(&part, content)?;
    fs::rename(&part, path)
}
