//! Whether a machine's disks are as they were when it was saved.
//!
//! A guest that goes on with disks that others have written since destroys the file systems on
//! them: it has parts of them in its memory. A file tells by its size and the time of its last
//! change; a block device does not tell.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use punctual_snapshot::{DiskState, Touched};
use punctual_units::Bytes;

use crate::api::Problem;
use crate::hypervisor::Disk;

/// The disks as they are now. The machine stands, and has written what it had to write.
pub(super) fn look(disks: &[Disk]) -> io::Result<Vec<DiskState>> {
    disks.iter().map(|disk| state(&disk.path, disk.writable)).collect()
}

fn state(path: &Path, writable: bool) -> io::Result<DiskState> {
    let found = fs::metadata(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let touched = found.file_type().is_file().then(|| Touched {
        seconds: found.mtime(),
        nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0),
    });
    Ok(DiskState { path: path.to_owned(), writable, size: Bytes::new(found.len()), touched })
}

/// Compares the disks with what they were. With `force` what would be refused is noted.
///
/// Returns what is to be known, in sentences.
pub(super) fn compare(
    machine: &str,
    before: &[DiskState],
    force: bool,
) -> Result<Vec<String>, Problem> {
    let changes: Vec<String> = before.iter().filter_map(change).collect();
    if !changes.is_empty() && !force {
        return Err(Problem::refused(
            format!("machine `{machine}`: {}", changes.join("; ")),
            "put the disks back as they were when the machine was saved, and resume it with \
             --force; a machine that goes on with other disks than it knows destroys the file \
             systems on them",
        ));
    }
    let silent = before
        .iter()
        .filter(|disk| disk.writable && disk.touched.is_none())
        .map(|disk| format!("whether {} was written since cannot be told", disk.path.display()));
    Ok(changes.into_iter().chain(silent).collect())
}

/// What has changed of a disk.
fn change(before: &DiskState) -> Option<String> {
    let shown = before.path.display();
    match state(&before.path, before.writable) {
        Err(error) => Some(format!("the disk {error}")),
        Ok(now) if now.size != before.size => Some(format!(
            "the disk {shown} had {} bytes when the machine was saved and has {} now",
            before.size.get(),
            now.size.get()
        )),
        Ok(now) if now.touched != before.touched => {
            Some(format!("the disk {shown} was written after the machine was saved"))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_disk_that_was_written_or_resized_or_lost_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.img");
        fs::write(&path, "data").unwrap();
        let disk = Disk { path: path.clone(), writable: true };
        let before = look(&[disk]).unwrap();
        assert_eq!(compare("web", &before, false), Ok(vec![]));

        let later = SystemTime::now() + Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        let problem = compare("web", &before, false).unwrap_err();
        assert!(problem.what.contains("was written after"), "{problem:?}");
        assert!(problem.remedy.contains("--force"), "{problem:?}");
        assert_eq!(compare("web", &before, true).unwrap().len(), 1);

        fs::write(&path, "more data").unwrap();
        assert!(compare("web", &before, false).unwrap_err().what.contains("has 9 now"));
        fs::remove_file(&path).unwrap();
        assert!(compare("web", &before, false).is_err());
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let directory = tempfile::tempdir().unwrap();
        // No file, and so without a time that counts.
        let disk = Disk { path: directory.path().to_owned(), writable: true };
        let before = look(&[disk]).unwrap();
        let notes = compare("web", &before, false).unwrap();
        assert!(notes[0].contains("cannot be told"), "{notes:?}");
    }
}
