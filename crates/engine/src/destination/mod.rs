//! The destination of a move: what it does when. Pure: time comes in with each event.
//!
//! ```text
//!  Admitting ──► Measuring ──► Starting ──► Receiving ──► Loading ──► Ready ──Commit──► Resuming
//!      │         (where a rate     │   Prepared │  HandOver  │          │ │                 │
//!      │          was asked for)   │            │            │    Abort │ │ link lost       │ runs
//!      ▼              │            ▼            ▼            ▼          │ ▼                 ▼
//!  NothingStarted ◄───┘        Discarding ◄─────┴────────────┴──────────┤ Unknown ───────► Runs
//!                                   │                          aborted  │   │  ▲     committed
//!                                   ▼                        ◄──────────┴───┘  └─ not answered,
//!                               Discarded                                         undecided: again
//! ```
//!
//! Before it says `Ready` the destination discards on any failure: the source cannot have
//! committed. From then on it neither runs nor discards the machine before it knows the outcome,
//! from the source's word or from the source's log, however long that takes.

mod event;
#[cfg(test)]
mod tests;

use std::time::Duration;

use punctual_units::{Bytes, PageSet};
use punctual_wire::{DestinationMessage, Message as _, Offer, Outcome, SourceMessage};

pub use event::{Effect, End, Event, Record};

use crate::probe::Measured;

/// How long the destination waits for the source's decision before it asks for it.
const DECISION: Duration = Duration::from_secs(5);
/// The first inquiry comes at once, the second after this time, each further one after twice the
/// time before ...
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// ... but never later than this.
const ASK_AGAIN_MOST: Duration = Duration::from_secs(2);

/// The destination of a move.
#[derive(Debug, Clone)]
pub struct Destination {
    offer: Offer,
    state: State,
}

/// What becomes of the destination after an event.
#[derive(Debug)]
pub enum Next {
    /// It goes on; these are to be done, in this order.
    Go(Box<Destination>, Vec<Effect>),
    /// The attempt has ended; these are still to be done, and no answer to them is expected.
    End(End, Vec<Effect>),
}

