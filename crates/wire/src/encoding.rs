//! Messages as bytes: postcard, in one frame each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::frame::Kind;
use crate::{DestinationMessage, SourceMessage};

/// What one side of a move says to the other.
pub trait Message: Serialize + DeserializeOwned + sealed::Sealed {
    /// The kind of frame that it travels in.
    const KIND: Kind;

    /// The name of the message, as in logs and errors.
    fn name(&self) -> &'static str;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::SourceMessage {}
    impl Sealed for super::DestinationMessage {}
}

impl Message for SourceMessage {
    const KIND: Kind = Kind::Source;

    fn name(&self) -> &'static str {
        match self {
            Self::Offer(_) => "Offer",
            Self::Probe(_) => "Probe",
            Self::ProbeEnd => "ProbeEnd",
            Self::RoundEnd { .. } => "RoundEnd",
            Self::DeviceState(_) => "DeviceState",
            Self::Missing(_) => "Missing",
            Self::HandOver { .. } => "HandOver",
            Self::Commit => "Commit",
            Self::Abort { .. } => "Abort",
            Self::Inquire(_) => "Inquire",
            Self::Serve(_) => "Serve",
            Self::Tunnel { .. } => "Tunnel",
        }
    }
}

impl Message for DestinationMessage {
    const KIND: Kind = Kind::Destination;

    fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "Accepted",
            Self::Refused(_) => "Refused",
            Self::Probed { .. } => "Probed",
            Self::Prepared => "Prepared",
            Self::Received { .. } => "Received",
            Self::Ready { .. } => "Ready",
            Self::Running { .. } => "Running",
            Self::Failed { .. } => "Failed",
            Self::Outcome(_) => "Outcome",
            Self::Forgotten { .. } => "Forgotten",
            Self::Want(_) => "Want",
            Self::Lacking { .. } => "Lacking",
            Self::Whole { .. } => "Whole",
        }
    }
}

/// Why a message could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It is longer than a frame may be.
    #[error(
        "the message {name} has {length} bytes, more than the {limit} that are allowed: send it in pieces"
    )]
    TooLong {
        /// The message.
        name: &'static str,
        /// Its length.
        length: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// It has no encoding; none of the messages is such a value.
    #[error("the message {name} cannot be encoded: {cause}")]
    Encode {
        /// The message.
        name: &'static str,
        /// What postcard found.
        cause: postcard::Error,
    },
    /// The bytes are no such message.
    #[error("a {kind:?} frame of {length} bytes holds no message of this version: {cause}")]
    Decode {
        /// The kind of frame.
        kind: Kind,
        /// Its length.
        length: usize,
        /// What postcard found.
        cause: postcard::Error,
    },
    /// Something follows the message.
    #[error("a {kind:?} frame of {length} bytes has {left} bytes behind its message")]
    LeftOver {
        /// The kind of frame.
        kind: Kind,
        /// Its length.
        length: usize,
        /// How many bytes are left.
        left: usize,
    },
}

/// Appends the encoding of `message` to `payload`.
///
/// # Errors
/// It is longer than [`Kind::limit`]. `payload` is as before then.
///
/// ```
/// # use punctual_wire::{SourceMessage, decode, encode};
/// let mut payload = Vec::new();
/// encode(&SourceMessage::RoundEnd { round: 3 }, &mut payload)?;
/// assert_eq!(decode::<SourceMessage>(&payload)?, SourceMessage::RoundEnd { round: 3 });
/// # Ok::<(), punctual_wire::MessageError>(())
/// ```
pub fn encode<M: Message>(message: &M, payload: &mut Vec<u8>) -> Result<(), MessageError> {
    let before = payload.len();
    let written = postcard::to_io(message, &mut *payload).map(|_| ());
    let length = payload.len() - before;
    let (name, limit) = (message.name(), M::KIND.limit());
    let error = match written {
        Ok(()) if length <= limit => return Ok(()),
        Ok(()) => MessageError::TooLong { name, length, limit },
        Err(cause) => MessageError::Encode { name, cause },
    };
    payload.truncate(before);
    Err(error)
}

/// Reads a message, which must fill the payload.
///
/// # Errors
/// The payload is no such message, or too long for one.
pub fn decode<M: Message>(payload: &[u8]) -> Result<M, MessageError> {
    let (kind, length) = (M::KIND, payload.len());
    if length > kind.limit() {
        return Err(MessageError::TooLong { name: "received", length, limit: kind.limit() });
    }
    let (message, rest) = postcard::take_from_bytes(payload)
        .map_err(|cause| MessageError::Decode { kind, length, cause })?;
    if rest.is_empty() {
        return Ok(message);
    }
    Err(MessageError::LeftOver { kind, length, left: rest.len() })
}
