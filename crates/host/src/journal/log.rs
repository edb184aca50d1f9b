//! An append-only file of checksummed records, each durable before the append returns.
//!
//! ```text
//! block of 512 bytes ┬ magic "PNC1" (4) │ length (4) │ number (8) │ checksum (8) │ JSON … │ zeros
//!                    └ a longer record goes on in the blocks that follow
//! ```
//! Numbers count up by one. Since each append waits for the disk before the next begins, only the
//! last record can be torn by a crash: what does not check out at the end is dropped, what does not
//! check out *before* a good record is an error that nothing here can mend.
//!
//! The file is filled with zeros ahead of its end: a write into blocks that are there spares the
//! file system a change of its own records, and cannot fail for want of room.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::durable;

const BLOCK: usize = 512;
const MAGIC: [u8; 4] = *b"PNC1";
const HEADER: usize = 24;
/// How much is filled with zeros at a time: 128 records of one block.
const AHEAD: u64 = 64 << 10;
/// Far more than any record; a length beyond it is damage.
const LONGEST: usize = 1 << 20;

/// Why the log could not be opened or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file could not be opened, read or replaced.
    #[error("journal {path}: {source}: check the disk and the permissions of the state directory")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record before the last one is damaged.
    #[error(
        "journal {path} is damaged at byte {at}, before records that are good: who owns a machine \
         may be lost with it. Restore the file, or, if no move was under way, delete it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        at: u64,
    },
    /// The record was not written, and is certain not to appear later.
    #[error("journal {path}: the record was not written ({source}): free some space on its disk")]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The record may or may not be found after a restart.
    #[error(
        "journal {path}: the disk failed while a record was written ({source}); whether it is \
         there is seen when the daemon is started again: mend the disk and restart it"
    )]
    Uncertain {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open log of entries of type `T`.
#[derive(Debug)]
pub(crate) struct Log<T> {
    file: File,
    path: PathBuf,
    /// Where the next record goes; a multiple of [`BLOCK`].
    end: u64,
    /// The file's length; from the end of the records on it is zeros.
    filled: u64,
    /// The number of the next record.
    next: u64,
    /// Set once a write left the file in a state that is not known.
    uncertain: bool,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> Log<T> {
    /// Opens or creates the log and returns what it holds, oldest first. A torn last record is
    /// cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<T>), LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        // What a killed daemon wrote and did not wait for is in memory only: a decision by it must
        // not be taken back by a loss of power.
        file.sync_all().map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let Contents { entries, end, next } = read(&bytes)
            .map_err(|at| LogError::Damaged { path: path.to_owned(), at: at as u64 })?;
        let mut filled = bytes.len();
        if bytes[end..].iter().any(|byte| *byte != 0) {
            tracing::warn!(path = %path.display(), at = end, "cut off a record that a crash tore");
            file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(io)?;
            filled = end;
        }
        durable::sync_directory(path.parent().expect("the log lies in a directory")).map_err(io)?;
        let log = Self {
            file,
            path: path.to_owned(),
            end: end as u64,
            filled: filled as u64,
            next,
            uncertain: false,
            entries: PhantomData,
        };
        Ok((log, entries))
    }

    /// Adds a record. When this returns `Ok` it is on the disk.
    pub(crate) fn append(&mut self, entry: &T) -> Result<(), LogError> {
        let path = self.path.clone();
        if self.uncertain {
            let source = io::Error::other("an earlier write failed");
            return Err(LogError::Uncertain { path, source });
        }
        let record = encode(self.next, entry);
        let written = self
            .fill_ahead(record.len() as u64)
            .and_then(|()| self.file.write_all_at(&record, self.end))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Take it back, so that it cannot come up after a restart as if it had been decided.
            let taken_back = self.file.set_len(self.end).and_then(|()| self.file.sync_all());
            self.filled = self.end;
            if taken_back.is_err() {
                self.uncertain = true;
                return Err(LogError::Uncertain { path, source });
            }
            return Err(LogError::NotWritten { path, source });
        }
        self.end += record.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Sees to it that `length` more bytes go into blocks that are there.
    pub(crate) fn fill_ahead(&mut self, length: u64) -> io::Result<()> {
        if self.end + length > self.filled {
            let zeros = vec![0; length.next_multiple_of(AHEAD) as usize];
            self.file.write_all_at(&zeros, self.filled)?;
            self.file.sync_all()?;
            self.filled += zeros.len() as u64;
        }
        Ok(())
    }

    /// How many bytes its records have.
    pub(crate) fn len(&self) -> u64 {
        self.end
    }

    /// Replaces all that the log holds by `entries`, durably and at once.
    pub(crate) fn rewrite(&mut self, entries: &[T]) -> Result<(), LogError> {
        let io = |source| LogError::Io { path: self.path.clone(), source };
        let records = (0..).zip(entries).flat_map(|(number, entry)| encode(number, entry));
        let bytes: Vec<u8> = records.collect();
        durable::replace(&self.path, &bytes).map_err(io)?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(io)?;
        self.end = bytes.len() as u64;
        self.filled = self.end;
        self.next = entries.len() as u64;
        self.uncertain = false;
        Ok(())
    }
}

fn encode<T: Serialize>(number: u64, entry: &T) -> Vec<u8> {
    let payload = serde_json::to_vec(entry).expect("an entry has no map with keys of other types");
    let length = u32::try_from(payload.len()).expect("an entry is far smaller than 4 GiB");
    let mut record = Vec::with_capacity((HEADER + payload.len()).next_multiple_of(BLOCK));
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(&checksum(number, &payload).to_le_bytes());
    record.extend_from_slice(&payload);
    record.resize(record.len().next_multiple_of(BLOCK), 0);
    record
}

fn checksum(number: u64, payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&number.to_le_bytes());
    hash.update(payload);
    hash.digest()
}

