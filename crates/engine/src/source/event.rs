use std::time::Duration;

use punctual_model::Heat;
use punctual_units::{Bytes, BytesPerSecond, PageSet, Pages, Probability};
use punctual_wire::{DestinationMessage, Refusal, SourceMessage};
use thiserror::Error;

use crate::rule::{GiveUp, Shown};

/// What happens to the source of a move.
#[derive(Debug, Clone)]
pub enum Event {
    /// The destination says something.
    Heard(DestinationMessage),
    /// The link is gone, for this reason. Nothing more is heard, nothing said arrives.
    LinkLost(String),
    /// The operator cancels the move.
    Cancelled,
    /// Time passes. Comes at least every 50 ms.
    TimePassed,
    /// Pages are being sent.
    Sending {
        /// Bytes on the connection in all.
        sent: Bytes,
        /// Pages of the batch that have been sent.
        pages: Pages,
    },
    /// [`Effect::Send`] is done: the last page has been handed to the link.
    PagesSent {
        /// Bytes on the connection in all.
        sent: Bytes,
    },
    /// [`Effect::StartTracing`] is done. The pages that hold anything were listed behind it.
    Traced {
        /// Those pages.
        populated: PageSet,
    },
    /// [`Effect::Settle`] is done.
    Settled {
        /// Whether the machine has disks with direct I/O at all.
        direct_io: bool,
    },
    /// [`Effect::Scan`] or [`Effect::ScanAmong`] is done. They are answered in their order.
    Scanned {
        /// The pages found written: each is reported at the first scan behind a write that looks
        /// at it.
        written: PageSet,
    },
    /// [`Effect::Throttle`] is done.
    Throttled {
        /// The share that the guest's processors have now.
        share: Probability,
    },
    /// [`Effect::Throttle`] failed: they run as before.
    NotThrottled(String),
    /// [`Effect::PrepareStop`] is done.
    StopPrepared,
    /// [`Effect::OpenPageLines`] is done: it is on record that pages will be owed, and the
    /// destination can ask for them once they may be served.
    PageLinesOpen,
    /// [`Effect::OpenPageLines`] failed. Nothing can follow the machine.
    PageLinesNotOpen(String),
    /// [`Effect::Stop`] is done: the guest is stopped, its disks are quiet.
    Stopped {
        /// When its processors stopped, since the beginning.
        since: Duration,
    },
    /// The last byte of device state has been handed to the link.
    StateSent {
        /// How many there were.
        bytes: Bytes,
        /// Bytes on the connection in all.
        sent: Bytes,
    },
    /// [`Effect::Digest`] is done.
    Digested(u128),
    /// [`Effect::RecordCommit`] is done: the commit is on stable storage.
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

/// What the source has to do as long as the machine is its own.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Say this to the destination.
    Say(SourceMessage),
    /// Send padding, then [`SourceMessage::ProbeEnd`].
    Probe {
        /// No faster than this.
        rate: BytesPerSecond,
    },
    /// Begin to trace page writes, then list the pages that hold anything.
    StartTracing,
    /// Wait until the disk requests in flight have ended.
    Settle,
    /// Leave each of the guest's processors this share of its time. That is undone when the guest
    /// is stopped or resumed.
    Throttle(Probability),
    /// Make ready what does not need the guest stopped.
    PrepareStop,
    /// Find the pages written since the last scan.
    Scan,
    /// Find those of these pages that were written since a scan last looked at them. What lies
    /// around them may be reported, too.
    ScanAmong(PageSet),
    /// Send these pages as they are when they are read.
    Send(Batch),
    /// Record that pages will be owed, and open the connections over which they follow the machine.
    /// Nothing is served yet.
    OpenPageLines,
    /// Serve the pages that the destination asks for, until the guest is resumed here or the
    /// destination lacks nothing.
    ServePages {
        /// How often each page is written: what is hot is likely to be needed soon.
        heat: Box<Heat>,
    },
    /// Stop the guest and quieten its disks.
    Stop,
    /// Let the rest of the device state flow.
    SaveDeviceState,
    /// Compute the digest of the memory but for these pages.
    Digest {
        /// The pages.
        except: PageSet,
    },
    /// Record durably that the machine belongs to the destination.
    RecordCommit,
    /// Give up whatever else is under way, and make the guest run here.
    Resume,
}

