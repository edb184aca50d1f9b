//! What will happen when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Actions in the order of their times; those of one time in the order in which they were added.
#[derive(Debug)]
pub(super) struct Agenda<A> {
    entries: BinaryHeap<Entry<A>>,
    added: u64,
}

#[derive(Debug)]
struct Entry<A> {
    at: Duration,
    number: u64,
    action: A,
}

impl<A> Agenda<A> {
    pub(super) fn new() -> Self {
        Self { entries: BinaryHeap::new(), added: 0 }
    }

    pub(super) fn add(&mut self, at: Duration, action: A) {
        self.added += 1;
        self.entries.push(Entry { at, number: self.added, action });
    }

    pub(super) fn next(&mut self) -> Option<(Duration, A)> {
        self.entries.pop().map(|entry| (entry.at, entry.action))
    }
}

impl<A> Ord for Entry<A> {
    /// The heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<A> PartialOrd for Entry<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A> PartialEq for Entry<A> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<A> Eq for Entry<A> {}
