//! The destination's driver.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use punctual_guest::DestinationMachine;
use punctual_link::Closer;
use punctual_units::PageSet;
use punctual_wire::{Inquiry, Offer, Outcome, PageLine, Refusal};
use thiserror::Error;

use super::inlet::{Shared, Voice, receive, say};
use super::{Connection, told};
use crate::destination::{Destination, Effect, End, Event, Next, Record};
use crate::journal::{Entry, Journal};
use crate::post_copy::Depending;

/// How often time passes for the state machine where nothing else happens.
const TICK: Duration = Duration::from_millis(50);
/// How long a machine may take to load its device state. The source gives up before.
const LOADING: Duration = Duration::from_secs(10);

/// A machine that this host would take.
pub struct Admission {
    /// The command line that it will have.
    pub command_line: Vec<String>,
    /// Starts its process, which then waits for device state. Not called in a rehearsal.
    pub start: Start,
}

/// What starts the process of a machine that was admitted.
pub type Start = Box<dyn FnOnce() -> Result<Box<dyn DestinationMachine>, StartError>>;

/// Why a process did not start: said to the source as it is.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Why an inquiry was not answered.
#[derive(Debug, Error)]
pub enum Unanswered {
    /// Nobody could be reached who knows. It will be asked again.
    #[error("{0}")]
    Later(String),
    /// This daemon is to end. Whoever starts it again asks again, before anything else is done
    /// with the machine.
    #[error("the daemon ends")]
    Ending,
}

/// How a move ended at the destination.
pub enum Immigration {
    /// It was refused, only rehearsed, or ended before anything was started.
    NothingStarted {
        /// Why.
        reason: String,
    },
    /// The machine runs here.
    Runs {
        /// The machine.
        machine: Box<dyn DestinationMachine>,
        /// What brings the pages that it still lacks, if it does.
        depending: Option<Depending>,
    },
    /// The machine is this host's, but does not run. It must not be dropped or discarded.
    Stuck {
        /// The machine.
        machine: Box<dyn DestinationMachine>,
        /// Why, and what to do.
        reason: String,
    },
    /// What was here of the machine is gone.
    Discarded {
        /// Why.
        reason: String,
    },
    /// The daemon ends before the outcome is known. The machine must neither be dropped nor
    /// discarded: let its process be, and ask again when the daemon is back.
    Undecided {
        /// The machine.
        machine: Box<dyn DestinationMachine>,
    },
}

impl fmt::Debug for Immigration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingStarted { reason } => write!(f, "NothingStarted({reason})"),
            Self::Runs { depending: None, .. } => write!(f, "Runs"),
            Self::Runs { .. } => write!(f, "Runs, and lacks pages yet"),
            Self::Stuck { reason, .. } => write!(f, "Stuck({reason})"),
            Self::Discarded { reason } => write!(f, "Discarded({reason})"),
            Self::Undecided { .. } => write!(f, "Undecided"),
        }
    }
}

/// Takes a machine that the host at the other end of `link` has offered.
///
/// `offer` is the first message that came over the link. `prepare` sees whether anything is in the
/// way. `arbiter` asks the source's host, over a connection of its own and within some seconds, how
/// the attempt stands; it is only called where the link was lost after the commit was asked for,
/// and then until it answers. Over `lines` come the connections that the source opens for pages
/// that follow the machine. Blocks until the outcome is clear. Uses one thread more.
pub fn immigrate(
    link: impl Into<Connection>,
    offer: Offer,
    prepare: impl FnOnce(&Offer) -> Result<Admission, Vec<Refusal>>,
    journal: &dyn Journal,
    arbiter: impl FnMut(Inquiry) -> Result<Outcome, Unanswered>,
    lines: Lines,
) -> Immigration {
    let Connection { sender, receiver, closer } = link.into();
    let voice = Arc::new(Mutex::new(sender));
    let shared = Arc::new(Shared::default());
    let (events, inbox) = mpsc::channel();
    let layout = offer.layout.clone();
    let inlet = receive(receiver, Arc::clone(&voice), layout, Arc::clone(&shared), events);
    let driver = Driver {
        offer: offer.clone(),
        begin: Instant::now(),
        prepare: Some(prepare),
        start: None,
        machine: None,
        voice,
        shared,
        closer: closer.clone(),
        inbox,
        answers: VecDeque::new(),
        inquire_at: None,
        journal,
        arbiter,
        ending: false,
        lines: Some(lines),
        depending: None,
    };
    let immigration = driver.run(Destination::begin(offer));
    closer.close();
    // It ends with the connection.
    let _ = inlet.join();
    immigration
}

