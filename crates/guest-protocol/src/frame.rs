//! The frames that a guest streams over TCP: header, then payload, 25 times a second.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Pattern;

/// Time between two frames.
pub const PERIOD: Duration = Duration::from_millis(40);

/// Length of a frame's header, in bytes.
pub const HEADER_LENGTH: usize = size_of::<RawHeader>();

/// The longest payload that a receiver accepts, in bytes (209 Mbit/s at 25 frames a second).
pub const MAX_PAYLOAD: usize = 1 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"PFRM");
const VERSION: u16 = 1;

/// What a frame's header says about the payload that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many frames went to this client before this one.
    pub sequence: u64,
    /// Length of the payload in bytes, at most [`MAX_PAYLOAD`].
    pub length: usize,
    /// XXH3-64 of the payload.
    pub checksum: u64,
}

/// Why bytes are not a sound frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It does not start with the magic number: the stream is broken or is something else.
    #[error("a frame begins with {0:#010x}, which is not its magic number")]
    Magic(u32),
    /// It has another version.
    #[error(
        "the frame has version {0}, this program knows version {VERSION}: rebuild the guest with `make guests`"
    )]
    Version(u16),
    /// The payload would be longer than allowed.
    #[error("a frame of {0} bytes is announced; at most {MAX_PAYLOAD} are allowed")]
    TooLong(usize),
    /// The payload is not what the header announced.
    #[error(
        "the payload of frame {sequence} has checksum {found:#018x}, announced was {announced:#018x}"
    )]
    Checksum {
        /// Number of the frame.
        sequence: u64,
        /// Checksum in the header.
        announced: u64,
        /// Checksum of what came.
        found: u64,
    },
}

/// The bytes on the wire: little-endian, no gaps.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: U32,
    version: U16,
    reserved: U16,
    sequence: U64,
    length: U32,
    reserved_too: U32,
    checksum: U64,
}

/// Makes frame `sequence` with a payload of `length` bytes from `pattern`, header first.
///
/// # Panics
///
/// If `length` is more than [`MAX_PAYLOAD`].
#[must_use]
pub fn encode(pattern: Pattern, sequence: u64, length: usize) -> Vec<u8> {
    assert!(length <= MAX_PAYLOAD, "a frame of {length} bytes is longer than {MAX_PAYLOAD}");
    let mut frame = vec![0; HEADER_LENGTH + length];
    let (header, payload) = frame.split_at_mut(HEADER_LENGTH);
    pattern.part(sequence).fill(0, payload);
    let raw = RawHeader {
        magic: MAGIC.into(),
        version: VERSION.into(),
        reserved: 0.into(),
        sequence: sequence.into(),
        length: (length as u32).into(),
        reserved_too: 0.into(),
        checksum: xxh3_64(payload).into(),
    };
    header.copy_from_slice(raw.as_bytes());
    frame
}

impl Header {
    /// Reads a received header.
    ///
    /// # Errors
    ///
    /// [`BadFrame`] if these bytes do not begin a frame, or announce too long a payload.
    pub fn from_bytes(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, BadFrame> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.magic != MAGIC {
            return Err(BadFrame::Magic(raw.magic.get()));
        }
        if raw.version != VERSION {
            return Err(BadFrame::Version(raw.version.get()));
        }
        let length = raw.length.get() as usize;
        if length > MAX_PAYLOAD {
            return Err(BadFrame::TooLong(length));
        }
        Ok(Self { sequence: raw.sequence.get(), length, checksum: raw.checksum.get() })
    }

    /// Compares a received payload with what this header announced.
    ///
    /// # Errors
    ///
    /// [`BadFrame::Checksum`] if it is another one.
    pub fn check(&self, payload: &[u8]) -> Result<(), BadFrame> {
        let found = xxh3_64(payload);
        if found == self.checksum {
            return Ok(());
        }
        Err(BadFrame::Checksum { sequence: self.sequence, announced: self.checksum, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(frame: &[u8]) -> (&[u8; HEADER_LENGTH], &[u8]) {
        frame.split_first_chunk().unwrap()
    }

    #[test]
    fn a_frame_is_read_back() {
        let frame = encode(Pattern::new(3), 12, 5000);
        let (header, payload) = split(&frame);
        let header = Header::from_bytes(header).unwrap();
        assert_eq!((header.sequence, header.length), (12, 5000));
        assert_eq!(header.check(payload), Ok(()));
        assert!(matches!(
            header.check(&payload[1..]),
            Err(BadFrame::Checksum { sequence: 12, .. })
        ));
    }

    #[test]
    fn golden_header() {
        let frame = encode(Pattern::new(0), 1, 0);
        let mut expected = b"PFRM\x01\x00\x00\x00".to_vec();
        expected.extend(1_u64.to_le_bytes());
        expected.extend([0; 8]);
        expected.extend(0x2d06_8005_38d3_94c2_u64.to_le_bytes());
        assert_eq!(frame, expected);
    }

    #[test]
    fn broken_headers_are_told_apart() {
        let frame = encode(Pattern::new(0), 1, 0);
        let broken = |at: usize, value: u8| {
            let mut header = *split(&frame).0;
            header[at] = value;
            Header::from_bytes(&header).unwrap_err()
        };
        assert!(matches!(broken(0, 0), BadFrame::Magic(_)));
        assert_eq!(broken(4, 9), BadFrame::Version(9));
        assert!(matches!(broken(19, 0xff), BadFrame::TooLong(_)));
    }
}
