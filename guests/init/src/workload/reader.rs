use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use punctual_guest_protocol::control::{Failure, Place};
use punctual_guest_protocol::options::ReadMode;
use punctual_guest_protocol::{Options, Pattern};

use super::{CannotWork, Work};
use crate::memory::{PAGE, Region, Set};

/// How many buffers take turns, so that a read lands in memory that was not written for a while.
const BUFFERS: usize = 16;

/// Reads the disk from end to end, again and again, and checks every byte.
///
/// Each read goes to the next of several buffers. What a buffer holds is checked when it has been
/// read, and once more before it is used again: so a read that reached memory on the old host and
/// was lost on the way to the new one shows, even when it was checked before the move.
pub(super) struct Reader {
    disk: Disk,
    pattern: Pattern,
    mode: ReadMode,
    read_size: usize,
    buffers: Region,
    /// The position on the disk that each buffer holds.
    held: [Option<u64>; BUFFERS],
    /// Number of the next read.
    turn: u64,
    /// Blocks that are due.
    due: u64,
    bytes_checked: u64,
}

/// The disk, opened twice.
struct Disk {
    direct: File,
    buffered: File,
    length: u64,
}

impl Disk {
    fn open(path: &str) -> io::Result<Self> {
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
        let mut buffered = File::open(path)?;
        let length = buffered.seek(SeekFrom::End(0))?;
        Ok(Self { direct, buffered, length })
    }
}

impl Reader {
    pub(super) fn open(options: &Options) -> Result<Self, CannotWork> {
        Self::new(Disk::open("/dev/vda")?, options)
    }

    fn new(disk: Disk, options: &Options) -> Result<Self, CannotWork> {
        let read_size = usize::try_from(options.read_size).unwrap_or(0);
        if read_size == 0 || read_size % PAGE != 0 {
            return Err(CannotWork::ReadSize(options.read_size));
        }
        let bytes = (BUFFERS * read_size) as u64;
        let buffers = Region::new(bytes).map_err(|source| CannotWork::Memory { bytes, source })?;
        Ok(Self {
            disk,
            pattern: Pattern::new(options.seed),
            mode: options.read,
            read_size,
            buffers,
            held: [None; BUFFERS],
            turn: 0,
            due: 0,
            bytes_checked: 0,
        })
    }

    fn blocks_per_read(&self) -> u64 {
        (self.read_size / PAGE) as u64
    }

    fn read_next(&mut self) -> Result<(), Failure> {
        let buffer = (self.turn % BUFFERS as u64) as usize;
        self.settle(buffer)?;
        let reads = (self.disk.length / self.read_size as u64).max(1);
        let position = self.turn % reads * self.read_size as u64;
        self.held[buffer] = None;
        if let Err(error) = self.read(buffer, position) {
            println!("punctual: reading the disk at {position} failed: {error}");
            return Err(Failure {
                place: Place::Disk,
                page: position / PAGE as u64,
                offset: 0,
                expected: 0,
                found: 0,
                address: None,
            });
        }
        self.held[buffer] = Some(position);
        self.turn += 1;
        self.settle(buffer)?;
        self.bytes_checked += self.read_size as u64;
        Ok(())
    }

    fn read(&mut self, buffer: usize, position: u64) -> io::Result<()> {
        let direct = match self.mode {
            ReadMode::Direct => true,
            ReadMode::Buffered => false,
            ReadMode::Both => self.turn.is_multiple_of(2),
        };
        let target = &mut self.buffers.bytes_mut()[buffer * self.read_size..][..self.read_size];
        if direct {
            return self.disk.direct.read_exact_at(target, position);
        }
        self.disk.buffered.read_exact_at(target, position)?;
        // The next pass is to read from the disk again, not from the page cache.
        let (start, length) = (position as libc::off_t, self.read_size as libc::off_t);
        let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        posix_fadvise(&self.disk.buffered, start, length, advice)?;
        Ok(())
    }

