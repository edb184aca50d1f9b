//! How pages are put on the connection: raw or packed.
//!
//! Raw pages go by `sendfile` and cost the least time; packed ones cost the fewest bytes. Where the
//! link is slower than the encoder, packing makes a move shorter; where it is faster, the encoder
//! would be the bottleneck. So:
//!
//! - a link of less than 2.5 Gbit/s, by what was asked for or by what was seen, gets packed pages;
//! - a faster one gets long runs raw. Short ones are packed all the same: a frame for each page
//!   costs more than encoding it;
//! - while nothing is known, the first 2 MiB go raw and tell, and it is watched further on.

use std::sync::Arc;
use std::time::Instant;

use punctual_guest::{Ram, RamIoError};
use punctual_link::{LinkError, Sender, probe};
use punctual_units::{Bytes, BytesPerSecond, PageRange, Pages};
use punctual_wire::pages::{Encoder, FINGERPRINT_KEY_LENGTH, RawPages};
use thiserror::Error;

use super::pace::Pace;
use crate::source::{Batch, BatchKind};

/// Runs from here on go raw on a fast link.
const LONG_RUN: Pages = Pages::new(16);
/// A wish to stop is heard after at most so many pages.
const RAW_AT_ONCE: Pages = Pages::new(1024);
/// The trial is to end soon behind what it needs.
const RAW_ON_TRIAL: Pages = Pages::new(64);
const PACKED_AT_ONCE: Pages = Pages::new(256);
/// Fingerprints may use 1/1024 of the machine's memory, and this.
const FINGERPRINTS_LEAST: Bytes = Bytes::mib(36);
/// What the fingerprints of one page cost, rounded up.
const FINGERPRINTS_OF_A_PAGE: Bytes = Bytes::new(330);

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
    /// How much the encoder may keep.
    budget: Bytes,
    pace: Pace,
    /// What was sent last: legs of one round follow each other without a pause.
    last: Option<BatchKind>,
}

impl PageSender {
    pub(super) fn new(ram: Arc<Ram>, asked: Option<BytesPerSecond>) -> Self {
        let key: [u8; FINGERPRINT_KEY_LENGTH] = rand::random();
        let layout = ram.layout().clone();
        let budget = Bytes::new(layout.pages().bytes().get() / 1024) + FINGERPRINTS_LEAST;
        let encoder = Encoder::new(layout, key, budget);
        Self { encoder, budget, ram, pace: Pace::new(asked), last: None }
    }

    /// Sends pages until all are sent or `go_on`, told how many have been, says no; whether all
    /// were.
    pub(super) fn send(
        &mut self,
        &Batch { ref pages, kind, of }: &Batch,
        sender: &mut Sender,
        mut go_on: impl FnMut(&Sender, Pages) -> bool,
    ) -> Result<bool, SendError> {
        let is_final = kind == BatchKind::Final;
        // Where there is room for every page, none has to travel whole a second time.
        if kind == BatchKind::Round(1)
            && of.get() * FINGERPRINTS_OF_A_PAGE.get() <= self.budget.get()
        {
            self.encoder.expect_writes(pages);
        }
        let goes_on = !is_final && self.last == Some(kind);
        self.last = Some(kind);
        if !goes_on {
            self.pace.begin();
        }
        let mut sent = Pages::ZERO;
        let mut short = Vec::new();
        let mut short_pages = Pages::ZERO;
        for run in pages.ranges() {
            let mut rest = run;
            while !rest.is_empty() {
                let now;
                if self.pace.is_raw(is_final) && rest.len() >= LONG_RUN {
                    let on_trial = self.pace.is_on_trial();
                    let most = if on_trial { RAW_ON_TRIAL } else { RAW_AT_ONCE };
                    (now, rest) = rest.split_at(most);
                    self.raw(now, sender)?;
                    sent += now.len();
                } else {
                    (now, rest) = rest.split_at(PACKED_AT_ONCE);
                    short.push(now);
                    short_pages += now.len();
                    if short_pages < PACKED_AT_ONCE {
                        continue;
                    }
                    let pages = std::mem::take(&mut short_pages);
                    let payload = self.packed(&mut short, sender)?;
                    self.pace.watch_packed(payload, pages, sender.unsent()?);
                    sent += pages;
                }
                if !go_on(sender, sent) {
                    return Ok(false);
                }
            }
        }
        self.packed(&mut short, sender)?;
        Ok(go_on(sender, pages.len()))
    }

    fn raw(&mut self, pages: PageRange, sender: &mut Sender) -> Result<(), SendError> {
        let arrived = sender.sent().total().saturating_sub(sender.unacknowledged()?);
        self.pace.watch_raw(Instant::now(), arrived);
        // Pages that are zero here, as all are there at first, are not sent.
        let mut start = pages.start.0;
        for page in pages.iter() {
            if !self.encoder.holds(page) && self.ram.is_zero(page)? {
                self.raw_run(PageRange::new(start, page.0), sender)?;
                start = page.0 + 1;
            }
        }
        self.raw_run(PageRange::new(start, pages.end.0), sender)
    }

    fn raw_run(&mut self, pages: PageRange, sender: &mut Sender) -> Result<(), SendError> {
        let layout = self.ram.layout();
        for span in layout.spans(pages) {
            let raw: RawPages =
                self.encoder.raw(span.pages).expect("a span is in one region and not too long");
            sender.send_raw(raw, self.ram.file(span.region), span.offset)?;
        }
        Ok(())
    }

    fn packed(
        &mut self,
        runs: &mut Vec<PageRange>,
        sender: &mut Sender,
    ) -> Result<Bytes, SendError> {
        let ram = &self.ram;
        let encoded = self.encoder.encode(
            runs.drain(..),
            |pages, buffer| ram.read(pages, buffer).map_err(SendError::from),
            |payload| sender.send_packed(payload).map_err(SendError::from),
        )?;
        Ok(encoded.payload)
    }
}

/// Measures the link for the destination.
pub(super) fn probe(sender: &mut Sender, rate: BytesPerSecond) -> Result<(), SendError> {
    probe::send(sender, Some(rate))?;
    Ok(())
}
