//! What travels between two hosts: messages, page encodings, versions, limits. Pure.
//!
//! - [`frame`]: the header before everything, its limits and checksum;
//! - [`Versions`]: how two hosts find the version that they speak;
//! - [`SourceMessage`], [`DestinationMessage`]: what is said, and [`encode`], [`decode`];
//! - [`pages`]: how pages of memory are encoded, and put in place.
//!
//! Nothing here trusts what came over the network: decoding does not panic, and allocates in
//! proportion to limits, not to what a length field claims.

mod encoding;
pub mod frame;
mod handshake;
mod message;
pub mod pages;
mod runs;

pub use encoding::{Message, MessageError, decode, encode};
pub use frame::{FrameError, HEADER_LENGTH, Header, Kind};
pub use handshake::{HelloError, NoCommonVersion, Version, Versions};
pub use message::{
    DestinationMessage, Engine, Faults, HostName, Inquiry, MigrationId, Offer, Outcome, PIECE,
    PageLine, Refusal, Serve, SourceMessage,
};
pub use runs::{PageRuns, RunsError};