    /// Checks a buffer; one with a wrong byte is reported once and then forgotten.
    fn settle(&mut self, buffer: usize) -> Result<(), Failure> {
        let result = self.check_buffer(buffer);
        if result.is_err() {
            self.held[buffer] = None;
        }
        result
    }

    fn check_buffer(&self, buffer: usize) -> Result<(), Failure> {
        let Some(position) = self.held[buffer] else { return Ok(()) };
        let start = buffer * self.read_size;
        let content = &self.buffers.bytes()[start..][..self.read_size];
        let Some(wrong) = self.pattern.first_wrong(position, content) else { return Ok(()) };
        let at = start + (wrong.position - position) as usize;
        Err(Failure {
            page: wrong.position / PAGE as u64,
            offset: wrong.position % PAGE as u64,
            ..self.buffers.failure(Place::Disk, at, wrong.expected)
        })
    }
}

impl Work for Reader {
    /// A unit is a block of 4 KiB.
    fn work(&mut self, _: &mut Set, units: u64, _: Duration) -> Result<u64, Failure> {
        self.due = (self.due + units).min(8 * self.blocks_per_read());
        let mut done = 0;
        while self.due >= self.blocks_per_read() {
            self.due -= self.blocks_per_read();
            self.read_next()?;
            done += self.blocks_per_read();
        }
        Ok(done)
    }

    fn check(&self) -> Result<u64, Failure> {
        (0..BUFFERS).try_for_each(|buffer| self.check_buffer(buffer))?;
        Ok(self.buffers.pages() as u64)
    }

    fn disk_bytes_checked(&self) -> u64 {
        self.bytes_checked
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SEED: u64 = 4;
    const BLOCKS: u64 = 64;

    /// A disk in a file: direct reads need a block device, so both handles are buffered.
    fn reader(content: &[u8]) -> Reader {
        let path =
            std::env::temp_dir().join(format!("punctual-reader-{:?}", std::thread::current().id()));
        File::create(&path).unwrap().write_all(content).unwrap();
        let open = || File::open(&path).unwrap();
        let disk = Disk { direct: open(), buffered: open(), length: content.len() as u64 };
        std::fs::remove_file(&path).unwrap();
        let options = Options { seed: SEED, read_size: 4 << 12, ..Options::default() };
        Reader::new(disk, &options).unwrap()
    }

    fn disk_content() -> Vec<u8> {
        let mut content = vec![0; BLOCKS as usize * PAGE];
        Pattern::new(SEED).fill(0, &mut content);
        content
    }

    fn read_all(reader: &mut Reader, blocks: u64) -> Result<u64, Failure> {
        let mut set = Set::new(0, Pattern::new(0)).unwrap();
        (0..blocks).try_fold(0, |sum, _| Ok(sum + reader.work(&mut set, 1, Duration::ZERO)?))
    }

    #[test]
    fn a_sound_disk_is_read_again_and_again() {
        let mut reader = reader(&disk_content());
        assert_eq!(read_all(&mut reader, 3 * BLOCKS), Ok(3 * BLOCKS));
        assert_eq!(reader.disk_bytes_checked(), 3 * BLOCKS * PAGE as u64);
        assert!(reader.check().is_ok());
    }

    #[test]
    fn a_wrong_byte_on_the_disk_is_found_and_reading_goes_on() {
        let mut content = disk_content();
        content[9 * PAGE + 33] ^= 1;
        let mut reader = reader(&content);
        let failure = read_all(&mut reader, BLOCKS).unwrap_err();
        assert_eq!((failure.place, failure.page, failure.offset), (Place::Disk, 9, 33));
        assert_eq!(read_all(&mut reader, 40), Ok(40));
    }

    #[test]
    fn a_read_that_is_lost_after_its_check_is_found() {
        let mut reader = reader(&disk_content());
        assert!(read_all(&mut reader, BLOCKS).is_ok());
        reader.buffers.bytes_mut()[5 * PAGE] ^= 1;
        assert_eq!(reader.check().unwrap_err().page, 5);
        assert_eq!(read_all(&mut reader, BLOCKS).unwrap_err().page, 5);
    }
}
