//! The source of a move: what it does when. Pure: time comes in with each event.
//!
//! ```text
//!            Accepted        Probed           Prepared, traced, settled
//!  Offering ─────────► Probing ──► Preparing ─────────────────────────► Sending ◄──────────┐
//!      │                                                                   │ arrived        │
//!      │                            ┌── Readying ◄── first time in reach ── ▼               │
//!      │                            ▼                                    Scanning ── more ─►┤
//!      │                        Settling ─── requests in flight ended ──────│───────────────┘
//!      │                                                                    │ promise met
//!      │  refused, cancelled, given up, failed, overrun                     ▼
//!      ├──◄─────────────── from each phase ─────────── Final ◄───────── Stopping
//!      ▼                                                 │ all is sent
//!  Aborting                                              ▼        Ready
//!      │ Resumed                                    HandingOver ─────────► Committing
//!      ▼                                                                    │  │  │
//!   Stayed ◄── certainly not recorded ──────────────────────────────────────┘  │  │ recorded
//!                                                    Unknown ◄── cannot tell ──┘  ▼
//!                                                                              Committed ──► Moved
//! ```
//!
//! [`Holding`] is everything up to the commit: the machine is the source's, and [`Effect::Resume`]
//! exists. [`Committed`] and [`Unknown`] have no effects at all: nothing there can let it run.

mod aborting;
mod committed;
mod context;
mod copying;
mod enforcement;
mod event;
mod forecast;
mod phases;
mod preparing;
mod sending;
mod stopped;
mod watch;

use std::time::Duration;

use punctual_wire::{Offer, Refusal, SourceMessage};

pub use committed::{Committed, Moved, Unknown};
use context::Context;
pub use event::{Batch, BatchKind, Effect, Event, Why};
use phases::{State, Transition};

use crate::course::Ended;
use crate::report::{Ending, Holder, Promise, Report};
use crate::{Phase, Progress, Request};

/// The source of a move up to the commit.
#[derive(Debug, Clone)]
pub struct Holding {
    context: Context,
    state: State,
}

/// What becomes of the source after an event.
#[derive(Debug)]
pub enum Next {
    /// It goes on; these are to be done, in this order.
    Hold(Box<Holding>, Vec<Effect>),
    /// The commit is on record: surrender the machine, then say [`SourceMessage::Commit`].
    Committed(Committed),
    /// Nobody can tell whether the commit is on record: the machine stays paused.
    Unknown(Box<Unknown>),
    /// The attempt has ended and the machine runs on here.
    Stayed(Box<Stayed>),
}

/// The end of an attempt after which the machine is the source's.
#[derive(Debug, Clone)]
pub struct Stayed {
    /// The report.
    pub report: Report,
    /// Why it stayed.
    pub why: Why,
    /// What to tell the destination, if it listens.
    pub farewell: Option<SourceMessage>,
}

impl Holding {
    /// Begins a move, unless it can be seen beforehand that its promise cannot be kept.
    #[must_use]
    pub fn begin(offer: Offer, request: Request) -> Next {
        let context = Context::new(offer, request);
        if let Some(why) = context.too_short() {
            return Next::Stayed(Box::new(context.stayed(Duration::ZERO, why, None, false)));
        }
        let offer = SourceMessage::Offer(Box::new(context.offer.clone()));
        let state = State::Offering { since: Duration::ZERO };
        Next::Hold(Box::new(Self { context, state }), vec![Effect::Say(offer)])
    }

    /// A move that ends before it has begun.
    #[must_use]
    pub fn not_begun(offer: Offer, request: Request, why: Why) -> Next {
        let context = Context::new(offer, request);
        Next::Stayed(Box::new(context.stayed(Duration::ZERO, why, None, false)))
    }

    /// Takes in what happened `at` this time since the beginning.
    #[must_use]
    pub fn step(mut self, at: Duration, event: Event) -> Next {
        self.context.note(at, &event);
        let transition = match self.state.interrupted(&self.context, at, &event) {
            Some(transition) => transition,
            None => self.state.step(&mut self.context, at, event),
        };
        self.context.follow(at, transition)
    }

    /// Where the move stands.
    #[must_use]
    pub fn progress(&self, at: Duration) -> Progress {
        self.context.progress(at, &self.state)
    }

    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }
}

impl Context {
    fn follow(self, at: Duration, transition: Transition) -> Next {
        match transition {
            Transition::To(state, effects) => {
                Next::Hold(Box::new(Holding { context: self, state }), effects)
            }
            Transition::Stay { why, resume_failed, farewell } => {
                Next::Stayed(Box::new(self.stayed(at, why, resume_failed, farewell)))
            }
            Transition::Commit { link_lost } => {
                Next::Committed(Committed::begin(self, at, link_lost))
            }
            Transition::Unknown(reason) => {
                Next::Unknown(Box::new(Unknown::begin(self, at, reason)))
            }
        }
    }

    fn stayed(
        self,
        at: Duration,
        why: Why,
        resume_failed: Option<String>,
        farewell: bool,
    ) -> Stayed {
        let mut reason = why.to_string();
        if let Some(failure) = &resume_failed {
            reason.push_str("; and it could not be made to run on here: ");
            reason.push_str(failure);
        }
        let farewell = farewell.then(|| SourceMessage::Abort { reason: reason.clone() });
        let (outcome, promise) = (why.ending(), why.promise());
        let ended = Ended { outcome, owner: Holder::Source, promise, reason, codes: why.codes() };
        let report = self.course.report(at, &self.offer, &self.request, ended);
        Stayed { report, why, farewell }
    }
}

impl Why {
    fn ending(&self) -> Ending {
        match self {
            Self::Refused(_) | Self::LinkSlower { .. } | Self::TooShort { .. } => Ending::Refused,
            Self::GaveUp(reason) if reason.is_refusal() => Ending::Refused,
            Self::Cancelled => Ending::Cancelled,
            Self::Rehearsed { .. } => Ending::Completed,
            _ => Ending::Failed,
        }
    }

    /// What the destination called its reasons.
    fn codes(&self) -> Vec<String> {
        match self {
            Self::Refused(refusals) => Refusal::codes(refusals),
            _ => Vec::new(),
        }
    }

    /// What it makes of the promise, whatever was measured.
    fn promise(&self) -> Option<Promise> {
        let refused = self.ending() == Ending::Refused || matches!(self, Self::GaveUp(_));
        refused.then_some(Promise::Refused)
    }

    /// Whether the destination still listens and has not yet dropped the attempt itself.
    fn is_to_be_told(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::LinkLost(_) | Self::DestinationFailed(_))
    }
}
