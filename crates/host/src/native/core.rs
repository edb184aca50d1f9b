//! The source of a move by the machine's own hypervisor: what it does when. Pure: time comes in
//! with each event.
//!
//! ```text
//!  Offering ──► Preparing ──► Copying ──stopped──► Saving ──saved──► HandingOver ──Ready──► Committing
//!      │            │            │                   │                   │                   │ │ │
//!      └────────────┴────────────┴─────────┬─────────┴───────────────────┘   certainly not   │ │ │
//!                                          ▼                                 recorded        │ │ │
//!                                      Aborting ◄────────────────────────────────────────────┘ │ │
//!                                          │ resumed                          cannot tell      │ │
//!                                          ▼                          Unknown ◄────────────────┘ │
//!                                       Stayed                         Committed ──► Moved ◄─────┘
//! ```
//!
//! As in the engine, [`Holding`] is everything up to the commit and the only type that has an
//! effect [`Effect::Resume`]; behind it nothing can let the machine run here.

mod committed;
mod why;

use std::time::Duration;

use punctual_engine::Phase;
use punctual_engine::report::OnMiss;
use punctual_guest::qemu::native::Look;
use punctual_wire::{DestinationMessage, Offer, SourceMessage};

pub(super) use committed::{Committed, Moved};
pub(super) use why::Why;

/// How long the destination may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The destination takes a silence of 30 s for a lost link.
const WORD_EVERY: Duration = Duration::from_secs(5);
/// A stopped guest is let run on here after so many times the interruption that was asked for or
/// had to be expected ...
const OVERRUN: u32 = 5;
/// ... but not before this time.
const OVERRUN_LEAST: Duration = Duration::from_secs(2);

/// What is asked of a move.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) offer: Offer,
    pub(super) within: Duration,
    pub(super) force: bool,
    pub(super) on_miss: OnMiss,
}

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The destination says something.
    Heard(DestinationMessage),
    /// The link, or the tunnel before anything went through it, is gone.
    LinkLost(String),
    /// The operator cancels the move.
    Cancelled,
    /// Time passes. Comes at least every 50 ms.
    TimePassed,
    /// How the hypervisor's migration goes on.
    Looked(Look),
    /// The guest is stopped: since when.
    Stopped { since: Duration },
    /// All of the machine has been put into the stream.
    Saved,
    /// The hypervisor gave up.
    GaveUp(String),
    /// [`Effect::RecordCommit`] is done.
    Recorded,
    /// [`Effect::RecordCommit`] failed, and it is certain that nothing was recorded.
    NotRecorded(String),
    /// [`Effect::RecordCommit`] failed, and nobody can tell whether it was recorded.
    RecordUnknown(String),
    /// [`Effect::Resume`] is done: the guest runs here.
    Resumed,
    /// The machine did not do what the last effect asked of it.
    MachineFailed(String),
}

/// What is to be done as long as the machine is the source's.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Say this to the destination.
    Say(SourceMessage),
    /// Open the tunnel and begin the hypervisor's migration.
    Begin,
    /// Allow any interruption.
    AllowAny,
    /// Let the last pages and the state of the devices flow.
    HandOver,
    /// Record durably that the machine belongs to the destination.
    RecordCommit,
    /// Give up whatever is under way, and make the guest run here.
    Resume,
}

/// The moments that parts of a move are counted from, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) begun: Option<Duration>,
    pub(super) stopped: Option<Duration>,
    pub(super) quiet: Option<Duration>,
    pub(super) saved: Option<Duration>,
    pub(super) loaded: Option<Duration>,
    pub(super) committed: Option<Duration>,
    pub(super) running: Option<Duration>,
}

/// What becomes of the source after an event.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes on; these are to be done, in this order.
    Hold(Box<Holding>, Vec<Effect>),
    /// The commit is on record: surrender the machine, then say [`SourceMessage::Commit`].
    Committed(Committed),
    /// Nobody can tell whether the commit is on record: the machine stays paused.
    Unknown { marks: Marks, reason: String },
    /// The attempt has ended and the machine runs on here, if it can.
    Stayed { marks: Marks, why: Why, not_resumed: Option<String>, farewell: Option<SourceMessage> },
}

