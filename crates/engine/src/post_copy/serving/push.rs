//! The push line of the source: all pages that are missing, whether somebody waits or not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use punctual_link::{Receiver, Sender};
use punctual_units::{Bytes, PAGE_SIZE, PageRange, PageSet, RegionIndex};
use punctual_wire::pages::Encoder;
use punctual_wire::{DestinationMessage, Message as _, PageLine};

use super::answers::Broken;
use super::dial::keep;
use super::shared::{Shared, Work};
use crate::Connection;
use crate::driver::told;
use crate::post_copy::pace::Pace;
use crate::post_copy::{start, warmth};

/// Pushes until it is over.
pub(super) fn run(shared: &Arc<Shared>, first: Option<Connection>) {
    let mut encoder = Encoder::without_history(shared.task.ram.layout().clone());
    keep(shared, PageLine::Push, first, |connection| {
        let Connection { sender, receiver, closer } = connection;
        // Why the ears have heard their last.
        let deaf = Arc::new(Mutex::new(None));
        let ears = {
            let (shared, deaf) = (Arc::clone(shared), Arc::clone(&deaf));
            start("page-ears", move || {
                let Err(why) = hear(&shared, receiver);
                *deaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(told(&why));
                shared.wake();
            })
        };
        let hears = || deaf.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let pusher = Pusher { shared, sender, encoder: &mut encoder, hears };
        let pushed = pusher.run();
        closer.close();
        // It ends with the connection.
        let _ = ears.join();
        // What broke the connection is what the sender met first; else it only followed the ears.
        match pushed {
            Err(Broken::Over) | Ok(()) => {
                deaf.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
            }
            Err(why) => told(&why),
        }
    });
}

/// Hears what the destination lacks, and that it lacks nothing any more.
fn hear(shared: &Shared, mut receiver: Receiver) -> Result<std::convert::Infallible, Broken> {
    let mut lacking = Some(PageSet::empty(shared.task.ram.layout().pages()));
    loop {
        match receiver.receive_message()? {
            DestinationMessage::Lacking { pages, last } => {
                let mut set = lacking.take().ok_or(Broken::OutOfPlace("Lacking"))?;
                pages.add_to(&mut set)?;
                if last {
                    shared.lacks(set);
                } else {
                    lacking = Some(set);
                }
            }
            DestinationMessage::Whole { faults, digest } => {
                shared.whole(faults, digest);
                return Err(Broken::Over);
            }
            DestinationMessage::Failed { reason } => {
                shared.failed(reason);
                return Err(Broken::Over);
            }
            other => return Err(Broken::OutOfPlace(other.name())),
        }
    }
}

struct Pusher<'a, H> {
    shared: &'a Shared,
    sender: Sender,
    encoder: &'a mut Encoder,
    hears: H,
}

impl<H: Fn() -> bool> Pusher<'_, H> {
    fn run(mut self) -> Result<(), Broken> {
        let mut pace = Pace::new(self.shared.task.rate);
        let begin = Instant::now();
        self.sender.pace(pace.to_keep())?;
        loop {
            // First the room, then the pages: what is wanted may change while it is waited for.
            self.wait_for_room(&mut pace, begin)?;
            let (work, waited) = self.shared.next_work(pace.at_once(), &self.hears);
            if waited {
                pace.paused();
            }
            match work {
                Work::Pages(runs) => self.push(&runs)?,
                Work::Sort(heat, pages) if self.pages_are_small() => {
                    self.shared.expect(warmth::classes(&heat, &pages));
                }
                // Large pages of the host go in order, so that one after the other becomes whole.
                Work::Sort(..) => {}
                Work::Stop => return Ok(()),
            }
        }
    }

    fn pages_are_small(&self) -> bool {
        let ram = &self.shared.task.ram;
        (0..ram.layout().regions().len()).all(|at| ram.host_page(RegionIndex(at)) == PAGE_SIZE)
    }

    fn push(&mut self, runs: &[PageRange]) -> Result<(), Broken> {
        let before = self.sender.sent().total();
        let (ram, sender) = (&self.shared.task.ram, &mut self.sender);
        self.encoder.encode(
            runs.iter().copied(),
            |pages, buffer| ram.read(pages, buffer).map_err(Broken::from),
            |payload| sender.send_packed(payload).map_err(Broken::from),
        )?;
        let bytes = self.sender.sent().total().saturating_sub(before);
        self.shared.pushed(runs.iter().copied().map(PageRange::len).sum(), bytes);
        Ok(())
    }

    /// Waits until little enough is under way, and keeps the pace.
    fn wait_for_room(&mut self, pace: &mut Pace, begin: Instant) -> Result<(), Broken> {
        loop {
            let under_way = self.sender.unacknowledged()?;
            let acknowledged = self.sender.sent().total().saturating_sub(under_way);
            let way = self.sender.way()?;
            if pace.acknowledged(begin.elapsed(), acknowledged, under_way, way) {
                self.sender.pace(pace.to_keep())?;
            }
            let excess = (under_way + half(pace)).saturating_sub(pace.under_way());
            if excess == Bytes::ZERO || under_way == Bytes::ZERO {
                return Ok(());
            }
            if !self.shared.rest(pace.time_for(excess)) || !(self.hears)() {
                return Err(Broken::Over);
            }
        }
    }
}

/// What is about to be given to the socket, once packed: about half of it.
fn half(pace: &Pace) -> Bytes {
    Bytes::new(pace.at_once().bytes().get() / 2)
}
