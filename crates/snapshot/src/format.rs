//! What reader and writer share; `docs/snapshot-format.md` describes all of it.
//!
//! ```text
//!  header:  magic (8) | version (2) | zero (6) | length (8) | end (8) | sections (8) | id (16) | checksum (8)
//!  section: kind (4) | length (4) | checksum (8) | bytes
//!  about, description, pages …, device state …, end
//! ```

use punctual_wire::Kind as Frame;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::SnapshotId;

/// How every snapshot begins. The last two bytes show a transfer as text that changes line ends.
pub(crate) const MAGIC: [u8; 8] = *b"PNSNAP\r\n";

/// The version that this crate writes and reads.
pub const VERSION: u16 = 1;

/// The bytes of the header.
pub(crate) const HEADER: usize = 64;

/// How many bytes of the header its checksum covers.
const CHECKED: usize = HEADER - 8;

/// The bytes in front of each section.
pub(crate) const SECTION_HEAD: usize = 16;

/// The most bytes of device state in one section.
pub const LONGEST_PIECE: usize = 256 << 10;

/// What is in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// [`About`](crate::About), in JSON.
    About = 1,
    /// The machine as its host describes it, in JSON; the room `guest` knows its shape.
    Description = 2,
    /// Packed pages.
    Pages = 3,
    /// A piece of the device state.
    DeviceState = 4,
    /// [`Ending`](crate::Ending), in JSON.
    End = 5,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::About, Self::Description, Self::Pages, Self::DeviceState, Self::End];

    /// The most bytes that a section of this kind has; checked before anything is allocated for it.
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::About | Self::End => 1 << 20,
            Self::Description => 4 << 20,
            Self::Pages => Frame::PackedPages.limit(),
            Self::DeviceState => LONGEST_PIECE,
        }
    }

    /// What it is called where it is damaged.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::About => "what it says about itself",
            Self::Description => "the machine's description",
            Self::Pages => "pages",
            Self::DeviceState => "device state",
            Self::End => "its last section",
        }
    }
}

/// The header as read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The bytes of the whole file.
    pub(crate) length: u64,
    /// Where the last section begins.
    pub(crate) end: u64,
    /// How many sections there are.
    pub(crate) sections: u64,
    pub(crate) id: SnapshotId,
}

impl Header {
    pub(crate) fn write(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sections.to_le_bytes());
        bytes[40..CHECKED].copy_from_slice(&self.id.0.to_le_bytes());
        let checksum = xxh3_64(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header, if its checksum is right; magic and version have been looked at.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let id = u128::from_le_bytes(bytes[40..CHECKED].try_into().expect("sixteen bytes"));
        (u64_at(bytes, CHECKED) == xxh3_64(&bytes[..CHECKED])).then(|| Self {
            length: u64_at(bytes, 16),
            end: u64_at(bytes, 24),
            sections: u64_at(bytes, 32),
            id: SnapshotId(id),
        })
    }
}

/// The head of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectionHead {
    pub(crate) kind: Kind,
    pub(crate) length: usize,
    checksum: u64,
}

impl SectionHead {
    /// The head of the section of this number, counted from 0.
    pub(crate) fn of(kind: Kind, number: u64, payload: &[u8]) -> Self {
        let length = payload.len();
        Self { kind, length, checksum: checksum(kind, number, payload) }
    }

    pub(crate) fn write(&self) -> [u8; SECTION_HEAD] {
        let mut bytes = [0; SECTION_HEAD];
        bytes[..8].copy_from_slice(&first_half(self.kind, self.length));
        bytes[8..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// The head, if there can be such a section.
    pub(crate) fn read(bytes: &[u8; SECTION_HEAD]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u32 == number(0))?;
        let length = usize::try_from(number(4)).ok().filter(|length| *length <= kind.limit())?;
        Some(Self { kind, length, checksum: u64_at(bytes, 8) })
    }

    /// Whether these are the bytes of the section of this number. The number is part of the
    /// checksum, so that no section passes for another.
    pub(crate) fn fits(&self, number: u64, payload: &[u8]) -> bool {
        self.length == payload.len() && self.checksum == checksum(self.kind, number, payload)
    }
}

fn checksum(kind: Kind, number: u64, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(number);
    hasher.update(&first_half(kind, payload.len()));
    hasher.update(payload);
    hasher.digest()
}

fn first_half(kind: Kind, length: usize) -> [u8; 8] {
    let length = u32::try_from(length).expect("at most the limit of a kind");
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(kind as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&length.to_le_bytes());
    bytes
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
