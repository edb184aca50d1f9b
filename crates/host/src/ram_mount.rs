//! A tmpfs of huge pages for the RAM of machines.
//!
//! Who receives a machine spends most of its time getting memory for it, 4 KiB at a time; in pieces
//! of 2 MiB that costs an eighth. A tmpfs hands out such pages only where its mount says so, which
//! the machine's own `/dev/shm` rarely does: so a daemon mounts its own. Tracing stays at 4 KiB, and
//! holes stay holes, of 2 MiB now: what a guest touches of them counts as a whole, as it does for
//! any QEMU whose RAM is anonymous memory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use rustix::fs::statfs;

/// What the mount is called in `/proc/mounts`.
const SOURCE: &str = "punctual-ram";
/// `TMPFS_MAGIC` in `linux/magic.h`.
const TMPFS: i64 = 0x0102_1994;

/// A mounted directory. Dropping it unmounts it, unless machines have their RAM there: then it
/// stays, and the next daemon finds it.
#[derive(Debug)]
pub struct RamMount {
    directory: PathBuf,
}

impl RamMount {
    /// Mounts a tmpfs of huge pages over `directory`, which is made if need be, or takes over the
    /// one that an earlier daemon left there. It is as large as the tmpfs below it. `None` where
    /// something is mounted already, where the directory is not on a tmpfs or holds something:
    /// that is the operator's choice.
    ///
    /// # Errors
    /// It may not be mounted, or the directory cannot be made. The RAM can lie there all the same.
    pub fn over(directory: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(directory)?;
        let mounted = || Some(Self { directory: directory.to_owned() });
        if is_mount_point(directory)? {
            return Ok(if is_ours(directory)? { mounted() } else { None });
        }
        let below = statfs(directory)?;
        if below.f_type != TMPFS || fs::read_dir(directory)?.next().is_some() {
            return Ok(None);
        }
        // As with any tmpfs, 0 is no limit.
        let size = below.f_blocks.saturating_mul(below.f_bsize as u64);
        // Within the size: a file smaller than 2 MiB gets no huge page.
        let options = format!("huge=within_size,mode=700,size={size}");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(SOURCE), directory, Some("tmpfs"), flags, Some(options.as_str()))?;
        Ok(mounted())
    }
}

impl Drop for RamMount {
    fn drop(&mut self) {
        let empty = fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            // It may be in use by someone who looks at it; then it stays.
            let _ = umount(&self.directory);
        }
    }
}

fn is_mount_point(directory: &Path) -> io::Result<bool> {
    let directory = directory.canonicalize()?;
    let Some(parent) = directory.parent() else { return Ok(true) };
    Ok(fs::metadata(&directory)?.dev() != fs::metadata(parent)?.dev())
}

/// By the line of `proc_pid_mountinfo(5)` that shows what is mounted there last.
fn is_ours(directory: &Path) -> io::Result<bool> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let last = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == directory));
    Ok(last.is_some_and(|line| line.contains(&format!(" - tmpfs {SOURCE} "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Option<tempfile::TempDir> {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        match RamMount::over(directory.path()) {
            Ok(_) => Some(directory),
            Err(error) => {
                println!("SKIP: no tmpfs can be mounted: {error}");
                None
            }
        }
    }

    #[test]
    fn it_goes_when_it_is_empty_and_stays_for_machines() {
        let Some(directory) = directory() else { return };
        let path = directory.path();
        assert!(!is_mount_point(path).unwrap(), "gone with the value that was dropped");

        let mount = RamMount::over(path).unwrap().unwrap();
        assert!(is_mount_point(path).unwrap() && is_ours(path).unwrap());
        fs::write(path.join("web-ram0.ram"), "x").unwrap();
        drop(mount);
        assert!(is_mount_point(path).unwrap(), "a machine has its RAM there");

        let again = RamMount::over(path).unwrap().expect("the one that was left");
        fs::remove_file(path.join("web-ram0.ram")).unwrap();
        drop(again);
        assert!(!is_mount_point(path).unwrap());
    }

    #[test]
    fn what_holds_something_is_left_alone() {
        let Some(directory) = directory() else { return };
        fs::write(directory.path().join("file"), "x").unwrap();
        assert!(RamMount::over(directory.path()).unwrap().is_none());
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert!(RamMount::over(disk.path()).unwrap().is_none(), "no tmpfs");
    }
}
