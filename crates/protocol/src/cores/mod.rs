//! The engine's state machines as numbered states: a step that was taken once is looked up.
//!
//! The states have no equality of their own, so each is known by what `Debug` shows of it, which
//! is all that it holds. Time stands still (every event comes at the beginning) but for
//! [`Input::Late`], which comes when every limit has passed.

mod effects;
mod events;

use std::collections::HashMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use punctual_engine::Request;
use punctual_engine::destination::Destination;
use punctual_engine::source::{Committed, Holding};
use punctual_model::{Mode, Policy};
use punctual_units::{MemoryLayout, PAGE_SIZE, Pages, Region};
use punctual_wire::{DestinationMessage, MigrationId, Offer, Outcome, SourceMessage};

use crate::tasks::{Task, Written};
use crate::world::Kind;

/// Beyond every limit of the two sides.
const LATE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CoreId(u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MessageId(u8);

#[derive(Debug, Clone)]
enum Core {
    Holding(Box<Holding>, Kind),
    Committed(Box<Committed>),
    Destination(Box<Destination>),
}

#[derive(Debug, Clone)]
enum Message {
    ToDestination(SourceMessage),
    ToSource(DestinationMessage),
}

/// What a state machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Input {
    Heard(MessageId),
    LinkLost,
    Cancelled,
    /// Some time passes.
    Tick,
    /// So much time passes that every limit is exceeded.
    Late,
    /// Effects are done.
    Traced,
    Settled,
    Scanned,
    PagesSent,
    StateSent,
    StopPrepared,
    PageLinesOpen,
    PageLinesNotOpen,
    Forgot,
    PagedOnDemand,
    Stopped,
    Digested,
    Resumed,
    Admitted,
    NotAdmitted,
    Started,
    Loaded,
    Discarded,
    /// How a record went.
    Recorded(Written),
    /// An inquiry was answered, or not.
    Answered(Option<Answer>),
    /// An effect failed.
    Failed,
}

/// [`Outcome`], as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Committed,
    Aborted,
    Undecided,
}

/// What becomes of a state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    On(CoreId),
    /// Source: the destination's, and whether it was seen to run there.
    Moved {
        seen_running: bool,
        /// Whether pages follow it.
        leaves_pages: bool,
    },
    /// Source: its own.
    Stayed,
    /// Source: nobody can tell.
    Unknown,
    /// Destination.
    Runs,
    Stuck,
    Gone,
}

#[derive(Debug)]
pub(crate) struct Reaction {
    pub(crate) reached: Reached,
    pub(crate) tasks: Vec<Task>,
}

/// Things with a number each, known by what `Debug` shows of them.
#[derive(Debug)]
struct Table<T> {
    values: Vec<T>,
    numbers: HashMap<String, usize>,
}

impl<T: Debug> Table<T> {
    fn number(&mut self, value: T) -> usize {
        let values = &mut self.values;
        *self.numbers.entry(key(&value)).or_insert_with(|| {
            values.push(value);
            values.len() - 1
        })
    }
}

/// All that a value holds, but for how many times a destination has asked: that only makes the
/// pause before the next time longer, and would make the states endless.
fn key(value: &impl Debug) -> String {
    const COUNT: &str = "Unknown { asked: ";
    let mut key = format!("{value:?}");
    if let Some(at) = key.find(COUNT).map(|at| at + COUNT.len()) {
        let digits = key[at..].bytes().take_while(u8::is_ascii_digit).count();
        key.replace_range(at..at + digits, "");
    }
    key
}

#[derive(Debug)]
pub(crate) struct Cores {
    cores: Table<Core>,
    messages: Table<Message>,
    reactions: HashMap<(CoreId, Input), Rc<Reaction>>,
}

impl Cores {
    pub(crate) fn new() -> Self {
        Self {
            cores: Table { values: vec![], numbers: HashMap::new() },
            messages: Table { values: vec![], numbers: HashMap::new() },
            reactions: HashMap::new(),
        }
    }

    /// How many states of the engine's machines have been seen.
    pub(crate) fn len(&self) -> usize {
        self.cores.values.len()
    }

    /// A source that offers its machine.
    pub(crate) fn depart(&mut self, attempt: u8, kind: Kind) -> Reaction {
        let request = Request::new("there", Policy::default());
        let mode = if kind == Kind::Whole { request.mode } else { Mode::PostCopy };
        let next = Holding::begin(offer(attempt, kind), Request { mode, ..request });
        self.of_source(next, kind)
    }

    /// A destination to which a machine is offered; `None` where the message is no offer.
    pub(crate) fn arrive(&mut self, first: MessageId) -> Option<Reaction> {
        match &self.messages.values[usize::from(first.0)] {
            Message::ToDestination(SourceMessage::Offer(offer)) => {
                let next = Destination::begin((**offer).clone());
                Some(self.of_destination(next))
            }
            _ => None,
        }
    }