#[derive(Debug, Clone)]
enum State {
    Admitting,
    /// Waits for the measure of the link, or for the end of a rehearsal.
    Measuring(Measured),
    /// The process is being started, or what it needs recorded. An attempt that ended meanwhile
    /// is `doomed`: it is discarded as soon as there is something to discard.
    Starting {
        step: StartStep,
        doomed: Option<String>,
    },
    Receiving {
        device_state: Bytes,
        missing: PageSet,
    },
    Loading {
        missing: PageSet,
        digest: Option<u128>,
        verifying: Duration,
    },
    Ready {
        since: Duration,
    },
    Unknown {
        asked: u32,
    },
    Resuming,
    Running,
    Discarding {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartStep {
    RecordAccepted,
    Start,
    RecordAsking,
}

impl Destination {
    /// Takes in an offer.
    #[must_use]
    pub fn begin(offer: Offer) -> Next {
        Next::Go(Box::new(Self { offer, state: State::Admitting }), vec![Effect::Admit])
    }

    /// Whether pages may come in now; at any other time they are a mistake of the source.
    #[must_use]
    pub fn takes_pages(&self) -> bool {
        matches!(self.state, State::Receiving { .. })
    }

    /// Whether the source may have committed, so that the machine must be kept as it is until the
    /// outcome is known.
    #[must_use]
    pub fn may_be_committed(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Unknown { .. } | State::Resuming)
    }

    /// Takes in what happened `at` this time since the beginning.
    #[must_use]
    pub fn step(self, at: Duration, event: Event) -> Next {
        let Self { offer, state } = self;
        match state {
            State::Admitting => admitting(offer, event),
            State::Measuring(measured) => measuring(offer, measured, event),
            State::Starting { step, doomed } => starting(offer, step, doomed, event),
            State::Receiving { device_state, missing } => {
                receiving(offer, device_state, missing, event)
            }
            State::Loading { missing, digest, verifying } => {
                loading(offer, at, Loading { missing, digest, verifying }, event)
            }
            State::Ready { since } => ready(offer, at, since, event),
            State::Unknown { asked } => unknown(offer, asked, event),
            State::Resuming => resuming(offer, event),
            State::Running => match event {
                Event::Recorded | Event::NotRecorded(_) => Next::End(End::Runs, vec![]),
                _ => go(offer, State::Running, vec![]),
            },
            State::Discarding { reason } => match event {
                Event::Discarded => {
                    let record = Effect::Record(Record::Discarded { reason: reason.clone() });
                    Next::End(End::Discarded { reason }, vec![record])
                }
                _ => go(offer, State::Discarding { reason }, vec![]),
            },
        }
    }
}

fn go(offer: Offer, state: State, effects: Vec<Effect>) -> Next {
    Next::Go(Box::new(Destination { offer, state }), effects)
}

fn nothing_started(reason: String) -> Next {
    Next::End(End::NothingStarted { reason }, vec![])
}

/// Ends an attempt of which a process is there.
fn discard(offer: Offer, reason: String, tell: bool) -> Next {
    let mut effects = vec![];
    if tell {
        effects.push(Effect::Say(DestinationMessage::Failed { reason: reason.clone() }));
    }
    effects.push(Effect::Discard);
    go(offer, State::Discarding { reason }, effects)
}

/// Why an event ends an attempt that cannot have been committed, and whether the source is to be
/// told; `None` for an event that ends nothing.
fn ending(event: &Event) -> Option<(String, bool)> {
    Some(match event {
        Event::LinkLost(reason) => (format!("the link was lost: {reason}"), false),
        Event::Heard(SourceMessage::Abort { reason }) => {
            (format!("the source ended the move: {reason}"), false)
        }
        Event::Failed(reason) => (reason.clone(), true),
        Event::NotRecorded(reason) => (reason.clone(), true),
        Event::Heard(message) => {
            let reason = format!(
                "the source said `{}` at a time when that has no meaning; run one version on both \
                 hosts",
                message.name()
            );
            (reason, true)
        }
        _ => return None,
    })
}

fn admitting(offer: Offer, event: Event) -> Next {
    match event {
        Event::Admitted { command_line } => {
            let accepted = Effect::Say(DestinationMessage::Accepted { command_line });
            if offer.dry_run || offer.bandwidth.is_some() {
                go(offer, State::Measuring(Measured::default()), vec![accepted])
            } else {
                start(offer, accepted)
            }
        }
        Event::NotAdmitted(refusals) => {
            let reason = "the machine was refused".to_owned();
            let refused = Effect::Say(DestinationMessage::Refused(refusals));
            Next::End(End::NothingStarted { reason }, vec![refused])
        }
        other => before_start(offer, State::Admitting, &other),
    }
}

fn measuring(offer: Offer, mut measured: Measured, event: Event) -> Next {
    match event {
        Event::Probed { rate } => {
            let probed = Effect::Say(DestinationMessage::Probed { rate });
            measured.add(rate);
            let enough = offer.bandwidth.is_some_and(|asked| measured.is_enough(asked));
            if enough && !offer.dry_run {
                start(offer, probed)
            } else {
                go(offer, State::Measuring(measured), vec![probed])
            }
        }
        other => before_start(offer, State::Measuring(measured), &other),
    }
}

fn before_start(offer: Offer, state: State, event: &Event) -> Next {
    match ending(event) {
        Some((reason, true)) => {
            let failed = Effect::Say(DestinationMessage::Failed { reason: reason.clone() });
            Next::End(End::NothingStarted { reason }, vec![failed])
        }
        Some((reason, false)) => nothing_started(reason),
        None => go(offer, state, vec![]),
    }
}

fn start(offer: Offer, say: Effect) -> Next {
    let state = State::Starting { step: StartStep::RecordAccepted, doomed: None };
    go(offer, state, vec![say, Effect::Record(Record::Accepted)])
}

fn starting(offer: Offer, step: StartStep, doomed: Option<String>, event: Event) -> Next {
    let starting = |step| State::Starting { step, doomed: None };
    match (event, step, doomed) {
        (Event::Recorded, StartStep::RecordAccepted, None) => {
            go(offer, starting(StartStep::Start), vec![Effect::Start])
        }
        (Event::Started, StartStep::Start, None) => {
            let record = Effect::Record(Record::AskedForCommit);
            go(offer, starting(StartStep::RecordAsking), vec![record])
        }
        (Event::Recorded, StartStep::RecordAsking, None) => {
            let prepared = Effect::Say(DestinationMessage::Prepared);
            let missing = PageSet::empty(offer.layout.pages());
            go(offer, State::Receiving { device_state: Bytes::ZERO, missing }, vec![prepared])
        }
        // The effect under way has ended: now there is nothing, or something to be discarded.
        (Event::Recorded | Event::NotRecorded(_), StartStep::RecordAccepted, Some(reason)) => {
            never_started(reason, None)
        }
        (Event::Failed(_), StartStep::Start, Some(reason)) => never_started(reason, None),
        (Event::Started | Event::Recorded | Event::NotRecorded(_), _, Some(reason)) => {
            discard(offer, reason, false)
        }
        (Event::Failed(reason) | Event::NotRecorded(reason), step, None) => match step {
            StartStep::RecordAccepted | StartStep::Start => {
                let failed = Effect::Say(DestinationMessage::Failed { reason: reason.clone() });
                never_started(reason, Some(failed))
            }
            StartStep::RecordAsking => discard(offer, reason, true),
        },
        (event, step, doomed) => {
            let mut effects = vec![];
            let doomed = doomed.or_else(|| {
                let (reason, tell) = ending(&event)?;
                if tell {
                    let reason = reason.clone();
                    effects.push(Effect::Say(DestinationMessage::Failed { reason }));
                }
                Some(reason)
            });
            go(offer, State::Starting { step, doomed }, effects)
        }
    }
}

fn never_started(reason: String, say: Option<Effect>) -> Next {
    let record = Effect::Record(Record::Discarded { reason: reason.clone() });
    Next::End(End::NothingStarted { reason }, say.into_iter().chain([record]).collect())
}

fn receiving(offer: Offer, device_state: Bytes, mut missing: PageSet, event: Event) -> Next {
    match event {
        Event::StateReceived { bytes } => {
            go(offer, State::Receiving { device_state: bytes, missing }, vec![])
        }
        Event::Heard(SourceMessage::RoundEnd { .. }) => {
            go(offer, State::Receiving { device_state, missing }, vec![])
        }
        Event::Heard(SourceMessage::Missing(pages)) if offer.post_copy => {
            let mut pages_now = PageSet::empty(missing.capacity());
            match pages.add_to(&mut pages_now) {
                Ok(()) => {
                    missing.union(&pages_now);
                    let forget = Effect::Forget { pages: pages_now };
                    go(offer, State::Receiving { device_state, missing }, vec![forget])
                }
                Err(error) => discard(offer, error.to_string(), true),
            }
        }
        Event::Forgot => {
            let pages = missing.len();
            let forgotten = Effect::Say(DestinationMessage::Forgotten { pages });
            go(offer, State::Receiving { device_state, missing }, vec![forgotten])
        }
        Event::Heard(SourceMessage::HandOver { device_state: state, missing: pages }) => {
            if (state, pages) == (device_state, missing.len()) {
                return handed_over(offer, missing);
            }
            let reason = format!(
                "{device_state} of device state and a list of {} missing pages came in where the \
                 source sent {state} and {}; run one version on both hosts",
                missing.len().get(),
                pages.get()
            );
            discard(offer, reason, true)
        }
        other => match ending(&other) {
            Some((reason, tell)) => discard(offer, reason, tell),
            None => go(offer, State::Receiving { device_state, missing }, vec![]),
        },
    }
}

/// Nothing but missing pages is still to come.
fn handed_over(offer: Offer, missing: PageSet) -> Next {
    // Devices read the memory while they load, so missing pages are made to be waited for first.
    let first = if missing.is_empty() {
        first_of_loading(&offer, &missing)
    } else {
        Effect::PageOnDemand { missing: missing.clone() }
    };
    let state = State::Loading { missing, digest: None, verifying: Duration::ZERO };
    go(offer, state, vec![first])
}

/// The digest comes first: devices may write to the memory while they load.
fn first_of_loading(offer: &Offer, missing: &PageSet) -> Effect {
    if offer.verify { Effect::Digest { except: missing.clone() } } else { Effect::Load }
}

struct Loading {
    missing: PageSet,
    digest: Option<u128>,
    verifying: Duration,
}

fn loading(offer: Offer, at: Duration, state: Loading, event: Event) -> Next {
    let Loading { missing, digest, verifying } = state;
    match event {
        Event::PagedOnDemand => {
            let next = first_of_loading(&offer, &missing);
            go(offer, State::Loading { missing, digest, verifying }, vec![next])
        }
        Event::Digested { digest, took } => {
            let state = State::Loading { missing, digest: Some(digest), verifying: took };
            go(offer, state, vec![Effect::Load])
        }
        Event::Loaded { took } => {
            let ready = DestinationMessage::Ready { digest, loading: took, verifying };
            go(offer, State::Ready { since: at }, vec![Effect::Say(ready)])
        }
        other => match ending(&other) {
            Some((reason, tell)) => discard(offer, reason, tell),
            None => go(offer, State::Loading { missing, digest, verifying }, vec![]),
        },
    }
}

fn ready(offer: Offer, at: Duration, since: Duration, event: Event) -> Next {
    match event {
        Event::Heard(SourceMessage::Commit) => committed(offer),
        Event::Heard(SourceMessage::Abort { reason }) => aborted(offer, &reason),
        Event::LinkLost(_) => ask(offer, 0),
        _ if at.saturating_sub(since) > DECISION => ask(offer, 0),
        _ => go(offer, State::Ready { since }, vec![]),
    }
}

fn unknown(offer: Offer, asked: u32, event: Event) -> Next {
    match event {
        Event::Heard(SourceMessage::Commit) | Event::Answered(Outcome::Committed) => {
            committed(offer)
        }
        Event::Heard(SourceMessage::Abort { reason }) => aborted(offer, &reason),
        Event::Answered(Outcome::Aborted) => aborted(offer, "its log has no commit"),
        Event::Answered(Outcome::Undecided) | Event::NotAnswered(_) => ask(offer, asked),
        _ => go(offer, State::Unknown { asked }, vec![]),
    }
}

fn ask(offer: Offer, asked: u32) -> Next {
    let after = match asked {
        0 => Duration::ZERO,
        again => ASK_AGAIN.saturating_mul(1 << (again - 1).min(16)).min(ASK_AGAIN_MOST),
    };
    let state = State::Unknown { asked: asked.saturating_add(1) };
    go(offer, state, vec![Effect::Inquire { after }])
}

/// The only place from which the guest is let run.
fn committed(offer: Offer) -> Next {
    go(offer, State::Resuming, vec![Effect::Resume])
}

fn aborted(offer: Offer, reason: &str) -> Next {
    discard(offer, format!("the source keeps the machine: {reason}"), false)
}

fn resuming(offer: Offer, event: Event) -> Next {
    match event {
        Event::Resumed { took } => {
            let running = Effect::Say(DestinationMessage::Running { resuming: took });
            go(offer, State::Running, vec![running, Effect::Record(Record::Running)])
        }
        Event::Failed(reason) => {
            let reason = format!(
                "the machine is this host's, but it could not be made to run: {reason}; resume it \
                 by hand, and do not start it anywhere else"
            );
            let failed = Effect::Say(DestinationMessage::Failed { reason: reason.clone() });
            Next::End(End::Stuck { reason }, vec![failed])
        }
        _ => go(offer, State::Resuming, vec![]),
    }
}
