use std::time::Duration;

use punctual_guest_protocol::Pattern;
use punctual_guest_protocol::control::{Failure, Place};

use super::random::Random;
use super::{CannotWork, Work};
use crate::memory::{PAGE, Region, Set};
use crate::world::part;

/// Size of a slot in bytes: key, version, checksum, value.
const SLOT: usize = 256;
const VALUE: usize = SLOT - HEADER;
const HEADER: usize = 24;

/// A key-value table in memory of its own, with its clients.
///
/// Each key has a slot. Clients look keys up (half of the operations), write new values, and delete;
/// a slot that holds an entry has its key, its version, a checksum and the value, and an empty one
/// is zero. The versions are also kept apart, so that a check knows what each slot must hold.
pub(super) struct Kv {
    table: Region,
    /// Version of each key's value, and whether it is there.
    entries: Vec<Entry>,
    pattern: Pattern,
    random: Random,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    version: u32,
    present: bool,
}

impl Kv {
    pub(super) fn new(pages: usize, seed: u64, random: Random) -> Result<Self, CannotWork> {
        let bytes = (pages * PAGE) as u64;
        let table = Region::new(bytes).map_err(|source| CannotWork::Memory { bytes, source })?;
        let entries = vec![Entry::default(); table.bytes().len() / SLOT];
        let pattern = Pattern::new(seed).part(part::TABLE);
        let mut kv = Self { table, entries, pattern, random };
        for key in (0..kv.entries.len()).step_by(2) {
            kv.put(key);
        }
        Ok(kv)
    }

    /// Inserts or updates.
    fn put(&mut self, key: usize) {
        let entry = &mut self.entries[key];
        *entry = Entry { version: entry.version.wrapping_add(1), present: true };
        let slot = self.expected(key);
        self.table.bytes_mut()[key * SLOT..][..SLOT].copy_from_slice(&slot);
    }

    fn delete(&mut self, key: usize) {
        self.entries[key].present = false;
        self.table.bytes_mut()[key * SLOT..][..SLOT].fill(0);
    }

    /// Looks a key up and checks its slot.
    fn get(&self, key: usize) -> Result<(), Failure> {
        let expected = self.expected(key);
        let found = &self.table.bytes()[key * SLOT..][..SLOT];
        match found.iter().zip(&expected).position(|(found, expected)| found != expected) {
            None => Ok(()),
            Some(at) => Err(Failure {
                page: key as u64,
                offset: at as u64,
                ..self.table.failure(Place::Table, key * SLOT + at, expected[at])
            }),
        }
    }

    /// What a key's slot must hold.
    fn expected(&self, key: usize) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        let Entry { version, present } = self.entries[key];
        if present {
            let (header, value) = slot.split_at_mut(HEADER);
            self.pattern.part(key as u64).fill(u64::from(version) * VALUE as u64, value);
            header[..8].copy_from_slice(&(key as u64 + 1).to_le_bytes());
            header[8..16].copy_from_slice(&u64::from(version).to_le_bytes());
            header[16..].copy_from_slice(&checksum(value).to_le_bytes());
        }
        slot
    }
}

/// Fletcher's checksum in 64 bits: depends on each byte and on its place.
fn checksum(value: &[u8]) -> u64 {
    let (sum, sums) = value.iter().fold((0_u64, 0_u64), |(sum, sums), byte| {
        let sum = sum + u64::from(*byte);
        (sum, sums + sum)
    });
    sums << 32 | sum
}

impl Work for Kv {
    fn work(&mut self, _: &mut Set, units: u64, _: Duration) -> Result<u64, Failure> {
        for _ in 0..units {
            let key = self.random.below(self.entries.len());
            match self.random.below(8) {
                0..4 => self.get(key)?,
                4..7 => self.put(key),
                _ => self.delete(key),
            }
        }
        Ok(units)
    }

    fn check(&self) -> Result<u64, Failure> {
        (0..self.entries.len()).try_for_each(|key| self.get(key))?;
        Ok(self.table.pages() as u64)
    }

    fn disk_bytes_checked(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy_table() -> Kv {
        let mut set = Set::new(0, Pattern::new(0)).unwrap();
        let mut kv = Kv::new(4, 1, Random::new(Pattern::new(9))).unwrap();
        assert_eq!(kv.work(&mut set, 5000, Duration::ZERO), Ok(5000));
        kv
    }

    #[test]
    fn a_sound_table_passes() {
        let kv = busy_table();
        assert_eq!(kv.check(), Ok(4));
        assert!(kv.entries.iter().any(|entry| !entry.present && entry.version > 0));
        assert!(kv.entries.iter().any(|entry| entry.present && entry.version > 1));
    }

    #[test]
    fn a_flipped_byte_is_found() {
        for offset in [0, SLOT + 17, 10 * SLOT + 100, 64 * SLOT - 1] {
            let mut kv = busy_table();
            kv.table.bytes_mut()[offset] ^= 0x80;
            let failure = kv.check().unwrap_err();
            assert_eq!(failure.place, Place::Table);
            assert_eq!(
                (failure.page, failure.offset),
                ((offset / SLOT) as u64, (offset % SLOT) as u64)
            );
        }
    }
}
