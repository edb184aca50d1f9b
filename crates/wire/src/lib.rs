//! What travels between two hosts: messages, page encodings, versions, limits. Pure.

mod message;

pub use message::{
    DestinationMessage, HostName, Inquiry, MigrationId, Offer, Outcome, Refusal, SourceMessage,
};
