//! How pages of memory travel: raw, or packed by an [`Encoder`] and put in place by a [`Decoder`].
//!
//! Raw pages follow a frame that tells which they are ([`RawPages`]). Packed pages are the payload
//! of a frame, a sequence of entries, each of which begins with a byte that tells its form:
//!
//! | form | | what follows |
//! | --- | --- | --- |
//! | 0 | zero | `gap`, `count`: so many pages are all zero |
//! | 1 | compressed | `gap`, `count` (1 to 16), `length`, and so many bytes: an LZ4 block that holds the pages |
//! | 2 | plain | `gap`, `count` (1 to 16), and the pages |
//! | 3 | changes | `gap`, `pieces`, and for each `distance`, `length` and so many bytes: parts of one page |
//!
//! Numbers are LEB128. `gap` is the first page minus the page behind the entry before (0 before the
//! first entry), zigzag; `distance` is the piece's offset minus the end of the piece before.
//! Entries other than zero runs stay inside one region of memory.
//!
//! *Changes* need to know what the destination has. The encoder keeps no copies of pages but a
//! keyed fingerprint of each block of a page that has been sent more than once, which costs 1/16 of
//! the page, see [`Encoder`].

mod decoder;
mod encoder;
mod fingerprints;
mod format;
mod raw;

pub use decoder::{DecodeError, Decoder, Malformed, PageSink};
pub use encoder::{Encoded, Encoder, FINGERPRINT_KEY_LENGTH};
pub use format::Fault;
pub use raw::{RawPages, RawPagesError};

use punctual_units::PAGE_SIZE;

/// The bytes of a page, as a `usize`.
pub(crate) const PAGE: usize = PAGE_SIZE.get() as usize;

/// How many neighbouring pages are compressed together at most.
pub(crate) const CHUNK_PAGES: usize = 16;
