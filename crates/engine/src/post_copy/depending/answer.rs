//! Answers to a source that comes back when nothing is missing any more.

use punctual_wire::{DestinationMessage, Faults, PageLine, SourceMessage};

use super::LAST_WORD;
use crate::Connection;

/// Tells a source that dials again, because it has not heard it, that its machine is whole.
///
/// `line` is what the source has said with [`Serve`](punctual_wire::Serve), `faults` what is known of
/// what was waited for. A faults line is closed without a word: the source hears it on the other.
/// Blocks for at most 2 s, until the source has closed the connection.
pub fn answer_whole(connection: Connection, line: PageLine, faults: Faults) {
    answer(connection, line, &DestinationMessage::Whole { faults, digest: None });
}

/// Tells a source that dials again that its machine has ended, and why. As [`answer_whole`].
pub fn answer_failed(connection: Connection, line: PageLine, reason: &str) {
    answer(connection, line, &DestinationMessage::Failed { reason: reason.to_owned() });
}

fn answer(mut connection: Connection, line: PageLine, message: &DestinationMessage) {
    if line == PageLine::Push
        && connection.sender.send(message).is_ok()
        && connection.receiver.set_silence(LAST_WORD).is_ok()
    {
        // The source says nothing more: this ends when it has closed the connection, or in time.
        let _ = connection.receiver.receive_message::<SourceMessage>();
    }
    connection.closer.close();
}
