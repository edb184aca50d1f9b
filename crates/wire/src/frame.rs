//! Frames: everything that travels is a fixed header and a payload.
//!
//! ```text
//!  0        4         6      7      8         12           20
//!  ├────────┼─────────┼──────┼──────┼─────────┼────────────┤
//!  │ "PNCT" │ version │ kind │ zero │ length  │ checksum   │  payload: `length` bytes
//!  └────────┴─────────┴──────┴──────┴─────────┴────────────┘
//! ```
//!
//! All numbers are little endian. The checksum is XXH3-64 over the first 12 bytes of the header and
//! the payload. The bytes of raw pages follow their frame and are in neither length nor checksum,
//! since `sendfile` sends them unseen. This layout is the same in every version of the protocol.

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Version;

/// How many bytes a header has.
pub const HEADER_LENGTH: usize = size_of::<Layout>();

const MAGIC: [u8; 4] = *b"PNCT";

/// How many bytes of the header the checksum covers: all that precede it.
const CHECKED: usize = HEADER_LENGTH - size_of::<U64>();

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The range of versions that a host speaks; the first frame in either direction.
    Hello = 1,
    /// A [`SourceMessage`](crate::SourceMessage).
    Source = 2,
    /// A [`DestinationMessage`](crate::DestinationMessage).
    Destination = 3,
    /// Which pages follow behind the frame, see [`RawPages`](crate::pages::RawPages).
    RawPages = 4,
    /// Encoded pages, see [`pages`](crate::pages).
    PackedPages = 5,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Hello, Self::Source, Self::Destination, Self::RawPages, Self::PackedPages];

    /// The longest payload of this kind, in bytes. A longer one is refused before anything is
    /// allocated for it.
    ///
    /// The decoded form of a message may take some 32 times its payload in the worst case, so the
    /// limit of messages is small: large things travel in pieces.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Hello => 64,
            Self::Source | Self::Destination => 256 << 10,
            Self::RawPages => crate::pages::RawPages::LENGTH,
            Self::PackedPages => 256 << 10,
        }
    }
}

/// Why a frame was not taken. After any of these the rest of the connection has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The other side speaks something else.
    #[error(
        "the frame begins with {found:02x?}, not {MAGIC:02x?}: something other than Punctual is \
         at this address"
    )]
    Magic {
        /// What came.
        found: [u8; 4],
    },
    /// A version that was not agreed on.
    #[error("the frame is of version {found}, but {agreed} was agreed on")]
    Version {
        /// What came.
        found: Version,
        /// What was agreed on.
        agreed: Version,
    },
    /// A kind that this version does not have.
    #[error("there is no frame of kind {found}")]
    Kind {
        /// What came.
        found: u8,
    },
    /// A byte that must be zero is not.
    #[error("byte 7 of the header is {found}, not 0")]
    Reserved {
        /// What came.
        found: u8,
    },
    /// More than this kind of frame may have.
    #[error("a {kind:?} frame of {length} bytes is longer than the {} that are allowed", kind.limit())]
    TooLong {
        /// The kind.
        kind: Kind,
        /// Its length.
        length: usize,
    },
    /// Header or payload changed on the way.
    #[error(
        "the checksum of a {kind:?} frame of {length} bytes is {computed:016x}, not {stated:016x} \
         as stated: it changed on the way"
    )]
    Checksum {
        /// The kind.
        kind: Kind,
        /// The length of the payload.
        length: usize,
        /// The checksum that the header states.
        stated: u64,
        /// The checksum of what came.
        computed: u64,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: U16,
    kind: u8,
    zero: u8,
    length: U32,
    checksum: U64,
}

/// A header that has been read: its kind is known and its length is within the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// How many bytes the payload has, at most [`Kind::limit`].
    pub length: usize,
    /// Over the header's first part, on which the payload's bytes follow.
    checked: [u8; CHECKED],
    checksum: u64,
}