#[derive(Debug)]
struct Contents<T> {
    entries: Vec<T>,
    end: usize,
    next: u64,
}

/// Reads records up to the first that does not check out; where a good one follows that, `Err`
/// with its place.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Contents<T>, usize> {
    let mut contents = Contents { entries: Vec::new(), end: 0, next: 0 };
    while let Some((number, payload)) = record_at(bytes, contents.end) {
        // Numbers of a rewritten log begin anew at 0, so the first one tells where to count from.
        if !contents.entries.is_empty() && number != contents.next {
            return Err(contents.end);
        }
        let entry = serde_json::from_slice(payload).map_err(|_| contents.end)?;
        contents.entries.push(entry);
        contents.next = number + 1;
        contents.end += (HEADER + payload.len()).next_multiple_of(BLOCK);
    }
    let mut later = (contents.end + BLOCK..bytes.len()).step_by(BLOCK);
    if later.any(|at| record_at(bytes, at).is_some()) {
        return Err(contents.end);
    }
    Ok(contents)
}

/// The number and the payload of the record at `at`, if there is a good one.
fn record_at(bytes: &[u8], at: usize) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.get(at..)?.split_at_checked(HEADER)?;
    let (magic, header) = header.split_first_chunk::<4>()?;
    let (length, header) = header.split_first_chunk::<4>()?;
    let (number, sum) = header.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if *magic != MAGIC || length > LONGEST {
        return None;
    }
    let payload = rest.get(..length)?;
    let number = u64::from_le_bytes(*number);
    (sum == checksum(number, payload).to_le_bytes()).then_some((number, payload))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn written(entries: &[String]) -> Vec<u8> {
        (0..).zip(entries).flat_map(|(number, entry)| encode(number, entry)).collect()
    }

    fn at(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("journal")
    }

    #[test]
    fn what_was_appended_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, none) = Log::<String>::open(&at(&directory)).unwrap();
        assert!(none.is_empty());
        log.append(&"ready".to_owned()).unwrap();
        log.append(&"x".repeat(2000)).unwrap();
        drop(log);
        let (mut log, entries) = Log::<String>::open(&at(&directory)).unwrap();
        assert_eq!(entries, ["ready".to_owned(), "x".repeat(2000)]);
        log.rewrite(&["kept".to_owned()]).unwrap();
        log.append(&"after".to_owned()).unwrap();
        assert_eq!(Log::<String>::open(&at(&directory)).unwrap().1, ["kept", "after"]);
    }

    #[test]
    fn damage_before_good_records_is_an_error_that_names_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = written(&["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        bytes[BLOCK + HEADER + 1] ^= 1;
        fs::write(at(&directory), bytes).unwrap();
        let error = Log::<String>::open(&at(&directory)).unwrap_err().to_string();
        assert!(error.contains("damaged at byte 512"), "{error}");
    }

    proptest! {
        /// Whatever part of the last record a crash leaves, the ones before it are kept.
        #[test]
        fn a_torn_last_record_is_cut_off(
            mut entries in prop::collection::vec("[a-z]{0,700}", 1..5),
            keep in 0.0..1.0f64,
            zeros in any::<bool>(),
        ) {
            let whole = written(&entries);
            let last = encode(entries.len() as u64 - 1, entries.last().unwrap()).len();
            let kept = (last as f64 * keep) as usize;
            // At least the last byte of what checks out is missing.
            let payload = HEADER + entries.last().unwrap().len() + 2;
            let kept = kept.min(payload - 1);
            let mut torn = whole[..whole.len() - last + kept].to_vec();
            if zeros {
                torn.resize(whole.len(), 0);
            }
            let directory = tempfile::tempdir().unwrap();
            fs::write(at(&directory), torn).unwrap();
            let (mut log, found) = Log::<String>::open(&at(&directory)).unwrap();
            entries.pop();
            prop_assert_eq!(&found, &entries);
            log.append(&"next".to_owned()).unwrap();
            entries.push("next".to_owned());
            prop_assert_eq!(Log::<String>::open(&at(&directory)).unwrap().1, entries);
        }
    }
}
