//! Everything that decides what can happen next: two hosts, and what is between them.

use crate::cores::{Answer, CoreId, Input, MessageId};
use crate::following::Service;
use crate::local::Ended;
use crate::properties::Breach;
use crate::tasks::{Task, Written};

/// A world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub(crate) hosts: [Host; 2],
    /// The attempts begun so far, in their order.
    pub(crate) attempts: Vec<Attempt>,
    /// How many things may still go wrong, and how often the operator may still cancel.
    pub(crate) faults: u8,
    pub(crate) cancels: u8,
    /// What must never be has come to be; nothing follows.
    pub(crate) breach: Option<Breach>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    /// Whether its daemon is up.
    pub(crate) up: bool,
    /// The machine's record in the registry, on disk as in memory.
    pub(crate) record: Option<Standing>,
    /// The machine's process and memory, which outlive the daemon.
    pub(crate) copy: Option<Copy>,
    /// A write has left the log in a state that is not known; it takes no more.
    pub(crate) uncertain: bool,
    pub(crate) threads: Vec<Thread>,
}

/// `punctual_host::registry::Standing`, of the attempts counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Standing {
    Resident,
    Leaving(u8),
    Arriving(u8),
    Departed(u8),
    Undecided(u8),
    /// Gone, but its pages are still served.
    Serving(u8),
    /// Here, but pages of it are still at its source.
    Depending(u8),
    Ending,
}

impl Standing {
    /// The attempt that it names.
    pub(crate) fn attempt(self) -> Option<u8> {
        match self {
            Self::Departed(attempt) | Self::Serving(attempt) | Self::Depending(attempt) => {
                Some(attempt)
            }
            other => other.undecided(),
        }
    }

    /// The attempt that has yet to come to its end here.
    pub(crate) fn unfinished(self) -> Option<u8> {
        match self {
            Self::Departed(_) => None,
            other => other.attempt(),
        }
    }

    /// The attempt that has yet to decide over the machine.
    pub(crate) fn undecided(self) -> Option<u8> {
        match self {
            Self::Leaving(attempt) | Self::Arriving(attempt) | Self::Undecided(attempt) => {
                Some(attempt)
            }
            Self::Resident
            | Self::Departed(_)
            | Self::Serving(_)
            | Self::Depending(_)
            | Self::Ending => None,
        }
    }
}

/// What a host has of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    pub(crate) state: CopyState,
    /// Whether it holds all that the guest has done so far, but for pages that it lacks.
    pub(crate) fresh: bool,
    pub(crate) pages: Pages,
}

/// Where the pages of a machine are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pages {
    /// Here.
    Own,
    /// Some are still at the source: whoever touches one waits.
    Lacking,
    /// The last has come, and nobody is made to wait any more; that is on no record yet.
    Filled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CopyState {
    Running,
    Stopped,
    /// A process that waits for memory and device state.
    Incoming,
    Loaded,
}

impl Copy {
    /// Whether the guest could run on from it without a loss, if pages that it lacks come.
    pub(crate) fn could_run(self) -> bool {
        self.fresh && self.state != CopyState::Incoming
    }
}

/// An attempt: its connection, the two logs' records of it, and the inquiry about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    /// The source.
    pub(crate) from: u8,
    pub(crate) kind: Kind,
    pub(crate) to_destination: Lane,
    pub(crate) to_source: Lane,
    /// Once all has been handed over: whether that still is all that the guest has done.
    pub(crate) handed_over: Option<bool>,
    /// In the source's log: [`punctual_engine::Entry::Committed`].
    pub(crate) committed: Written,
    /// In the source's log: the attempt has ended, so that tidying may drop it.
    pub(crate) ended: bool,
    /// The source's log was tidied of it, and the destination's.
    pub(crate) forgotten: bool,
    pub(crate) let_go: bool,
    /// In the destination's log.
    pub(crate) asked: Written,
    pub(crate) running: Written,
    pub(crate) discarded: Written,
    /// Where pages follow: that they are owed, and that nothing is left of the attempt, in the
    /// source's log; that nothing is missing, in the destination's.
    pub(crate) owing: Written,
    pub(crate) surrendered: Written,
    pub(crate) whole: Written,
    pub(crate) service: Service,
    /// Where both ends are in one daemon: how each has ended.
    pub(crate) left: Option<Ended>,
    pub(crate) taken: Option<Ended>,
    pub(crate) inquiry: Inquiry,
    /// A question whose asker is gone may still come.
    pub(crate) stray: bool,
}