impl Header {
    /// The header that goes before `payload`.
    ///
    /// # Errors
    /// The payload is longer than its kind allows.
    pub fn write(
        version: Version,
        kind: Kind,
        payload: &[u8],
    ) -> Result<[u8; HEADER_LENGTH], FrameError> {
        let too_long = FrameError::TooLong { kind, length: payload.len() };
        if payload.len() > kind.limit() {
            return Err(too_long);
        }
        let mut layout = Layout {
            magic: MAGIC,
            version: U16::new(version.0),
            kind: kind as u8,
            zero: 0,
            length: U32::new(u32::try_from(payload.len()).map_err(|_| too_long)?),
            checksum: U64::ZERO,
        };
        layout.checksum = U64::new(checksum(&layout.as_bytes()[..CHECKED], payload));
        Ok(zerocopy::transmute!(layout))
    }

    /// Reads a header. `agreed` is the version that the handshake found, or
    /// [`Version::HANDSHAKE`] before.
    ///
    /// # Errors
    /// It is no header of this version, or its payload would be too long.
    pub fn read(bytes: &[u8; HEADER_LENGTH], agreed: Version) -> Result<Self, FrameError> {
        let layout: &Layout = zerocopy::transmute_ref!(bytes);
        if layout.magic != MAGIC {
            return Err(FrameError::Magic { found: layout.magic });
        }
        let version = Version(layout.version.get());
        if version != agreed {
            return Err(FrameError::Version { found: version, agreed });
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| *kind as u8 == layout.kind)
            .ok_or(FrameError::Kind { found: layout.kind })?;
        if layout.zero != 0 {
            return Err(FrameError::Reserved { found: layout.zero });
        }
        let length = layout.length.get() as usize;
        if length > kind.limit() {
            return Err(FrameError::TooLong { kind, length });
        }
        let mut checked = [0; CHECKED];
        checked.copy_from_slice(&bytes[..CHECKED]);
        Ok(Self { kind, length, checked, checksum: layout.checksum.get() })
    }

    /// Checks that header and payload came as they were sent.
    ///
    /// # Errors
    /// They did not.
    pub fn check(&self, payload: &[u8]) -> Result<(), FrameError> {
        let computed = checksum(&self.checked, payload);
        if computed == self.checksum && payload.len() == self.length {
            return Ok(());
        }
        let (kind, length) = (self.kind, payload.len());
        Err(FrameError::Checksum { kind, length, stated: self.checksum, computed })
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: Version = Version(1);

    fn frame() -> [u8; HEADER_LENGTH] {
        Header::write(V, Kind::Source, b"payload").unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let header = Header::read(&frame(), V).unwrap();
        assert_eq!((header.kind, header.length), (Kind::Source, 7));
        assert_eq!(header.check(b"payload"), Ok(()));
    }

    #[test]
    fn any_changed_bit_is_found() {
        for bit in 0..HEADER_LENGTH * 8 {
            let mut bytes = frame();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let taken = Header::read(&bytes, V).and_then(|header| header.check(b"payload"));
            assert!(taken.is_err(), "bit {bit}");
        }
        let error = Header::read(&frame(), V).unwrap().check(b"paXload").unwrap_err();
        assert!(error.to_string().contains("it changed on the way"), "{error}");
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_the_header_alone() {
        for kind in Kind::ALL {
            let longest = vec![0; kind.limit()];
            let mut bytes = Header::write(V, kind, &longest).unwrap();
            assert_eq!(Header::read(&bytes, V).unwrap().length, kind.limit());
            let too_long = u32::try_from(kind.limit() + 1).unwrap();
            bytes[8..12].copy_from_slice(&too_long.to_le_bytes());
            let error = Header::read(&bytes, V).unwrap_err();
            assert_eq!(error, FrameError::TooLong { kind, length: kind.limit() + 1 });
            assert!(Header::write(V, kind, &vec![0; kind.limit() + 1]).is_err());
        }
    }

    #[test]
    fn what_is_at_the_wrong_address_is_named() {
        let error = Header::read(b"HTTP/1.1 400 Bad Req", V).unwrap_err();
        assert!(error.to_string().contains("something other than Punctual"), "{error}");
        let error = Header::read(&frame(), Version(2)).unwrap_err();
        assert_eq!(error, FrameError::Version { found: V, agreed: Version(2) });
    }
}
