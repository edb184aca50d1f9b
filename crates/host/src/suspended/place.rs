//! Where a snapshot lies, and what its name says of it.
//!
//! ```text
//!  suspend:  FILE.partial ──sync, rename──► FILE             it is durable: the machine may end
//!  resume:   FILE ──rename──► FILE.resuming-ID ──► FILE.resumed
//!                  │ this host has it, and nobody else    └ the machine has run since
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use punctual_snapshot::{SnapshotId, identify};
use punctual_units::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use rustix::io::Errno;

use crate::api::{Id, Problem};
use crate::durable::sync_directory;

/// Where a snapshot lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
}

/// A snapshot that is being written; removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    published: bool,
}

impl Place {
    /// The place of this name, which must be absolute: the daemon is at home elsewhere than whoever
    /// asks it.
    pub(super) fn new(file: &Path) -> Result<Self, Problem> {
        let is_name = file.file_name().is_some() && file.parent().is_some();
        if file.is_absolute() && is_name {
            return Ok(Self { file: file.to_owned() });
        }
        let what = format!("{} is no absolute name of a file", file.display());
        Err(Problem::usage(what, "name a file, beginning with `/`"))
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The name of a machine's file once the machine has run from it.
    pub(super) fn resumed(&self) -> PathBuf {
        self.with(".resumed")
    }

    fn partial(&self) -> PathBuf {
        self.with(".partial")
    }

    fn resuming(&self, attempt: Id) -> PathBuf {
        self.with(&format!(".resuming-{attempt}"))
    }

    fn with(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(&self.file);
        name.push(ending);
        name.into()
    }

    fn directory(&self) -> &Path {
        self.file.parent().expect("a place has a directory")
    }

    /// Checks that a snapshot of at most this size can come here.
    pub(super) fn check(&self, most: Bytes) -> Result<(), Problem> {
        let shown = self.file.display();
        if self.file.symlink_metadata().is_ok() {
            let what = format!("{shown} is there already");
            return Err(Problem::refused(what, "name another file, or remove that one"));
        }
        let directory = self.directory();
        let found = statvfs(directory).map_err(|error| {
            let what = format!("{}: {}", directory.display(), io::Error::from(error));
            Problem::refused(what, "name a file in a directory of this host")
        })?;
        let free = Bytes::new(found.f_bavail.saturating_mul(found.f_frsize));
        if free < most {
            return Err(Problem::refused(
                format!("{} has {free} free, and the file may take {most}", directory.display()),
                "make room there, or name a file elsewhere; pages of zeros are left out and others \
                 packed, so it may take less, but that is known only at the end",
            ));
        }
        Ok(())
    }

    /// Makes the file that a snapshot is written to, for its owner alone: it holds all that the
    /// machine has in its memory.
    pub(super) fn begin(&self) -> Result<(Partial, File), Problem> {
        let path = self.partial();
        let mut options = OpenOptions::new();
        let made = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(file) => Ok((Partial { path, published: false }, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Problem::refused(
                format!("{} is there already", path.display()),
                "another host may be writing it; if none is, remove it",
            )),
            Err(error) => Err(Problem::refused(
                format!("{}: {error}", path.display()),
                "name a file that the daemon may write",
            )),
        }
    }

    /// Whether this snapshot lies here, whole.
    pub(super) fn holds(&self, snapshot: SnapshotId) -> bool {
        holds(&self.file, snapshot)
    }

    /// Removes what a daemon that was killed had written so far.
    pub(super) fn tidy(&self) {
        // Nothing depends on it.
        let _ = fs::remove_file(self.partial());
    }

    /// Takes the file for one attempt to resume it. Of several attempts, also on several hosts that
    /// share the file, one succeeds.
    pub(super) fn claim(&self, attempt: Id) -> io::Result<()> {
        fs::rename(&self.file, self.resuming(attempt))?;
        sync_directory(self.directory())
    }

    /// Whether this attempt has the file.
    pub(super) fn is_claimed(&self, attempt: Id) -> bool {
        self.resuming(attempt).exists()
    }

    /// Gives the file back: its machine has not run.
    pub(super) fn give_back(&self, attempt: Id) -> io::Result<()> {
        rename_new(&self.resuming(attempt), &self.file)?;
        sync_directory(self.directory())
    }

    /// Marks the file as used up: its machine has run. An older one of that name goes.
    pub(super) fn use_up(&self, attempt: Id) -> io::Result<PathBuf> {
        let resumed = self.resumed();
        fs::rename(self.resuming(attempt), &resumed)?;
        sync_directory(self.directory())?;
        Ok(resumed)
    }
}

impl Partial {
    /// Gives a synced file its name, durably. An error leaves it without, as far as the file system
    /// allows.
    pub(super) fn publish(mut self, place: &Place) -> io::Result<()> {
        rename_new(&self.path, place.file())?;
        self.published = true;
        sync_directory(place.directory()).inspect_err(|_| {
            // Else it would be there and its machine, too.
            let _ = fs::remove_file(place.file());
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "cannot be removed");
        }
    }
}

fn holds(file: &Path, snapshot: SnapshotId) -> bool {
    File::open(file).is_ok_and(|mut file| identify(&mut file).is_ok_and(|id| id == snapshot))
}

/// Renames, unless something has the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems of networks have no such call.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use punctual_wire::MigrationId;

    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(&directory.path().join("web.snap")).unwrap();
        (directory, place)
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_published() {
        let (directory, place) = place();
        let names = || {
            let entries = fs::read_dir(directory.path()).unwrap().flatten();
            entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
        };
        let (partial, _file) = place.begin().unwrap();
        assert_eq!(names(), ["web.snap.partial"]);
        assert!(place.begin().is_err(), "two write it at once");
        drop(partial);
        assert!(names().is_empty());
        let (partial, _file) = place.begin().unwrap();
        partial.publish(&place).unwrap();
        assert_eq!(names(), ["web.snap"]);
        assert!(place.check(Bytes::ZERO).unwrap_err().what.contains("is there already"));
        let (partial, _file) = place.begin().unwrap();
        assert!(partial.publish(&place).is_err(), "another file of that name is not replaced");
        assert_eq!(names(), ["web.snap"]);
    }

    #[test]
    fn one_attempt_of_several_has_the_file() {
        let (_directory, place) = place();
        let [one, two] = [1, 2].map(|number| Id::from(MigrationId(number)));
        fs::write(place.file(), "a snapshot").unwrap();
        place.claim(one).unwrap();
        assert!(place.claim(two).is_err());
        assert!(place.is_claimed(one) && !place.is_claimed(two));
        place.give_back(one).unwrap();
        place.claim(two).unwrap();
        assert_eq!(place.use_up(two).unwrap(), place.resumed());
        assert!(place.claim(one).is_err(), "it is used up");
    }

    #[test]
    fn too_little_room_is_told_beforehand() {
        let (_directory, place) = place();
        place.check(Bytes::new(1)).unwrap();
        let problem = place.check(Bytes::new(u64::MAX)).unwrap_err();
        assert!(problem.what.contains("free, and the file may take"), "{problem:?}");
        let nowhere = Place::new(Path::new("/nonexistent/web.snap")).unwrap();
        assert!(nowhere.check(Bytes::ZERO).is_err());
        assert!(Place::new(Path::new("web.snap")).is_err());
    }
}
