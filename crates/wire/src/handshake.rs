//! How two hosts find the protocol version that they speak with each other.
//!
//! Either side first sends a `Hello` frame with the range of versions that it speaks. Both compute
//! the same answer from the two ranges: the newest version that is in both.

use std::fmt;

use thiserror::Error;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// What the headers of the handshake itself carry, now and in every later version.
    pub const HANDSHAKE: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions that a host speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    oldest: Version,
    newest: Version,
}

/// Two hosts that have no version in common.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "this host speaks versions {mine} of the protocol and the other one {theirs}: \
     install a newer Punctual on {}", if mine.newest < theirs.oldest { "this host" } else { "the other host" }
)]
pub struct NoCommonVersion {
    mine: Versions,
    theirs: Versions,
}

/// Why a `Hello` was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HelloError {
    /// Too few bytes.
    #[error("a Hello has at least 4 bytes, this one {length}")]
    Short {
        /// How many there are.
        length: usize,
    },
    /// No range of versions.
    #[error("a Hello offers versions {oldest} to {newest}, which is no range")]
    Range {
        /// The oldest, as offered.
        oldest: Version,
        /// The newest, as offered.
        newest: Version,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    oldest: U16,
    newest: U16,
}

impl Versions {
    /// What this program speaks.
    pub const SPOKEN: Self = Self { oldest: Version(2), newest: Version(2) };

    /// The range `oldest..=newest`; `None` if that is none, or has the handshake's own number.
    #[must_use]
    pub fn new(oldest: Version, newest: Version) -> Option<Self> {
        (Version::HANDSHAKE < oldest && oldest <= newest).then_some(Self { oldest, newest })
    }

    /// The newest version that both ranges have.
    ///
    /// # Errors
    /// There is none.
    ///
    /// ```
    /// # use punctual_wire::{Version, Versions};
    /// let mine = Versions::new(Version(1), Version(3)).expect("a range");
    /// let theirs = Versions::new(Version(2), Version(5)).expect("a range");
    /// assert_eq!(mine.agree(theirs), Ok(Version(3)));
    /// ```
    pub fn agree(self, theirs: Self) -> Result<Version, NoCommonVersion> {
        let newest = self.newest.min(theirs.newest);
        let common = newest >= self.oldest && newest >= theirs.oldest;
        if common { Ok(newest) } else { Err(NoCommonVersion { mine: self, theirs }) }
    }

    /// The payload of a `Hello`.
    #[must_use]
    pub fn to_hello(self) -> [u8; 4] {
        zerocopy::transmute!(Layout {
            oldest: U16::new(self.oldest.0),
            newest: U16::new(self.newest.0),
        })
    }

    /// Reads the payload of a `Hello`. Later versions may add to it: more bytes are passed over.
    ///
    /// # Errors
    /// It is too short, or states no range.
    pub fn from_hello(payload: &[u8]) -> Result<Self, HelloError> {
        let (layout, _) = Layout::ref_from_prefix(payload)
            .map_err(|_| HelloError::Short { length: payload.len() })?;
        let (oldest, newest) = (Version(layout.oldest.get()), Version(layout.newest.get()));
        Self::new(oldest, newest).ok_or(HelloError::Range { oldest, newest })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(oldest: u16, newest: u16) -> Versions {
        Versions::new(Version(oldest), Version(newest)).unwrap()
    }

    #[test]
    fn the_newest_common_version_is_picked_from_either_side() {
        for (a, b, agreed) in [
            (versions(1, 3), versions(2, 5), Version(3)),
            (versions(1, 3), versions(1, 1), Version(1)),
            (versions(2, 2), versions(1, 9), Version(2)),
        ] {
            assert_eq!(a.agree(b), Ok(agreed));
            assert_eq!(b.agree(a), Ok(agreed));
        }
    }

    #[test]
    fn without_a_common_version_the_older_host_is_named() {
        let error = versions(1, 2).agree(versions(3, 4)).unwrap_err();
        assert!(error.to_string().ends_with("install a newer Punctual on this host"), "{error}");
        let error = versions(3, 4).agree(versions(1, 2)).unwrap_err();
        assert!(error.to_string().ends_with("on the other host"), "{error}");
    }

    #[test]
    fn a_hello_is_read_as_written_and_may_grow() {
        let mut hello = versions(2, 7).to_hello().to_vec();
        assert_eq!(hello, [2, 0, 7, 0]);
        hello.extend_from_slice(b"what a later version adds");
        assert_eq!(Versions::from_hello(&hello), Ok(versions(2, 7)));
        assert_eq!(Versions::from_hello(&hello[..3]), Err(HelloError::Short { length: 3 }));
        assert!(Versions::from_hello(&[0, 0, 1, 0]).is_err());
        assert!(Versions::from_hello(&[3, 0, 2, 0]).is_err());
    }
}
