//! Sets of pages in few bytes, as they travel and as they are kept.

use crate::{PageRange, Pages, leb128};

/// Writes runs of pages in rising order: for each how many pages lie between it and the one before,
/// and how many it has, both as [LEB128](leb128). A page that lies alone takes two to four bytes.
#[derive(Debug, Default)]
pub struct RunWriter {
    behind: u64,
}

/// Reads what a [`RunWriter`] has written. Behind an error there is nothing.
#[derive(Debug, Clone)]
pub struct RunReader<'a> {
    rest: &'a [u8],
    behind: u64,
    capacity: Pages,
}

/// Bytes that are no runs of pages, or name one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedRuns;

impl RunWriter {
    /// Adds a run, which is not empty and lies behind the one before.
    pub fn write(&mut self, run: PageRange, bytes: &mut Vec<u8>) {
        leb128::write(run.start.0 - self.behind, |byte| bytes.push(byte));
        leb128::write(run.len().get(), |byte| bytes.push(byte));
        self.behind = run.end.0;
    }
}

impl<'a> RunReader<'a> {
    /// The runs in `bytes`, of a machine of `capacity` pages.
    #[must_use]
    pub fn new(bytes: &'a [u8], capacity: Pages) -> Self {
        Self { rest: bytes, behind: 0, capacity }
    }

    fn run(&mut self) -> Option<PageRange> {
        let (gap, length) = (self.number()?, self.number()?);
        let start = self.behind.checked_add(gap)?;
        let end = start.checked_add(length)?;
        self.behind = end;
        (length > 0 && end <= self.capacity.get()).then_some(PageRange::new(start, end))
    }

    fn number(&mut self) -> Option<u64> {
        let mut next = || {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            Some(*byte)
        };
        leb128::read(|| next().ok_or(())).ok()
    }
}

impl Iterator for RunReader<'_> {
    type Item = Result<PageRange, MalformedRuns>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.run();
        if run.is_none() {
            self.rest = &[];
        }
        Some(run.ok_or(MalformedRuns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<PageRange>, MalformedRuns> {
        RunReader::new(bytes, Pages::new(100)).collect()
    }

    #[test]
    fn what_is_no_runs_of_the_machine_is_refused() {
        assert_eq!(read(&[90, 10]), Ok(vec![PageRange::new(90, 100)]));
        for hostile in [&[90_u8, 11][..], &[0x80], &[1], &[1, 0], &[0xff; 12], &[0, 1, 0xff, 0xff]]
        {
            assert_eq!(read(hostile), Err(MalformedRuns), "{hostile:?}");
        }
        let mut runs = RunReader::new(&[1, 0, 1, 1], Pages::new(100));
        assert_eq!((runs.next(), runs.next()), (Some(Err(MalformedRuns)), None));
    }

    proptest! {
        #[test]
        fn runs_come_back(gaps in proptest::collection::vec((0..9_u64, 1..300_u64), 0..60)) {
            let (mut writer, mut bytes, mut runs) = (RunWriter::default(), Vec::new(), Vec::new());
            let mut at = 0;
            for (gap, length) in gaps {
                runs.push(PageRange::new(at + gap, at + gap + length));
                at += gap + length;
                writer.write(*runs.last().unwrap(), &mut bytes);
            }
            let back: Result<Vec<_>, _> = RunReader::new(&bytes, Pages::new(at)).collect();
            prop_assert_eq!(back, Ok(runs));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }
}
