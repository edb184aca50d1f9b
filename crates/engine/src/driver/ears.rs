//! The thread of the source that hears the destination.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use punctual_link::Receiver;
use punctual_wire::DestinationMessage;

use super::told;
use crate::source::Event;

/// What happened, and when: the moment of an acknowledgement's arrival is what the bandwidth is
/// measured by, however late it is looked at.
pub(super) type Timed = (Instant, Event);

/// Turns what the destination says into events, until the link ends.
pub(super) fn listen(mut receiver: Receiver, events: mpsc::Sender<Timed>) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            let heard = receiver.receive_message::<DestinationMessage>();
            let ended = heard.is_err();
            let event = match heard {
                Ok(message) => Event::Heard(message),
                Err(error) => Event::LinkLost(told(&error)),
            };
            if events.send((Instant::now(), event)).is_err() || ended {
                return;
            }
        }
    })
}
