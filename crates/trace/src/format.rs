//! What reader and writer of the file share; `docs/trace-format.md` describes all of it.
//!
//! ```text
//!  header: magic (8) | version (2) | zero (2) | scans (4) | length (8) | checksum (8)
//!  block:  unpacked (4) | packed (4) | checksum (8) | packed bytes
//!  stream (the unpacked blocks, one after the other): about, then scan after scan
//! ```

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How every trace begins. The last two bytes show a transfer as text that changes line ends.
pub(crate) const MAGIC: [u8; 8] = *b"PNTRAC\r\n";

/// The version that this crate writes and reads.
pub(crate) const VERSION: u16 = 1;

/// The bytes of the header.
pub(crate) const HEADER: usize = 32;

/// How many bytes of the header its checksum covers.
const CHECKED: usize = HEADER - 8;

/// The bytes in front of each block.
pub(crate) const BLOCK_HEAD: usize = 16;

/// The most bytes of the stream in one block, and the number in all but the last.
pub(crate) const BLOCK: usize = 256 << 10;

/// The bits of the byte that says what is true of the machine.
pub(crate) const DIRECT_IO: u8 = 1;

/// The header as read and checked.
pub(crate) struct Header {
    pub(crate) scans: u32,
    /// The bytes of the whole file.
    pub(crate) length: u64,
}

impl Header {
    pub(crate) fn write(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.scans.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        let checksum = xxh3_64(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header, if its checksum is right; magic and version have been looked at.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let checksum = u64_at(bytes, CHECKED);
        (checksum == xxh3_64(&bytes[..CHECKED]))
            .then(|| Self { scans: u32_at(bytes, 12), length: u64_at(bytes, 16) })
    }
}

/// The head of a block.
pub(crate) struct BlockHead {
    pub(crate) unpacked: u32,
    pub(crate) packed: u32,
    pub(crate) checksum: u64,
}

impl BlockHead {
    pub(crate) fn write(&self) -> [u8; BLOCK_HEAD] {
        let mut bytes = [0; BLOCK_HEAD];
        bytes[..4].copy_from_slice(&self.unpacked.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.packed.to_le_bytes());
        bytes[8..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8; BLOCK_HEAD]) -> Self {
        Self { unpacked: u32_at(bytes, 0), packed: u32_at(bytes, 4), checksum: u64_at(bytes, 8) }
    }

    /// The checksum of a block. Its number is part of it, so that no block passes for another.
    pub(crate) fn checksum_of(&self, number: u64, payload: &[u8]) -> u64 {
        let mut hasher = Xxh3::with_seed(number);
        hasher.update(&self.unpacked.to_le_bytes());
        hasher.update(&self.packed.to_le_bytes());
        hasher.update(payload);
        hasher.digest()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
