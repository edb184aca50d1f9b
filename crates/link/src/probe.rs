//! How fast a link is, measured before a move is promised.
//!
//! The source sends padding for some 30 ms ([`send`]); the destination takes note of when it comes
//! ([`Meter`]) and answers with the rate.

use std::thread;
use std::time::{Duration, Instant};

use punctual_units::{Bytes, BytesPerSecond};
use punctual_wire::SourceMessage;

use crate::{LinkError, Sender};

/// How long padding is sent.
const TIME: Duration = Duration::from_millis(30);

/// The padding of one message: small, so that a slow link gives several arrivals too.
const PIECE: Bytes = Bytes::kib(16);

/// At least this much is sent, however slow the link.
const LEAST: Bytes = Bytes::kib(128);

/// At most this much is sent, however fast the link.
const MOST: Bytes = Bytes::mib(64);

/// Sends padding for 30 ms (at least 128 KiB, at most 64 MiB), no faster than `rate`, and then
/// [`SourceMessage::ProbeEnd`]. Returns how much was sent.
///
/// # Errors
/// The link is broken.
pub fn send(sender: &mut Sender, rate: Option<BytesPerSecond>) -> Result<Bytes, LinkError> {
    let padding = SourceMessage::Probe(vec![0; PIECE.get() as usize]);
    let begin = Instant::now();
    let mut sent = Bytes::ZERO;
    while sent < LEAST || (sent < MOST && begin.elapsed() < TIME) {
        sender.send(&padding)?;
        sent += PIECE;
        let due = rate.map_or(Duration::ZERO, |rate| rate.time_for(sent));
        thread::sleep(due.saturating_sub(begin.elapsed()).min(TIME));
    }
    sender.send(&SourceMessage::ProbeEnd)?;
    Ok(sent)
}

/// When padding came, and how fast.
#[derive(Debug, Default)]
pub struct Meter {
    /// What had come in all, and when.
    arrivals: Vec<(Instant, Bytes)>,
}

impl Meter {
    /// Takes note that the padding of a [`SourceMessage::Probe`] has come just now.
    pub fn arrived(&mut self, padding: &[u8]) {
        self.arrived_at(Instant::now(), Bytes::new(padding.len() as u64));
    }

    fn arrived_at(&mut self, at: Instant, bytes: Bytes) {
        let before = self.arrivals.last().map_or(Bytes::ZERO, |(_, total)| *total);
        // More than a probe ever sends is not kept.
        if before < MOST {
            self.arrivals.push((at, before + bytes));
        }
    }

    /// The rate at which all but the first quarter came, when TCP had got going and what the link
    /// lets through at once was used up; `None` if too little came to tell.
    #[must_use]
    pub fn rate(&self) -> Option<BytesPerSecond> {
        let (end, total) = *self.arrivals.last()?;
        let begin = self.arrivals.iter().find(|(_, bytes)| bytes.get() >= total.get() / 4)?;
        (total - begin.1).per(end.saturating_duration_since(begin.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_does_not_count() {
        let mut meter = Meter::default();
        let begin = Instant::now();
        let mut at = begin;
        for piece in 0..40 {
            at += Duration::from_millis(if piece < 10 { 10 } else { 1 });
            meter.arrived_at(at, Bytes::new(16_000));
        }
        let rate = meter.rate().unwrap().get() as f64;
        assert!((rate - 16e6).abs() < 1e5, "{rate}");
    }

    #[test]
    fn too_little_to_tell() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(), None);
        meter.arrived(&[0; 100]);
        assert_eq!(meter.rate(), None);
    }
}
