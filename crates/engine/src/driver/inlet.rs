//! The thread of the destination that receives: pages straight into their place, all else as
//! events.

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use punctual_guest::{Ram, RamIoError};
use punctual_link::{Incoming, LinkError, PendingPages, Receiver, Sender, probe};
use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, Pages};
use punctual_wire::pages::{DecodeError, Decoder, PageSink};
use punctual_wire::{DestinationMessage, SourceMessage};

use super::outlet::MOST_STATE;
use super::told;
use crate::destination::Event;

/// So much is received before it is acknowledged: often enough to measure a bandwidth by it.
const ACKNOWLEDGE_EVERY: Bytes = Bytes::mib(1);

/// What the main thread and the receiving one share.
#[derive(Default)]
pub(super) struct Shared {
    /// The machine's memory, once there is one.
    ram: OnceLock<Arc<Ram>>,
    device_state: Mutex<Vec<u8>>,
}

impl Shared {
    /// Lets pages come in.
    pub(super) fn open(&self, ram: Arc<Ram>) {
        // There is one machine to a move.
        let _ = self.ram.set(ram);
    }

    pub(super) fn take_device_state(&self) -> Vec<u8> {
        std::mem::take(&mut *self.device_state())
    }

    fn device_state(&self) -> MutexGuard<'_, Vec<u8>> {
        // Bytes are appended whole or not at all.
        self.device_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending half, which both threads use.
pub(super) type Voice = Arc<Mutex<Sender>>;

pub(super) fn say(voice: &Voice, message: &DestinationMessage) -> Result<(), LinkError> {
    voice.lock().unwrap_or_else(PoisonError::into_inner).send(message)
}

/// Receives until the link ends or the source breaks the rules.
pub(super) fn receive(
    receiver: Receiver,
    voice: Voice,
    layout: MemoryLayout,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let inlet = Inlet {
            decoder: Decoder::new(layout.clone()),
            layout,
            voice,
            shared,
            meter: probe::Meter::default(),
            acknowledged: Bytes::ZERO,
            handed_over: false,
            buffer: vec![0; Ram::RECEIVE_BUFFER.get() as usize],
        };
        let event = inlet.run(receiver, &events);
        // Nobody listens any more when the move is over.
        let _ = events.send(event);
    })
}

struct Inlet {
    layout: MemoryLayout,
    decoder: Decoder,
    voice: Voice,
    shared: Arc<Shared>,
    meter: probe::Meter,
    acknowledged: Bytes,
    handed_over: bool,
    /// What raw pages go through.
    buffer: Vec<u8>,
}

/// Why nothing more is received.
enum Stop {
    Link(LinkError),
    Failed(String),
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl Inlet {
    fn run(mut self, mut receiver: Receiver, events: &mpsc::Sender<Event>) -> Event {
        loop {
            match self.next(&mut receiver) {
                Ok(Some(event)) => {
                    // The main thread is gone: the next look at the link ends this one.
                    let _ = events.send(event);
                }
                Ok(None) => {}
                Err(Stop::Link(error)) => return Event::LinkLost(told(&error)),
                Err(Stop::Failed(reason)) => return Event::Failed(reason),
            }
        }
    }

    fn next(&mut self, receiver: &mut Receiver) -> Result<Option<Event>, Stop> {
        let mut round_ended = false;
        let event = match receiver.receive::<SourceMessage>(&self.layout)? {
            Incoming::Message(message) => {
                round_ended = matches!(message, SourceMessage::RoundEnd { .. });
                self.heard(message)?
            }
            Incoming::RawPages(pages) => {
                let ram = self.shared.ram.get().filter(|_| !self.handed_over);
                take(pages, ram.ok_or_else(out_of_place)?, &mut self.buffer)?;
                None
            }
            Incoming::Packed(payload) => {
                let ram = self.shared.ram.get().filter(|_| !self.handed_over);
                let ram = ram.ok_or_else(out_of_place)?;
                self.decoder.decode(payload, &mut PagesInto(ram)).map_err(|error| match error {
                    DecodeError::Malformed(malformed) => Stop::Failed(told(&malformed)),
                    DecodeError::Sink(error) => Stop::Failed(told(&error)),
                })?;
                None
            }
        };
        let bytes = receiver.received();
        if round_ended || bytes.saturating_sub(self.acknowledged) >= ACKNOWLEDGE_EVERY {
            self.acknowledged = bytes;
            say(&self.voice, &DestinationMessage::Received { bytes })?;
        }
        Ok(event)
    }

    fn heard(&mut self, message: SourceMessage) -> Result<Option<Event>, Stop> {
        Ok(Some(match message {
            SourceMessage::Probe(padding) => {
                self.meter.arrived(&padding);
                return Ok(None);
            }
            SourceMessage::ProbeEnd => {
                let rate = std::mem::take(&mut self.meter).rate().unwrap_or_default();
                Event::Probed { rate }
            }
            SourceMessage::DeviceState(piece) => {
                let mut state = self.shared.device_state();
                if state.len() + piece.len() > MOST_STATE.get() as usize {
                    return Err(Stop::Failed(format!(
                        "more than {MOST_STATE} of device state came in; remove devices with \
                         memory of their own, such as graphics cards"
                    )));
                }
                state.extend_from_slice(&piece);
                Event::StateReceived { bytes: Bytes::new(state.len() as u64) }
            }
            message => {
                self.handed_over |= matches!(message, SourceMessage::HandOver { .. });
                Event::Heard(message)
            }
        }))
    }
}

fn out_of_place() -> Stop {
    Stop::Failed("pages came at a time when none can; run one version on both hosts".to_owned())
}

fn take(pending: PendingPages<'_>, ram: &Ram, buffer: &mut [u8]) -> Result<(), Stop> {
    let pages = pending.pages();
    let mut failed = None;
    let taken = pending.take_with(|socket, done, left| {
        // All of them are taken by the first call.
        debug_assert_eq!(done, Bytes::ZERO);
        match ram.receive(pages, socket, buffer) {
            Ok(()) => Ok(left.get() as usize),
            Err(error) => {
                let kind = error.cause.kind();
                failed = Some(error);
                // An interrupted call would be made again, but pages are already gone.
                Err(if kind == io::ErrorKind::Interrupted { io::ErrorKind::Other } else { kind }
                    .into())
            }
        }
    });
    match (taken, failed) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) if !is_of_the_link(&error.cause) => Err(Stop::Failed(told(&error))),
        (Err(error), _) => Err(error.into()),
    }
}

fn is_of_the_link(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
    )
}

/// Puts decoded pages in place in a machine's memory that nobody uses yet.
#[derive(Debug)]
pub struct PagesInto<'a>(pub &'a Ram);

impl PageSink for PagesInto<'_> {
    type Error = RamIoError;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), RamIoError> {
        let length = Bytes::new(bytes.len() as u64);
        if offset == 0 && length.is_page_aligned() {
            self.0.write(page, bytes)
        } else {
            self.0.write_at(page, Bytes::new(offset as u64), bytes)
        }
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), RamIoError> {
        debug_assert!(pages.len() > Pages::ZERO);
        self.0.punch(pages)
    }
}
