//! Which pages of a machine were missing when its paging began, in a file: whoever takes the
//! paging over has to know it, since the RAM alone does not tell a missing page from a zero one.
//!
//! ```text
//! magic (8 bytes) │ pages of the machine (LEB128) │ the runs of missing ones │ XXH3-64 of all before
//!                 │                               │ (see `RunWriter`)        │ (8 bytes, LE)
//! ```
//!
//! The file survives the death of this program, and need not survive that of its host, with which
//! the machine ends as well. It is put in place as a whole or not at all.

use std::fs;
use std::io;
use std::path::PathBuf;

use punctual_units::{PageSet, Pages, RunReader, RunWriter, leb128};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 8] = *b"PNCMISS1";
const CHECKSUM: usize = size_of::<u64>();

/// The file in which the missing pages of one machine are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(PathBuf);

/// Why missing pages could not be written down, or not be read again.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file could not be read, written or removed.
    #[error("cannot {action} {}, which tells the pages that are missing: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{} does not tell the pages that are missing (it was written by another version of \
         punctual, or damaged): start the version that wrote it",
        .0.display()
    )]
    Malformed(PathBuf),
}

impl Record {
    /// The file at `path`, in a directory of the machine's.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether something is written down.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Writes down that these pages are missing, in place of what was written before.
    ///
    /// Takes some 0.1 ms, and 1 ms for each 100,000 runs of pages.
    ///
    /// # Errors
    /// The file cannot be written; what was there before is there still.
    pub fn write(&self, missing: &PageSet) -> Result<(), RecordError> {
        let new = self.0.with_extension("new");
        let written = fs::write(&new, encode(missing)).and_then(|()| fs::rename(&new, &self.0));
        written.map_err(|cause| {
            // It may not even have been made.
            let _ = fs::remove_file(&new);
            self.error("write", cause)
        })
    }

    /// The pages that are written down of a machine that has so many; `None`: there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written of such a machine.
    pub fn read(&self, pages: Pages) -> Result<Option<PageSet>, RecordError> {
        match fs::read(&self.0) {
            Ok(bytes) => {
                let missing = decode(&bytes, pages);
                missing.map(Some).ok_or_else(|| RecordError::Malformed(self.0.clone()))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.error("read", cause)),
        }
    }

    /// Removes the file; none is no error.
    ///
    /// # Errors
    /// The kernel does not remove it.
    pub fn remove(&self) -> Result<(), RecordError> {
        match fs::remove_file(&self.0) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove", cause))
            }
            _ => Ok(()),
        }
    }

    fn error(&self, action: &'static str, cause: io::Error) -> RecordError {
        RecordError::File { path: self.0.clone(), action, cause }
    }
}

fn encode(missing: &PageSet) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    leb128::write(missing.capacity().get(), |byte| bytes.push(byte));
    let mut writer = RunWriter::default();
    missing.ranges().for_each(|run| writer.write(run, &mut bytes));
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], pages: Pages) -> Option<PageSet> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let mut rest = body.strip_prefix(&MAGIC)?;
    if leb128::read(|| rest.split_off_first().copied().ok_or(())) != Ok(pages.get()) {
        return None;
    }
    let mut missing = PageSet::empty(pages);
    for run in RunReader::new(rest, pages) {
        missing.insert_range(run.ok()?);
    }
    Some(missing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use punctual_units::PageRange;

    use super::*;

    const PAGES: Pages = Pages::new(300);

    fn some(runs: &[(u64, u64)]) -> PageSet {
        let mut some = PageSet::empty(PAGES);
        runs.iter().for_each(|(start, end)| some.insert_range(PageRange::new(*start, *end)));
        some
    }

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let record = Record::at(directory.path().join("missing"));
        assert_eq!(record.read(PAGES).unwrap(), None);
        for missing in [some(&[(3, 5), (299, 300)]), some(&[])] {
            record.write(&missing).unwrap();
            assert_eq!(record.read(PAGES).unwrap(), Some(missing));
        }
        record.remove().unwrap();
        record.remove().unwrap();
        assert!(!record.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_told_from_a_sound_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing");
        let sound = encode(&some(&[(3, 5), (10, 200)]));
        let cut = (0..sound.len()).map(|length| sound[..length].to_vec());
        let flipped = (0..sound.len()).map(|at| {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            bytes
        });
        for bytes in cut.chain(flipped) {
            fs::write(&path, bytes).unwrap();
            let error = Record::at(&path).read(PAGES).unwrap_err();
            assert!(matches!(error, RecordError::Malformed(_)), "{error}");
        }
        fs::write(&path, sound).unwrap();
        assert!(Record::at(&path).read(Pages::new(301)).is_err(), "of another machine");
    }

    proptest! {
        #[test]
        fn every_set_comes_back(
            capacity in 1..5000_u64,
            runs in proptest::collection::vec((0..5000_u64, 1..300_u64), 0..60),
        ) {
            let mut missing = PageSet::empty(Pages::new(capacity));
            for (start, length) in runs {
                let start = start.min(capacity);
                missing.insert_range(PageRange::new(start, (start + length).min(capacity)));
            }
            prop_assert_eq!(decode(&encode(&missing), missing.capacity()), Some(missing));
        }

        #[test]
        fn no_page_behind_the_end_is_read(runs in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = [&MAGIC[..], &[0xac, 0x02], &runs].concat();
            // However well it is signed.
            bytes.extend(xxh3_64(&bytes).to_le_bytes());
            if let Some(missing) = decode(&bytes, PAGES) {
                prop_assert!(missing.iter().all(|page| page.0 < PAGES.get()));
            }
        }
    }
}
