//! The threads of the source that wait for others: the destination, and the hypervisor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use punctual_guest::qemu::native::{Milestone, Watch};
use punctual_link::Receiver;
use punctual_wire::DestinationMessage;

use super::core::Event;

/// How long the thread that waits for milestones waits at a time.
const WATCH: Duration = Duration::from_millis(100);

/// What happened, and when.
pub(super) type Timed = (Instant, Event);

/// Turns what the destination says into events, until the link ends.
pub(super) fn listen(mut receiver: Receiver, events: Sender<Timed>) {
    thread::spawn(move || {
        loop {
            let heard = receiver.receive_message::<DestinationMessage>();
            let ended = heard.is_err();
            let event = match heard {
                Ok(message) => Event::Heard(message),
                Err(error) => Event::LinkLost(error.to_string()),
            };
            if events.send((Instant::now(), event)).is_err() || ended {
                return;
            }
        }
    });
}

/// Turns the milestones of the hypervisor's migration into events, until there are no more or it is
/// `over`. Times count from `begin`.
pub(super) fn watch(
    mut watch: Watch,
    events: Sender<Timed>,
    over: Arc<AtomicBool>,
    begin: Instant,
) -> io::Result<()> {
    let watch = move || {
        while !over.load(Ordering::SeqCst) {
            let Some(milestone) = watch.next(WATCH) else { continue };
            let (event, last) = match milestone {
                Milestone::Stopped { at } => {
                    (Event::Stopped { since: at.saturating_duration_since(begin) }, false)
                }
                Milestone::Saved => (Event::Saved, true),
                Milestone::Failed { reason } => (Event::GaveUp(reason), true),
            };
            if events.send((Instant::now(), event)).is_err() || last {
                return;
            }
        }
    };
    thread::Builder::new().name("milestones".to_owned()).spawn(watch).map(drop)
}