struct Driver<'a, P, A> {
    offer: Offer,
    begin: Instant,
    prepare: Option<P>,
    start: Option<Start>,
    machine: Option<Box<dyn DestinationMachine>>,
    voice: Voice,
    shared: Arc<Shared>,
    closer: Closer,
    inbox: mpsc::Receiver<Event>,
    /// Answers to effects that were carried out at once.
    answers: VecDeque<Event>,
    inquire_at: Option<Instant>,
    journal: &'a dyn Journal,
    arbiter: A,
    /// The daemon is to end.
    ending: bool,
    /// The connections for pages, until somebody has them.
    lines: Option<Lines>,
    /// What brings pages that are missing.
    depending: Option<Depending>,
}

/// Connections whose first message said that pages of the machine will follow over them.
pub type Lines = mpsc::Receiver<(PageLine, Connection)>;

impl<P, A> Driver<'_, P, A>
where
    P: FnOnce(&Offer) -> Result<Admission, Vec<Refusal>>,
    A: FnMut(Inquiry) -> Result<Outcome, Unanswered>,
{
    fn run(mut self, mut next: Next) -> Immigration {
        loop {
            match next {
                Next::Go(destination, effects) => {
                    for effect in effects {
                        self.carry_out(effect);
                    }
                    if self.ending
                        && let Some(machine) = self.machine.take()
                    {
                        return Immigration::Undecided { machine };
                    }
                    let event = self.next_event();
                    next = destination.step(self.begin.elapsed(), event);
                }
                Next::End(end, effects) => {
                    for effect in effects {
                        self.carry_out(effect);
                    }
                    return self.ended(end);
                }
            }
        }
    }

    fn next_event(&mut self) -> Event {
        if let Some(event) = self.answers.pop_front() {
            return event;
        }
        let now = Instant::now();
        let wait = self.inquire_at.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
        match self.inbox.recv_timeout(wait) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => self.inquire(),
            // The receiving thread has said its last.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(wait);
                self.inquire()
            }
        }
    }

    /// Asks how the attempt stands, if that is due.
    fn inquire(&mut self) -> Event {
        if self.inquire_at.is_none_or(|at| at > Instant::now()) {
            return Event::TimePassed;
        }
        self.inquire_at = None;
        match (self.arbiter)(Inquiry { migration: self.offer.migration }) {
            Ok(outcome) => Event::Answered(outcome),
            Err(Unanswered::Later(reason)) => Event::NotAnswered(reason),
            Err(Unanswered::Ending) => {
                self.ending = true;
                Event::TimePassed
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let answer = match effect {
            Effect::Say(message) => match say(&self.voice, &message) {
                Ok(()) => return,
                // The receiving thread ends too, and says so.
                Err(_) => return self.closer.close(),
            },
            Effect::Inquire { after } => {
                self.inquire_at = Some(Instant::now() + after);
                return;
            }
            Effect::Admit => self.admit(),
            Effect::Record(record) => match self.journal.record(&self.entry(record)) {
                Ok(()) => Event::Recorded,
                Err(error) => Event::NotRecorded(told(&error)),
            },
            Effect::Start => self.start(),
            Effect::Forget { pages } => match self.machine().forget(&pages) {
                Ok(()) => Event::Forgot,
                Err(error) => Event::Failed(told(&error)),
            },
            Effect::PageOnDemand { missing } => self.page_on_demand(&missing),
            Effect::Digest { except } => self.digest(&except),
            Effect::Load => self.load(),
            Effect::Resume => self.resume(),
            Effect::Discard => {
                self.discard();
                Event::Discarded
            }
        };
        self.answers.push_back(answer);
    }

    fn admit(&mut self) -> Event {
        let prepare = self.prepare.take().expect("an offer is looked at once");
        match prepare(&self.offer) {
            Ok(Admission { command_line, start }) => {
                self.start = Some(start);
                Event::Admitted { command_line }
            }
            Err(refusals) => Event::NotAdmitted(refusals),
        }
    }

    fn start(&mut self) -> Event {
        let start = self.start.take().expect("a machine is started once, after it was admitted");
        let machine = match start() {
            Ok(machine) => machine,
            Err(error) => return Event::Failed(told(&*error)),
        };
        let ram = Arc::clone(machine.ram());
        self.machine = Some(machine);
        if *ram.layout() != self.offer.layout {
            return Event::Failed(format!(
                "machine `{}` has other memory here than at the source; start it with the same",
                self.offer.machine
            ));
        }
        self.shared.open(ram);
        Event::Started
    }

    fn machine(&mut self) -> &mut dyn DestinationMachine {
        self.machine.as_deref_mut().expect("the state machine asks for this only once it is there")
    }

    fn page_on_demand(&mut self, missing: &PageSet) -> Event {
        let lines = self.lines.take().expect("pages are missing once");
        match self.machine().page_on_demand(missing) {
            Ok(demand) => {
                let (layout, verify) = (self.offer.layout.clone(), self.offer.verify);
                self.depending = Some(Depending::begin(demand, layout, lines, verify));
                Event::PagedOnDemand
            }
            Err(error) => Event::Failed(told(&error)),
        }
    }

    fn digest(&mut self, except: &PageSet) -> Event {
        let begin = Instant::now();
        match self.machine().ram().digest_without(except) {
            Ok(digest) => Event::Digested { digest: digest.get(), took: begin.elapsed() },
            Err(error) => Event::Failed(told(&error)),
        }
    }

    fn load(&mut self) -> Event {
        let begin = Instant::now();
        let state = self.shared.take_device_state();
        let written = match self.machine().device_state() {
            Ok(mut into) => into.write_all(&state).and_then(|()| into.flush()),
            Err(error) => return Event::Failed(told(&error)),
        };
        // If it did not take all of its state, the machine itself knows best why.
        match (self.machine().wait_loaded(LOADING), written) {
            (Ok(()), Ok(())) => Event::Loaded { took: begin.elapsed() },
            (Err(error), _) => Event::Failed(told(&error)),
            (Ok(()), Err(error)) => Event::Failed(format!("writing the device state: {error}")),
        }
    }

    fn resume(&mut self) -> Event {
        let begin = Instant::now();
        match self.machine().resume() {
            Ok(runs) => Event::Resumed { took: runs.saturating_duration_since(begin) },
            Err(error) => Event::Failed(told(&error)),
        }
    }

    fn discard(&mut self) {
        if let Some(machine) = self.machine.take()
            && let Err(error) = machine.discard()
        {
            let machine = &self.offer.machine;
            tracing::warn!(machine, error = told(&error), "something was left behind");
        }
    }

    fn entry(&self, record: Record) -> Entry {
        let migration = self.offer.migration;
        match record {
            Record::Accepted => Entry::Accepted {
                migration,
                machine: self.offer.machine.clone(),
                source: self.offer.source.clone(),
                source_address: self.offer.source_address.clone(),
            },
            Record::AskedForCommit => Entry::AskedForCommit { migration },
            Record::Running => Entry::Running { migration },
            Record::Discarded { reason } => Entry::Discarded { migration, reason },
        }
    }

    fn ended(mut self, end: End) -> Immigration {
        let machine = self.machine.take();
        match (end, machine) {
            (End::Runs, Some(machine)) => {
                Immigration::Runs { machine, depending: self.depending.take() }
            }
            (End::Stuck { reason }, Some(machine)) => Immigration::Stuck { machine, reason },
            (End::NothingStarted { reason }, _) => Immigration::NothingStarted { reason },
            (End::Discarded { reason }, _) => Immigration::Discarded { reason },
            (End::Runs | End::Stuck { .. }, None) => {
                unreachable!("only a machine that was started runs or is stuck")
            }
        }
    }
}
