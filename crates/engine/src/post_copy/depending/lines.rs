//! The lines over which pages come: who takes them in, and what is said on them first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use punctual_link::{Incoming, LinkError, Receiver, Sender};
use punctual_wire::pages::{DecodeError, Decoder};
use punctual_wire::{DestinationMessage, PageLine, PageRuns, SourceMessage};
use thiserror::Error;

use super::filling::{Filler, NotFilled};
use super::shared::Shared;
use crate::Connection;
use crate::driver::told;
use crate::post_copy::{SILENCE, place, start};

/// How often it is looked whether there is anything to do but to wait for lines.
const TICK: Duration = Duration::from_millis(50);

/// Why a line of the destination is of no use any more.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Pages(#[from] DecodeError<NotFilled>),
    #[error("{0} came, which has no place here: run one version on both hosts")]
    OutOfPlace(&'static str),
}

/// Takes lines in until it is over. A new line takes the place of the one before.
pub(super) fn run(shared: &Arc<Shared>, lines: &mpsc::Receiver<(PageLine, Connection)>) {
    let mut threads: [Option<JoinHandle<()>>; 2] = [None, None];
    while !shared.is_over() {
        match lines.recv_timeout(TICK) {
            Ok((line, connection)) => {
                let slot = &mut threads[place(line)];
                shared.close(line);
                join(slot.take());
                if !shared.connected(line, connection.closer.clone()) {
                    break;
                }
                let shared = Arc::clone(shared);
                *slot = Some(start("page-line", move || take(&shared, line, connection)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            // No more will come, but those that are there go on.
            Err(RecvTimeoutError::Disconnected) => {
                shared.rest(TICK);
            }
        }
        if shared.unsure.swap(false, Ordering::SeqCst) {
            look_again(shared);
        }
    }
    threads.into_iter().for_each(join);
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // One that has panicked has filled what it has filled.
        let _ = thread.join();
    }
}

/// Where pages could not be counted, or the end failed.
fn look_again(shared: &Shared) {
    let missing = shared.demand.missing().len();
    if missing.get() > 0 {
        // Still unsure: others may be filling while this is counted.
        shared.unsure.store(true, Ordering::SeqCst);
    } else {
        shared.try_to_finish();
    }
}

/// Takes in what comes over a line until it is lost.
fn take(shared: &Shared, line: PageLine, connection: Connection) {
    let Connection { sender, mut receiver, closer } = connection;
    let begun = match line {
        PageLine::Faults => want(shared, sender),
        PageLine::Push => lack(shared, sender),
    };
    let Err(why) = begun.map_err(Broken::from).and_then(|()| fill(shared, line, &mut receiver));
    closer.close();
    shared.lost(line, told(&why));
}

/// Asks for what is waited for, since what was asked for before may be lost.
fn want(shared: &Shared, sender: Sender) -> Result<(), LinkError> {
    {
        // Under its lock: what is in the list is waited for, or filled.
        let mut waiting = shared.waiting();
        waiting.keep(&shared.demand.waited_for());
    }
    shared.open_mouth(PageLine::Faults, sender);
    // Faults that are told from now on are asked for by who hears of them; at worst twice.
    for pages in PageRuns::pieces(&shared.to_ask_for()) {
        shared.say(PageLine::Faults, &DestinationMessage::Want(pages));
    }
    Ok(())
}

/// Says all that is missing.
fn lack(shared: &Shared, mut sender: Sender) -> Result<(), LinkError> {
    let mut pieces = PageRuns::pieces(&shared.lacking());
    let last = pieces.pop().unwrap_or_default();
    for pages in pieces {
        sender.send(&DestinationMessage::Lacking { pages, last: false })?;
    }
    sender.send(&DestinationMessage::Lacking { pages: last, last: true })?;
    shared.open_mouth(PageLine::Push, sender);
    Ok(())
}

/// Fills what comes.
fn fill(
    shared: &Shared,
    line: PageLine,
    receiver: &mut Receiver,
) -> Result<std::convert::Infallible, Broken> {
    receiver.set_silence(SILENCE)?;
    let mut decoder = Decoder::new(shared.layout.clone());
    let mut filler = Filler::new(shared, line);
    loop {
        match receiver.receive::<SourceMessage>(&shared.layout)? {
            Incoming::Packed(payload) => decoder.decode(payload, &mut filler)?,
            Incoming::RawPages(_) => return Err(Broken::OutOfPlace("raw pages")),
            Incoming::Message(message) => {
                use punctual_wire::Message as _;
                return Err(Broken::OutOfPlace(message.name()));
            }
        }
    }
}
