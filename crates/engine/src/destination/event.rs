use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, PageSet};
use punctual_wire::{DestinationMessage, Outcome, Refusal, SourceMessage};

/// What happens to the destination of a move.
#[derive(Debug, Clone)]
pub enum Event {
    /// The source says something. Pages, padding and device state do not come this way: the driver
    /// puts them where they belong.
    Heard(SourceMessage),
    /// The link is gone, for this reason.
    LinkLost(String),
    /// Time passes. Comes at least every 100 ms.
    TimePassed,
    /// [`Effect::Admit`] is done: nothing is in the way.
    Admitted {
        /// The command line that the machine will have here.
        command_line: Vec<String>,
    },
    /// [`Effect::Admit`] found what is in the way.
    NotAdmitted(Vec<Refusal>),
    /// A probe has come to its end.
    Probed {
        /// The rate at which it came in.
        rate: BytesPerSecond,
    },
    /// [`Effect::Start`] is done: the machine's process waits for device state.
    Started,
    /// So much device state has come in, in all.
    StateReceived {
        /// The bytes.
        bytes: Bytes,
    },
    /// [`Effect::Forget`] is done.
    Forgot,
    /// [`Effect::PageOnDemand`] is done: whoever touches a missing page waits for it.
    PagedOnDemand,
    /// [`Effect::Digest`] is done.
    Digested {
        /// The digest of the memory.
        digest: u128,
        /// How long it took.
        took: Duration,
    },
    /// [`Effect::Load`] is done.
    Loaded {
        /// How long it took.
        took: Duration,
    },
    /// [`Effect::Record`] is done.
    Recorded,
    /// [`Effect::Record`] failed.
    NotRecorded(String),
    /// [`Effect::Inquire`] is done.
    Answered(Outcome),
    /// [`Effect::Inquire`] found nobody who knows.
    NotAnswered(String),
    /// [`Effect::Resume`] is done: the guest runs here.
    Resumed {
        /// How long it took.
        took: Duration,
    },
    /// [`Effect::Discard`] is done, or what could be removed has been.
    Discarded,
    /// The machine, or what was received for it, did not do what was asked.
    Failed(String),
}

/// What the destination has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this to the source.
    Say(DestinationMessage),
    /// See whether anything is in the way of taking the machine.
    Admit,
    /// Add this to the log.
    Record(Record),
    /// Start the machine's process.
    Start,
    /// Take away what there is of these pages: it is old, and they are going to be missing.
    Forget {
        /// The pages.
        pages: PageSet,
    },
    /// Take away what there is of these pages, and have whoever touches one wait until it has come.
    PageOnDemand {
        /// The pages.
        missing: PageSet,
    },
    /// Compute the digest of the memory but for these pages.
    Digest {
        /// The pages.
        except: PageSet,
    },
    /// Give the machine its device state, and wait until it is loaded.
    Load,
    /// Ask, after this time, how the attempt stands.
    Inquire {
        /// The time.
        after: Duration,
    },
    /// Let the guest run. It follows the commit, and nothing else.
    Resume,
    /// End the machine's process and remove what it had.
    Discard,
}

/// What the destination records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// [`Entry::Accepted`](crate::Entry::Accepted).
    Accepted,
    /// [`Entry::AskedForCommit`](crate::Entry::AskedForCommit).
    AskedForCommit,
    /// [`Entry::Running`](crate::Entry::Running).
    Running,
    /// [`Entry::Discarded`](crate::Entry::Discarded).
    Discarded {
        /// Why.
        reason: String,
    },
}

/// How an attempt ended at the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was refused, or only rehearsed, or ended before anything was started.
    NothingStarted {
        /// Why.
        reason: String,
    },
    /// The machine runs here.
    Runs,
    /// The machine is this host's, but does not run.
    Stuck {
        /// Why, and what to do.
        reason: String,
    },
    /// What was here of the machine is gone.
    Discarded {
        /// Why.
        reason: String,
    },
}
