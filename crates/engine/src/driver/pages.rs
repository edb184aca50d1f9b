//! How pages are put on the connection: raw or packed.
//!
//! Raw pages go by `sendfile` and cost the least time; packed ones cost the fewest bytes. Where the
//! link is slower than the encoder, packing makes a move shorter; where it is faster, the encoder
//! would be the bottleneck. So:
//!
//! - a link of less than [`PACK_BELOW`], by what was asked for or by what was seen, gets packed
//!   pages;
//! - a faster one gets long runs raw. Short ones are packed all the same: a frame for each page
//!   costs more than encoding it;
//! - while nothing is known, the first [`TRIAL`] goes raw and tells.

use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_guest::{Ram, RamIoError};
use punctual_link::{LinkError, Sender, probe};
use punctual_units::{Bytes, BytesPerSecond, PageRange, PageSet, Pages};
use punctual_wire::pages::{Encoder, FINGERPRINT_KEY_LENGTH, RawPages};
use thiserror::Error;

use crate::source::BatchKind;

/// LZ4 compresses some 0.7 GB a second on one core, the rest of the encoder takes its share.
const PACK_BELOW: BytesPerSecond = BytesPerSecond::megabits(2500);
/// What is sent to find out how fast a link is that nobody said anything about.
const TRIAL: Bytes = Bytes::mib(2);
/// A link that did not take it in this time is slow.
const TRIAL_TIME: Duration = Duration::from_millis(50);
/// Runs from here on go raw on a fast link.
const LONG_RUN: Pages = Pages::new(16);
/// A wish to stop is heard after at most so many pages.
const RAW_AT_ONCE: Pages = Pages::new(1024);
/// The trial is to end soon behind what it needs.
const RAW_IN_TRIAL: Pages = Pages::new(64);
const PACKED_AT_ONCE: Pages = Pages::new(256);
/// Fingerprints may use 1/1024 of the machine's memory, and this.
const FINGERPRINTS_LEAST: Bytes = Bytes::mib(16);

/// Why pages were not sent.
#[derive(Debug, Error)]
pub(super) enum SendError {
    /// The link is broken.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The machine's memory cannot be read.
    #[error(transparent)]
    Ram(#[from] RamIoError),
}

/// Sends one machine's pages.
pub(super) struct PageSender {
    ram: Arc<Ram>,
    encoder: Encoder,
    pace: Pace,
}

/// How fast the link is, as far as is known.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Unknown { since: Option<(Instant, Bytes)> },
    Known(BytesPerSecond),
}

impl PageSender {
    pub(super) fn new(ram: Arc<Ram>, asked: Option<BytesPerSecond>) -> Self {
        let key: [u8; FINGERPRINT_KEY_LENGTH] = rand::random();
        let layout = ram.layout().clone();
        let budget = Bytes::new(layout.pages().bytes().get() / 1024) + FINGERPRINTS_LEAST;
        let pace = asked.map_or(Pace::Unknown { since: None }, Pace::Known);
        Self { encoder: Encoder::new(layout, key, budget), ram, pace }
    }

    /// Sends pages until all are sent or `go_on`, told how many have been, says no; whether all
    /// were.
    pub(super) fn send(
        &mut self,
        pages: &PageSet,
        kind: BatchKind,
        sender: &mut Sender,
        mut go_on: impl FnMut(&Sender, Pages) -> bool,
    ) -> Result<bool, SendError> {
        let mut sent = Pages::ZERO;
        let mut short = Vec::new();
        let mut short_pages = Pages::ZERO;
        for run in pages.ranges() {
            let mut rest = run;
            while !rest.is_empty() {
                let now;
                if self.is_fast(kind) && rest.len() >= LONG_RUN {
                    (now, rest) = rest.split_at(self.raw_at_once());
                    self.raw(now, sender)?;
                    sent += now.len();
                } else {
                    (now, rest) = rest.split_at(PACKED_AT_ONCE);
                    short.push(now);
                    short_pages += now.len();
                    if short_pages < PACKED_AT_ONCE {
                        continue;
                    }
                    self.packed(&mut short, sender)?;
                    sent += std::mem::take(&mut short_pages);
                }
                if !go_on(sender, sent) {
                    return Ok(false);
                }
            }
        }
        self.packed(&mut short, sender)?;
        Ok(go_on(sender, pages.len()))
    }

    fn raw_at_once(&self) -> Pages {
        match self.pace {
            Pace::Known(_) => RAW_AT_ONCE,
            Pace::Unknown { .. } => RAW_IN_TRIAL,
        }
    }

    /// Whether long runs go raw. At a final copy nothing is tried.
    fn is_fast(&self, kind: BatchKind) -> bool {
        match self.pace {
            Pace::Known(rate) => rate >= PACK_BELOW,
            Pace::Unknown { .. } => kind != BatchKind::Final,
        }
    }

    fn raw(&mut self, pages: PageRange, sender: &mut Sender) -> Result<(), SendError> {
        self.learn(sender)?;
        let layout = self.ram.layout();
        for span in layout.spans(pages) {
            let raw: RawPages =
                self.encoder.raw(span.pages).expect("a span is in one region and not too long");
            sender.send_raw(raw, self.ram.file(span.region), span.offset)?;
        }
        Ok(())
    }

    fn packed(&mut self, runs: &mut Vec<PageRange>, sender: &mut Sender) -> Result<(), SendError> {
        let ram = &self.ram;
        self.encoder.encode(
            runs.drain(..),
            |pages, buffer| ram.read(pages, buffer).map_err(SendError::from),
            |payload| sender.send_packed(payload).map_err(SendError::from),
        )?;
        Ok(())
    }

    /// Watches how fast the first pages arrive at the other host's kernel.
    fn learn(&mut self, sender: &Sender) -> Result<(), SendError> {
        let Pace::Unknown { since } = &mut self.pace else { return Ok(()) };
        let arrived = sender.sent().total().saturating_sub(sender.unacknowledged()?);
        let now = Instant::now();
        let (begin, before) = *since.get_or_insert((now, arrived));
        let (time, bytes) = (now - begin, arrived.saturating_sub(before));
        if bytes >= TRIAL || time >= TRIAL_TIME {
            self.pace = bytes.per(time).map_or(self.pace, Pace::Known);
        }
        Ok(())
    }
}

/// Measures the link for the destination.
pub(super) fn probe(sender: &mut Sender, rate: BytesPerSecond) -> Result<(), SendError> {
    probe::send(sender, Some(rate))?;
    Ok(())
}