    pub(crate) fn react(&mut self, core: CoreId, input: Input) -> Rc<Reaction> {
        if let Some(reaction) = self.reactions.get(&(core, input)) {
            return Rc::clone(reaction);
        }
        let at = if input == Input::Late { LATE } else { Duration::ZERO };
        let reaction = match self.cores.values[usize::from(core.0)].clone() {
            Core::Holding(holding, kind) => match self.source_event(input, kind) {
                Some(event) => {
                    let next = holding.step(at, event);
                    self.of_source(next, kind)
                }
                None => unmoved(core),
            },
            Core::Committed(committed) => match self.source_event(input, Kind::Whole) {
                Some(event) => match committed.step(at, event) {
                    Ok(committed) => self.on(Core::Committed(Box::new(committed)), vec![]),
                    Err(moved) => {
                        let leaves_pages = moved.left.get() > 0;
                        let seen_running = moved.seen_running;
                        let reached = Reached::Moved { seen_running, leaves_pages };
                        Reaction { reached, tasks: vec![] }
                    }
                },
                None => unmoved(core),
            },
            Core::Destination(destination) => match self.destination_event(input) {
                Some(event) => {
                    let next = destination.step(at, event);
                    self.of_destination(next)
                }
                None => unmoved(core),
            },
        };
        let reaction = Rc::new(reaction);
        self.reactions.insert((core, input), Rc::clone(&reaction));
        reaction
    }

    /// Whether an input changes nothing and has nothing done.
    pub(crate) fn ignores(&mut self, core: CoreId, input: Input) -> bool {
        let Reaction { reached, tasks } = &*self.react(core, input);
        *reached == Reached::On(core) && tasks.is_empty()
    }

    /// Whether the source may have committed, as the destination sees it.
    pub(crate) fn may_be_committed(&self, core: CoreId) -> bool {
        match &self.cores.values[usize::from(core.0)] {
            Core::Destination(destination) => destination.may_be_committed(),
            _ => false,
        }
    }

    /// Whether it is a source behind its commit.
    pub(crate) fn is_committed(&self, core: CoreId) -> bool {
        matches!(self.cores.values[usize::from(core.0)], Core::Committed(_))
    }

    /// Whether these are the words that make the destination load, and so hold all that it needs.
    pub(crate) fn hands_over(&self, message: MessageId) -> bool {
        let message = &self.messages.values[usize::from(message.0)];
        matches!(message, Message::ToDestination(SourceMessage::HandOver { .. }))
    }

    pub(crate) fn asks_for_commit(&self, message: MessageId) -> bool {
        let message = &self.messages.values[usize::from(message.0)];
        matches!(message, Message::ToSource(DestinationMessage::Ready { .. }))
    }

    /// A message's name.
    pub(crate) fn name(&self, message: MessageId) -> String {
        let shown = match &self.messages.values[usize::from(message.0)] {
            Message::ToDestination(message) => format!("{message:?}"),
            Message::ToSource(message) => format!("{message:?}"),
        };
        shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    }

    fn on(&mut self, core: Core, tasks: Vec<Task>) -> Reaction {
        let number = self.cores.number(core);
        let number = u16::try_from(number).expect("the engine has few states without pages");
        Reaction { reached: Reached::On(CoreId(number)), tasks }
    }

    fn message(&mut self, message: Message) -> MessageId {
        let number = self.messages.number(message);
        MessageId(u8::try_from(number).expect("there are few different messages"))
    }

    /// What reasons say is for people: no side acts on it.
    pub(crate) fn say(&mut self, message: SourceMessage) -> MessageId {
        self.message(Message::ToDestination(match message {
            SourceMessage::Abort { .. } => SourceMessage::Abort { reason: String::new() },
            other => other,
        }))
    }

    fn answer(&mut self, message: DestinationMessage) -> MessageId {
        self.message(Message::ToSource(match message {
            DestinationMessage::Failed { .. } => {
                DestinationMessage::Failed { reason: String::new() }
            }
            DestinationMessage::Refused(_) => DestinationMessage::Refused(vec![]),
            other => other,
        }))
    }
}

fn unmoved(core: CoreId) -> Reaction {
    Reaction { reached: Reached::On(core), tasks: vec![] }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Committed => Self::Committed,
            Answer::Aborted => Self::Aborted,
            Answer::Undecided => Self::Undecided,
        }
    }
}

fn layout() -> MemoryLayout {
    let region = Region { name: "ram0".to_owned(), size: Pages::new(1).bytes() };
    MemoryLayout::new(vec![region]).expect("one region of one page is a memory")
}

fn offer(attempt: u8, kind: Kind) -> Offer {
    Offer {
        migration: MigrationId(u128::from(attempt)),
        machine: "web".to_owned(),
        source: "here".to_owned(),
        source_address: String::new(),
        layout: layout(),
        populated: PAGE_SIZE,
        description: vec![],
        downtime: Duration::from_secs(1),
        bandwidth: None,
        verify: false,
        dry_run: false,
        post_copy: kind != Kind::Whole,
        engine: punctual_wire::Engine::External,
    }
}