#[derive(Debug, Clone)]
enum State {
    Offering,
    Preparing,
    Copying,
    Saving,
    HandingOver,
    Committing { link_lost: Option<String> },
    Aborting { why: Why },
}

/// The source of a move up to the commit.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    asked: Asked,
    state: State,
    /// When the state began.
    since: Duration,
    marks: Marks,
    look: Look,
    /// When the destination was last told that this side lives.
    said: Duration,
    /// Any interruption is allowed.
    any: bool,
}

impl Holding {
    /// Begins a move.
    pub(super) fn begin(asked: Asked) -> Next {
        let offer = SourceMessage::Offer(Box::new(asked.offer.clone()));
        let holding = Self {
            asked,
            state: State::Offering,
            since: Duration::ZERO,
            marks: Marks::default(),
            look: Look::default(),
            said: Duration::ZERO,
            any: false,
        };
        Next::Hold(Box::new(holding), vec![Effect::Say(offer)])
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Offering => Phase::Offering,
            State::Preparing => Phase::Preparing,
            State::Copying => Phase::Copying,
            State::Saving => Phase::FinalCopy,
            State::HandingOver => Phase::HandingOver,
            State::Committing { .. } => Phase::Committing,
            State::Aborting { .. } => Phase::Aborting,
        }
    }

    /// How the hypervisor's migration was when last looked at.
    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    /// Takes in what happened `at` this time since the beginning.
    pub(super) fn step(mut self, at: Duration, event: Event) -> Next {
        match (std::mem::replace(&mut self.state, State::Offering), event) {
            (State::Aborting { why }, event) => self.aborting(at, why, event),
            (State::Committing { link_lost }, event) => self.committing(at, link_lost, event),
            (state, event) => {
                self.state = state;
                match self.broken(at, &event) {
                    Some(why) => self.abort(at, why),
                    None => self.go_on(at, event),
                }
            }
        }
    }

    /// What ends the attempt in every phase before the commit is being recorded.
    fn broken(&self, at: Duration, event: &Event) -> Option<Why> {
        match event {
            Event::Cancelled => return Some(Why::Cancelled),
            Event::LinkLost(reason) => return Some(Why::LinkLost(reason.clone())),
            Event::MachineFailed(reason) | Event::GaveUp(reason) => {
                return Some(Why::MachineFailed(reason.clone()));
            }
            Event::Heard(DestinationMessage::Failed { reason }) => {
                return Some(Why::DestinationFailed(reason.clone()));
            }
            _ => {}
        }
        let (phase, asked) = (self.phase(), self.asked.offer.downtime);
        if let Some(since) = self.marks.stopped {
            let stopped = at.saturating_sub(since);
            return (stopped > self.budget()).then_some(Why::Overrun { phase, stopped, asked });
        }
        let waited = at.saturating_sub(self.since);
        if !matches!(self.state, State::Copying) && waited > ANSWER {
            return Some(Why::NoAnswer { phase, waited });
        }
        self.is_late(at)
    }

    /// How long a guest may be stopped before it is let run on here.
    fn budget(&self) -> Duration {
        // Where any interruption is allowed, what was left says how long it has to be.
        let expected = self.look.left().filter(|_| self.any).unwrap_or_default();
        self.asked.offer.downtime.max(expected).saturating_mul(OVERRUN).max(OVERRUN_LEAST)
    }

    fn is_late(&self, at: Duration) -> Option<Why> {
        let goes_on = self.asked.force || self.asked.on_miss == OnMiss::Extend;
        (at > self.asked.within && !goes_on).then(|| Why::Late {
            within: self.asked.within,
            left: self.look.remaining,
            rate: self.look.rate.to_string(),
            writing: self.look.writing.to_string(),
        })
    }

    fn go_on(mut self, at: Duration, event: Event) -> Next {
        match (&self.state, event) {
            (State::Offering, Event::Heard(DestinationMessage::Accepted { command_line })) => {
                if self.asked.offer.dry_run {
                    return self.stay(Why::Rehearsed { command_line }, None);
                }
                self.to(at, State::Preparing, vec![])
            }
            (State::Offering, Event::Heard(DestinationMessage::Refused(refusals))) => {
                self.stay(Why::Refused(refusals), None)
            }
            (State::Preparing, Event::Heard(DestinationMessage::Prepared)) => {
                self.marks.begun = Some(at);
                self.to(at, State::Copying, vec![Effect::Begin])
            }
            (State::Copying, Event::Looked(look)) => self.looked(at, look),
            (State::Copying, Event::Stopped { since }) => {
                self.marks.stopped = Some(since.min(at));
                self.marks.quiet = Some(at);
                self.to(at, State::Saving, vec![Effect::HandOver])
            }
            (State::Saving, Event::Saved) => {
                self.marks.saved = Some(at);
                let (device_state, missing) = Default::default();
                let handed = SourceMessage::HandOver { device_state, missing };
                self.to(at, State::HandingOver, vec![Effect::Say(handed)])
            }
            (State::HandingOver, Event::Heard(DestinationMessage::Ready { .. })) => {
                self.marks.loaded = Some(at);
                let state = State::Committing { link_lost: None };
                self.to(at, state, vec![Effect::RecordCommit])
            }
            (_, Event::Heard(DestinationMessage::Received { .. })) => self.hold(vec![]),
            (_, Event::Heard(message)) => {
                let said = format!("{message:?}");
                let said = said.split([' ', '(']).next().unwrap_or_default().to_lowercase();
                let phase = self.phase();
                self.abort(at, Why::Protocol { phase, said })
            }
            (State::Copying, Event::TimePassed) => self.passed(at),
            _ => self.hold(vec![]),
        }
    }

    fn looked(mut self, at: Duration, look: Look) -> Next {
        let another = look.passes > self.look.passes;
        self.look = look;
        if another { self.word(at, vec![]) } else { self.passed(at) }
    }

    /// Time has passed while the guest runs and memory is copied.
    fn passed(mut self, at: Duration) -> Next {
        let mut effects = vec![];
        // As much time again, where it is to be extended, and then the guest is stopped.
        let times = if self.asked.force { 1 } else { 2 };
        if !self.any && at > self.asked.within.saturating_mul(times) {
            self.any = true;
            effects.push(Effect::AllowAny);
        }
        if at.saturating_sub(self.said) > WORD_EVERY {
            self.word(at, effects)
        } else {
            self.hold(effects)
        }
    }

    /// Tells the destination that this side lives, by the round that it is in.
    fn word(mut self, at: Duration, mut effects: Vec<Effect>) -> Next {
        self.said = at;
        effects.push(Effect::Say(SourceMessage::RoundEnd { round: self.look.passes }));
        self.hold(effects)
    }

    fn hold(self, effects: Vec<Effect>) -> Next {
        Next::Hold(Box::new(self), effects)
    }

    fn to(self, at: Duration, state: State, effects: Vec<Effect>) -> Next {
        Self { state, since: at, ..self }.hold(effects)
    }

    fn abort(self, at: Duration, why: Why) -> Next {
        // Nothing has touched the machine yet.
        if self.marks.begun.is_none() {
            return self.stay(why, None);
        }
        self.to(at, State::Aborting { why }, vec![Effect::Resume])
    }

    fn aborting(mut self, at: Duration, why: Why, event: Event) -> Next {
        match event {
            Event::Resumed => {
                self.marks.running = self.marks.stopped.map(|_| at);
                self.stay(why, None)
            }
            Event::MachineFailed(reason) => self.stay(why, Some(reason)),
            _ => {
                self.state = State::Aborting { why };
                self.hold(vec![])
            }
        }
    }

    fn committing(mut self, at: Duration, link_lost: Option<String>, event: Event) -> Next {
        match event {
            Event::Recorded => {
                self.marks.committed = Some(at);
                Next::Committed(Committed::begin(self.marks, at, link_lost))
            }
            Event::NotRecorded(reason) => self.abort(at, Why::NotRecorded(reason)),
            Event::RecordUnknown(reason) => Next::Unknown { marks: self.marks, reason },
            Event::LinkLost(reason) => {
                self.to(at, State::Committing { link_lost: Some(reason) }, vec![])
            }
            _ => {
                self.state = State::Committing { link_lost };
                self.hold(vec![])
            }
        }
    }

    fn stay(self, why: Why, not_resumed: Option<String>) -> Next {
        let reason = why.to_string();
        let farewell = why.is_to_be_told().then_some(SourceMessage::Abort { reason });
        Next::Stayed { marks: self.marks, why, not_resumed, farewell }
    }
}

#[cfg(test)]
mod tests;
