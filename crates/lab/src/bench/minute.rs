//! The minute around a move, as the guest's client sees it.
//!
//! ```text
//!  watched ──── 2 s ────► begun ──── the move ────► ended ──── at least 1 s ────► seen
//!  └ rate of work,        └ longest silence, work lost:                           │
//!    longest silence        rate × (seen − begun) − work done ────────────────────┘
//! ```
//!
//! Work lost is what the minute lost, though the minute is not waited for: before the move nothing
//! is lost by definition, and the watch ends once the guest has worked at its rate again for a whole
//! second. A guest that does not come to that is watched until 60 s after `watched`, or for a second
//! after the end of a move that took longer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::{BeaconReceiver, Window};

/// How long the guest is watched before the move.
const BEFORE: Duration = Duration::from_secs(2);
/// How long a guest has to have worked as before, and how often it is asked.
const AFTER: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
/// The least of its own rate of work at which a guest works as before: what is missing is of the
/// machine that all of this runs on.
const AS_BEFORE: f64 = 0.95;
const MINUTE: Duration = Duration::from_secs(60);

/// What a move did to a guest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// The longest silence before the move, and from its beginning on.
    pub baseline_gap: Option<Duration>,
    pub gap: Option<Duration>,
    /// Units of work a second before the move; zero for a guest that has nothing to do.
    pub work_rate: f64,
    /// How long the undisturbed guest would have worked for what it did not do.
    pub work_lost: Duration,
}

/// The watch, from the move's beginning on.
pub(super) struct Minute<'a> {
    beacon: &'a BeaconReceiver,
    watched: Instant,
    pub begun: Instant,
}

impl<'a> Minute<'a> {
    /// Watches the guest before its move, for 2 s.
    pub(super) fn before(beacon: &'a BeaconReceiver) -> Self {
        let watched = Instant::now();
        sleep(BEFORE);
        Self { beacon, watched, begun: Instant::now() }
    }

    /// What is prepared for the move is over: it begins now.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Goes on watching after the end of the move, until the guest works as before or the minute
    /// is over; then tells.
    pub(super) fn after(self, ended: Instant) -> Seen {
        let over = (self.watched + MINUTE).max(ended + AFTER);
        loop {
            sleep(LOOK);
            let now = Instant::now();
            let back = now.checked_sub(AFTER).is_some_and(|second| {
                second >= ended && self.work_done(second..now).is_none_or(|done| done >= AS_BEFORE)
            });
            if back || now >= over {
                return self.seen(now);
            }
        }
    }

    /// The work done in a window, in parts of what would have been; `None` where there is no work.
    fn work_done(&self, window: Window) -> Option<f64> {
        let lost = self.beacon.arrivals(|arrivals| arrivals.work_lost(self.baseline(), window));
        lost.map(|lost| lost.done as f64 / lost.expected)
    }

    fn seen(&self, seen: Instant) -> Seen {
        let longest = |window| {
            let reception = self.beacon.arrivals(|arrivals| arrivals.reception(window));
            reception.map(|reception| reception.largest.length())
        };
        let window = self.begun..seen;
        let lost =
            self.beacon.arrivals(|arrivals| arrivals.work_lost(self.baseline(), window.clone()));
        Seen {
            baseline_gap: longest(self.baseline()),
            gap: longest(window),
            work_rate: lost.map_or(0.0, |lost| lost.rate),
            work_lost: lost.map_or(Duration::ZERO, |lost| lost.time),
        }
    }

    fn baseline(&self) -> Window {
        self.watched..self.watched + BEFORE
    }
}
