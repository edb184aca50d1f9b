//! The messages of one move, each direction an enum of its own: what the source may say, and what
//! the destination may answer.

use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, Pages};
use serde::{Deserialize, Serialize};

use crate::PageRuns;

/// The most bytes that one [`SourceMessage::Probe`] or [`SourceMessage::DeviceState`] should carry.
pub const PIECE: Bytes = Bytes::kib(64);

/// One attempt to move one machine, unique among all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub u128);

/// The name of a host, as its operator gave it.
pub type HostName = String;

/// What the source proposes. The destination accepts it whole or refuses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// This attempt.
    pub migration: MigrationId,
    /// The machine's name.
    pub machine: String,
    /// Who offers.
    pub source: HostName,
    /// Where the source can be asked later how the attempt ended.
    pub source_address: String,
    /// The machine's memory.
    pub layout: MemoryLayout,
    /// How much of the memory holds anything.
    pub populated: Bytes,
    /// The machine as its host describes it, in JSON; the room `guest` knows its shape.
    #[serde(with = "serde_bytes")]
    pub description: Vec<u8>,
    /// The longest interruption that is allowed.
    pub downtime: Duration,
    /// The rate that the source counts on, if it was told one.
    pub bandwidth: Option<BytesPerSecond>,
    /// Whether both sides compute a digest of the whole memory before the machine runs on.
    pub verify: bool,
    /// Whether the destination only checks and answers, and starts nothing.
    pub dry_run: bool,
    /// Whether the machine may run there while pages of it are still here, so that the destination
    /// must be able to have it wait for them.
    pub post_copy: bool,
    /// What moves the machine.
    pub engine: Engine,
}

/// What moves a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Punctual, from outside the machine: pages come over the connection of the offer.
    #[default]
    External,
    /// The machine's own hypervisor, told by Punctual: what it sends to its like comes over a
    /// connection of its own, which begins with [`SourceMessage::Tunnel`].
    Native,
    /// Nothing: it is shut down by the source, and started by the destination once that owns it. Its
    /// offer has a page of memory that holds nothing.
    Restart,
}

/// The first word on a connection over which pages follow a machine that was handed over without
/// them. The source opens it: before the machine is stopped, and again when it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// The attempt that the machine was handed over by.
    pub migration: MigrationId,
    /// What the connection is for.
    pub line: PageLine,
}

/// What a connection is for over which pages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PageLine {
    /// Pages that somebody waits for, each asked for by [`DestinationMessage::Want`].
    Faults,
    /// All others, in an order of the source's.
    Push,
}

/// What it took until nothing was missing at the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// How often somebody waited for a page that was missing.
    pub count: u64,
    /// From the fault until the page was there: the median ...
    pub median: Duration,
    /// ... what 99 of 100 did not exceed ...
    pub p99: Duration,
    /// ... and the longest.
    pub longest: Duration,
}

/// One reason not to take a machine, found before anything moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word for programs, such as `ram-not-shared`.
    pub code: String,
    /// What is in the way.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// The stable words of all reasons, in their order.
    #[must_use]
    pub fn codes(refusals: &[Self]) -> Vec<String> {
        refusals.iter().map(|refusal| refusal.code.clone()).collect()
    }

    /// All reasons, each with its remedy, for people.
    #[must_use]
    pub fn told(refusals: &[Self]) -> String {
        if refusals.is_empty() {
            return "the destination gave no reason".to_owned();
        }
        let told = refusals.iter().map(|refusal| format!("{}; {}", refusal.reason, refusal.remedy));
        told.collect::<Vec<_>>().join(". ")
    }
}

/// A question about an attempt, asked on a connection of its own after the first was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The attempt.
    pub migration: MigrationId,
}

/// How an attempt stands, by the log of the host that arbitrates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The machine belongs to the destination.
    Committed,
    /// The machine stays at the source; the destination discards what it has.
    Aborted,
    /// It is not decided yet: ask again.
    Undecided,
}

/// What the source says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceMessage {
    /// Proposes a move.
    Offer(Box<Offer>),
    /// `bytes` of padding follow in the payload, to measure the link; answered by
    /// [`DestinationMessage::Probed`] once the last of [`SourceMessage::ProbeEnd`] has come.
    Probe(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The probe is over.
    ProbeEnd,
    /// Every page of the round has been sent before this.
    RoundEnd {
        /// The round, counted from 1.
        round: u32,
    },
    /// A piece of the device state, in order.
    DeviceState(#[serde(with = "serde_bytes")] Vec<u8>),
    /// These pages are missing: what the destination has of them is old. They follow over
    /// connections of their own, see [`Serve`]. Several such sets add up.
    Missing(PageRuns),
    /// All device state, and all pages that were not said to be missing, have been sent before
    /// this: load, and ask for the commit.
    HandOver {
        /// How many bytes of device state were sent.
        device_state: Bytes,
        /// How many pages are missing.
        missing: Pages,
    },
    /// The machine belongs to the destination.
    Commit,
    /// The machine stays at the source.
    Abort {
        /// Why.
        reason: String,
    },
    /// Asks how an attempt stands.
    Inquire(Inquiry),
    /// Pages will follow over this connection.
    Serve(Serve),
    /// The first word on a connection over which the two hypervisors of a machine speak with each
    /// other, for [`Engine::Native`]: from here on it is a stream of bytes in either direction.
    Tunnel {
        /// The attempt that the machine is offered by.
        migration: MigrationId,
    },
}

/// What the destination says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationMessage {
    /// It will take the machine; its process is being started.
    Accepted {
        /// The command line that the machine will have there.
        command_line: Vec<String>,
    },
    /// It will not take the machine.
    Refused(Vec<Refusal>),
    /// What the probe showed.
    Probed {
        /// The rate at which the padding came in.
        rate: BytesPerSecond,
    },
    /// The machine's process is up and waits for device state.
    Prepared,
    /// So many bytes of this connection have been received and put in place, in all.
    Received {
        /// The bytes.
        bytes: Bytes,
    },
    /// Pages and device state are loaded: asks for the commit.
    Ready {
        /// The digest of the memory, where one was asked for.
        digest: Option<u128>,
        /// How long the device state took to load.
        loading: Duration,
        /// How long the digest took.
        verifying: Duration,
    },
    /// The machine runs here.
    Running {
        /// How long it took from the commit's arrival until the machine ran.
        resuming: Duration,
    },
    /// It cannot go on; what it had of the machine is discarded.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// Answers an inquiry.
    Outcome(Outcome),
    /// What there was of the missing pages has been taken away: of so many in all.
    Forgotten {
        /// The pages.
        pages: Pages,
    },
    /// On [`PageLine::Faults`]: somebody waits for these pages.
    Want(PageRuns),
    /// On [`PageLine::Push`]: these pages are missing. Several such sets add up.
    Lacking {
        /// The pages.
        pages: PageRuns,
        /// Whether that were all.
        last: bool,
    },
    /// On [`PageLine::Push`]: nothing is missing, the machine depends on the source no more.
    Whole {
        /// What was waited for.
        faults: Faults,
        /// The sum of the digests of the pages that were missing, as they came; where a digest was
        /// asked for.
        digest: Option<u128>,
    },
}