/// How a machine is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// All of it is there before it runs.
    Whole,
    /// A page of it follows.
    Following,
    /// Pages were to follow, but there are none.
    NothingFollows,
}

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) state: LaneState,
    pub(crate) messages: Vec<MessageId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LaneState {
    /// What is said arrives.
    Open,
    /// Its writer has closed it: what was said arrives, then its end.
    Closed,
    /// What is on its way may or may not arrive, and nothing more does.
    Cut,
    /// Its reader has seen its end, or reads no more.
    Ended,
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self { state: LaneState::Open, messages: vec![] }
    }

    /// Whether a cut would change anything.
    pub(crate) fn can_be_cut(&self) -> bool {
        self.state == LaneState::Open
            || self.state == LaneState::Closed && !self.messages.is_empty()
    }

    pub(crate) fn cut(&mut self) {
        if self.state != LaneState::Ended {
            self.state = LaneState::Cut;
        }
    }

    pub(crate) fn close(&mut self) {
        if self.state == LaneState::Open {
            self.state = LaneState::Closed;
        }
    }

    pub(crate) fn end(&mut self) {
        *self = Self { state: LaneState::Ended, messages: vec![] };
    }

    /// Whether its reader may come to its end.
    pub(crate) fn may_end(&self) -> bool {
        match self.state {
            LaneState::Open | LaneState::Ended => false,
            LaneState::Closed => self.messages.is_empty(),
            LaneState::Cut => true,
        }
    }
}

/// A question about an attempt, on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Inquiry {
    Idle,
    Asked,
    Answered(Answer),
    /// Its asker will find out that there is no answer.
    Lost,
}

/// What a thread is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Drives a source, and does what follows.
    Leaving,
    /// Drives a destination, and does what follows.
    Arriving,
    /// Puts in order what an earlier daemon left.
    Recovering,
    /// Removes what is left of a machine that is known to have gone.
    Clearing,
    /// Tells the source that its machine runs.
    Reminding,
    /// Serves pages of a machine that an earlier daemon has committed away.
    Serving,
    /// Takes in pages of a machine that runs here.
    Depending,
}

/// A thread of a daemon: it does its tasks in order, then takes the answers to them, then hears.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Thread {
    pub(crate) role: Role,
    pub(crate) attempt: u8,
    pub(crate) core: Option<CoreId>,
    pub(crate) todo: Vec<Task>,
    /// Answers to what was done at once, which come before what is heard.
    pub(crate) answers: Vec<Input>,
    /// Answers to what other threads do, which come in any order with what is heard.
    pub(crate) later: Vec<Input>,
    pub(crate) asking: Asking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Asking {
    No,
    Due,
    Waiting,
}

impl Thread {
    pub(crate) fn of(role: Role, attempt: u8, todo: Vec<Task>) -> Self {
        let (answers, later, asking) = (vec![], vec![], Asking::No);
        Self { role, attempt, core: None, todo, answers, later, asking }
    }

    /// Whether it waits for something from outside.
    pub(crate) fn is_idle(&self) -> bool {
        self.core.is_some()
            && self.todo.is_empty()
            && self.answers.is_empty()
            && self.asking != Asking::Waiting
    }
}

impl World {
    pub(crate) fn host(&mut self, host: u8) -> &mut Host {
        &mut self.hosts[usize::from(host)]
    }

    pub(crate) fn attempt(&mut self, attempt: u8) -> &mut Attempt {
        &mut self.attempts[usize::from(attempt)]
    }

