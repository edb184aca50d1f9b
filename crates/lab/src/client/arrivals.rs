//! Datagrams in the order in which they came, and what each of them was.

use std::collections::VecDeque;
use std::time::Instant;

/// A datagram of the beacon that reached the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The number that the guest gave it: one more than the one before.
    pub sequence: u64,
    /// When the client's kernel received it.
    pub at: Instant,
    /// How much work the guest had done when it sent it.
    pub work: u64,
    /// Whether it told anything new.
    pub kind: Kind,
}

/// What a datagram was, seen from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its number is higher than all before: the guest has gone on.
    New,
    /// Its number was skipped before: it was overtaken.
    Late,
    /// Its number had come already.
    Duplicate,
}

/// The last arrivals, as many as are remembered.
#[derive(Debug, Clone)]
pub struct Arrivals {
    capacity: usize,
    remembered: VecDeque<Arrival>,
    /// When the newest of the forgotten came.
    forgotten: Option<Instant>,
    highest: Option<u64>,
    /// Numbers that were skipped, in rising order, the newest few.
    skipped: VecDeque<u64>,
}

/// How many skipped numbers are remembered, to tell a late datagram from a duplicate.
const SKIPPED: u64 = 4096;

impl Arrivals {
    /// Remembers up to `capacity` arrivals, of 40 bytes each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            remembered: VecDeque::new(),
            forgotten: None,
            highest: None,
            skipped: VecDeque::new(),
        }
    }

    /// Notes a datagram. One that seems to be received before its predecessor (clocks are read
    /// one after the other) is taken as received with it.
    pub fn note(&mut self, sequence: u64, at: Instant, work: u64) {
        let kind = self.classify(sequence);
        let at = self.remembered.back().map_or(at, |last| at.max(last.at));
        if self.remembered.len() == self.capacity {
            self.forgotten = self.remembered.pop_front().map(|arrival| arrival.at);
        }
        self.remembered.push_back(Arrival { sequence, at, work, kind });
    }

    /// All that is remembered, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arrival> + ExactSizeIterator {
        self.remembered.iter()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remembered.len()
    }

    /// Whether none has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remembered.is_empty()
    }

    /// The last that was new.
    #[must_use]
    pub fn newest(&self) -> Option<&Arrival> {
        self.remembered.iter().rev().find(|arrival| arrival.kind == Kind::New)
    }

    /// Whether all that came from `moment` on is still remembered.
    #[must_use]
    pub fn remembers(&self, moment: Instant) -> bool {
        self.forgotten.is_none_or(|forgotten| forgotten < moment)
    }

    /// The place of the first that came at `moment` or later.
    pub(super) fn place_of(&self, moment: Instant) -> usize {
        self.remembered.partition_point(|arrival| arrival.at < moment)
    }

    fn classify(&mut self, sequence: u64) -> Kind {
        // What was sent before the first that comes may have been overtaken, too.
        let next = self.highest.map_or(0, |highest| highest.saturating_add(1));
        if self.highest.is_none_or(|highest| sequence > highest) {
            let skipped = next.max(sequence.saturating_sub(SKIPPED))..sequence;
            self.skipped.extend(skipped);
            let surplus = self.skipped.len().saturating_sub(SKIPPED as usize);
            self.skipped.drain(..surplus);
            self.highest = Some(sequence);
            return Kind::New;
        }
        match self.skipped.binary_search(&sequence) {
            Ok(place) => {
                self.skipped.remove(place);
                Kind::Late
            }
            Err(_) => Kind::Duplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn kinds(sequences: &[u64]) -> Vec<Kind> {
        let mut arrivals = Arrivals::new(1000);
        let now = Instant::now();
        sequences.iter().for_each(|sequence| arrivals.note(*sequence, now, 0));
        arrivals.iter().map(|arrival| arrival.kind).collect()
    }

    #[test]
    fn overtaken_and_repeated_are_told_apart() {
        use Kind::{Duplicate, Late, New};
        assert_eq!(
            kinds(&[7, 8, 10, 9, 9, 8, 11]),
            [New, New, New, Late, Duplicate, Duplicate, New]
        );
        assert_eq!(kinds(&[7, 6, 6]), [New, Late, Duplicate]);
        assert_eq!(kinds(&[0, u64::MAX, u64::MAX - 1]), [New, New, Late]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut arrivals = Arrivals::new(10);
        let start = Instant::now();
        for sequence in 0..100 {
            arrivals.note(sequence * 1000, start + Duration::from_millis(sequence), 0);
        }
        assert_eq!(arrivals.len(), 10);
        assert!(arrivals.skipped.len() <= SKIPPED as usize);
        assert!(arrivals.remembers(start + Duration::from_millis(90)));
        assert!(!arrivals.remembers(start + Duration::from_millis(89)));
    }

    proptest! {
        #[test]
        fn a_shuffled_sequence_has_no_duplicates(
            sequences in Just((0..200u64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            prop_assert!(!kinds(&sequences).contains(&Kind::Duplicate));
        }
    }
}