/// Pages to be sent. Batches are sent, and answered by [`Event::PagesSent`], in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which.
    pub pages: PageSet,
    /// What for.
    pub kind: BatchKind,
    /// How many pages were missing or old when the round began that this is a part of.
    pub of: Pages,
}

/// What pages are sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// A round while the guest runs, counted from 1, or one of the legs of it.
    Round(u32),
    /// The final copy, of a stopped guest: every millisecond is one of the interruption.
    Final,
}

/// Why a machine stays at the source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// The destination will not take it.
    #[error("refused: {}", Refusal::told(.0))]
    Refused(Vec<Refusal>),
    /// The link is slower than the operator counts on.
    #[error(
        "refused: the link moves {measured}, but {asked} was asked for; ask for at most \
         {measured}, or mend the link"
    )]
    LinkSlower {
        /// What was asked for.
        asked: BytesPerSecond,
        /// What was measured, the best of several times.
        measured: BytesPerSecond,
    },
    /// The interruption cannot be as short as asked, even with nothing left to send.
    #[error(
        "refused: stopping, device state and resuming alone take {} on this host, {} was asked \
         for; ask for at least {}",
        Shown(*fixed), Shown(*asked), Shown(*least)
    )]
    TooShort {
        /// What was asked for.
        asked: Duration,
        /// What it takes without any page.
        fixed: Duration,
        /// What can be promised.
        least: Duration,
    },
    /// It was a rehearsal: nothing was to move.
    #[error("nothing was moved, as asked: the destination would take the machine")]
    Rehearsed {
        /// The command line that it would have there.
        command_line: Vec<String>,
    },
    /// The operator cancelled the move.
    #[error("cancelled")]
    Cancelled,
    /// It would not have been on time.
    #[error(transparent)]
    GaveUp(#[from] GiveUp),
    /// The link was lost before the commit.
    #[error("the link was lost: {0}; mend the network and migrate again")]
    LinkLost(String),
    /// The destination could not go on.
    #[error("the destination failed: {0}")]
    DestinationFailed(String),
    /// The destination said something that has no meaning now.
    #[error("while {phase}, the destination said `{said}`; run one version on both hosts")]
    Protocol {
        /// The phase of the source.
        phase: crate::Phase,
        /// What was said.
        said: &'static str,
    },
    /// The machine did not do what was asked.
    #[error("{0}")]
    MachineFailed(String),
    /// No page could follow the machine.
    #[error(
        "the connections over which pages would follow the machine could not be opened: {0}; mend \
         that, or migrate with --no-post-copy"
    )]
    NoPageLines(String),
    /// No answer came in time.
    #[error("while {phase}, the destination did not answer for {}; see its log", Shown(*waited))]
    NoAnswer {
        /// The phase.
        phase: crate::Phase,
        /// For how long it was waited.
        waited: Duration,
    },
    /// The guest had been stopped for too long, so it was let run on here.
    #[error(
        "while {phase}, the guest had been stopped for {}{}, where {} was promised; it runs on \
         here: see whether the link or the destination stalls, then migrate again",
        Shown(*stopped), more(*left), Shown(*promised)
    )]
    Overrun {
        /// The phase that took too long.
        phase: crate::Phase,
        /// How long it was stopped.
        stopped: Duration,
        /// How much longer it would have been, by what the link carried.
        left: Option<Duration>,
        /// What was asked for, or what was expected if that was longer.
        promised: Duration,
    },
    /// The memory at the destination is not that of the source.
    #[error(
        "the memory at the destination differs from the source's (digests {theirs:032x} and \
         {ours:032x}); the machine stays here: report this, it must not happen"
    )]
    DigestDiffers {
        /// The source's digest.
        ours: u128,
        /// The destination's.
        theirs: u128,
    },
    /// The commit could not be recorded.
    #[error("{0}")]
    NotRecorded(String),
}

fn more(left: Option<Duration>) -> String {
    left.map_or_else(String::new, |left| format!(" and would have been for {} more", Shown(left)))
}