    pub(crate) fn thread(&mut self, host: u8, thread: usize) -> &mut Thread {
        &mut self.hosts[usize::from(host)].threads[thread]
    }

    /// Whether a host hears others: its daemon is up and has put things in order, but for a machine
    /// that it has taken over and whose process may be waiting for a page.
    pub(crate) fn serves(&self, host: u8) -> bool {
        let host = &self.hosts[usize::from(host)];
        let busy = |thread: &Thread| {
            let waits = match thread.todo.first() {
                Some(Task::Ask) => true,
                Some(Task::TakeOver) => false,
                _ => thread.todo.contains(&Task::Depend),
            };
            thread.role == Role::Recovering && !waits
        };
        host.up && !host.threads.iter().any(busy)
    }

    /// The lanes of an attempt as one of its hosts sees them: what comes in, what goes out.
    pub(crate) fn lanes(&mut self, host: u8, attempt: u8) -> (&mut Lane, &mut Lane) {
        let attempt = self.attempt(attempt);
        if attempt.from == host {
            (&mut attempt.to_source, &mut attempt.to_destination)
        } else {
            (&mut attempt.to_destination, &mut attempt.to_source)
        }
    }

    /// Ends a host's part of a connection.
    pub(crate) fn close(&mut self, host: u8, attempt: u8) {
        let (incoming, outgoing) = self.lanes(host, attempt);
        incoming.end();
        outgoing.close();
    }

    /// Something is sent. Where nobody reads any more that fails, and who sends learns so, whatever
    /// there is still to be heard.
    pub(crate) fn send(&mut self, host: u8, attempt: u8, message: Option<MessageId>) {
        let (incoming, outgoing) = self.lanes(host, attempt);
        match outgoing.state {
            LaneState::Open => outgoing.messages.extend(message),
            LaneState::Ended => incoming.cut(),
            LaneState::Closed | LaneState::Cut => {}
        }
    }

    /// Lets the guest run from what a host has of it; whatever else there is of it is old then.
    pub(crate) fn let_run(&mut self, host: u8) {
        match &mut self.host(host).copy {
            Some(Copy { state: CopyState::Running, .. }) => return,
            Some(copy) if copy.could_run() => copy.state = CopyState::Running,
            Some(Copy { state: CopyState::Incoming, .. }) | None => {
                return self.breach(Breach::RunsWhatIsNotThere);
            }
            Some(_) => return self.breach(Breach::RunsWhatIsOld),
        }
        if let Some(other) = &mut self.host(1 - host).copy {
            if other.state == CopyState::Running {
                return self.breach(Breach::TwoRun);
            }
            other.fresh = false;
        }
        for attempt in &mut self.attempts {
            attempt.handed_over = attempt.handed_over.map(|_| false);
        }
    }

    /// Removes whatever a host has of the machine.
    pub(crate) fn remove(&mut self, host: u8) {
        let before = self.can_go_on();
        let removed = self.host(host).copy.take();
        if before && !self.can_go_on() {
            let needed = removed.is_some_and(|copy| !copy.could_run());
            self.breach(match needed {
                true => Breach::RemovesNeededPages,
                false => Breach::RemovesTheOnlyCopy,
            });
        }
    }

    /// Whether the guest can run on from some copy: it is up to date, and what it lacks is at the
    /// other host.
    fn can_go_on(&self) -> bool {
        let here = |host: usize| {
            let has_all =
                |copy: Copy| copy.pages != Pages::Lacking || self.hosts[1 - host].copy.is_some();
            self.hosts[host].copy.is_some_and(|copy| copy.could_run() && has_all(copy))
        };
        here(0) || here(1)
    }

    pub(crate) fn breach(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    /// Drops what has come to its end, and gives what is left one order.
    pub(crate) fn settle(&mut self) {
        self.close_page_lines();
        for host in &mut self.hosts {
            host.threads.retain(|thread| thread.core.is_some() || !thread.todo.is_empty());
            host.threads.sort();
        }
    }
}
