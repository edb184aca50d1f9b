//! The durable log of a host: what must survive the end of its daemon.
//!
//! Exactly one host may run a machine. The log of the **source** arbitrates: the record
//! [`Entry::Committed`] in it is the commit point, and its absence at the end of an attempt means
//! that the machine stays. The log of the destination only keeps whom to ask.
//!
//! ```text
//!   source                                            destination
//!   Offered ─► (Owing) ─► Committed ─► Surrendered    Accepted ─► AskedForCommit ─► Running ─► (Whole)
//!      └──────────┴─────► Aborted                         └────────────┴──────────► Discarded
//!
//!   in brackets: where pages follow the machine
//! ```

use punctual_wire::{HostName, MigrationId, Outcome};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// Source: an attempt begins. Recorded before the first message.
    Offered {
        /// The attempt.
        migration: MigrationId,
        /// The machine's name.
        machine: String,
        /// The host it is offered to.
        to: HostName,
    },
    /// Source: the guest is about to be stopped, and if the attempt is committed, pages of it are
    /// still missing there: what is left here is kept until the destination has them all.
    Owing {
        /// The attempt.
        migration: MigrationId,
    },
    /// Source: the commit point. From here on only the destination may run the machine.
    Committed {
        /// The attempt.
        migration: MigrationId,
    },
    /// Source: the machine stays. Recorded for the history; an attempt that has ended without
    /// [`Entry::Committed`] is aborted with or without it.
    Aborted {
        /// The attempt.
        migration: MigrationId,
        /// Why.
        reason: String,
    },
    /// Source: the destination said that the machine runs, and has all of it; what is left here can
    /// be removed.
    Surrendered {
        /// The attempt.
        migration: MigrationId,
    },
    /// Destination: it takes the machine, and knows whom to ask about it.
    Accepted {
        /// The attempt.
        migration: MigrationId,
        /// The machine's name.
        machine: String,
        /// The host it comes from.
        source: HostName,
        /// Where that host answers inquiries.
        source_address: String,
    },
    /// Destination: the machine's process is up, and the commit may be asked for at any time.
    /// Recorded while the guest still runs at the source, so that no interruption waits for this
    /// host's disk. A daemon that finds this neither runs nor discards the machine before it knows
    /// the outcome from the source.
    AskedForCommit {
        /// The attempt.
        migration: MigrationId,
    },
    /// Destination: the attempt was committed and the machine is let run.
    Running {
        /// The attempt.
        migration: MigrationId,
    },
    /// Destination: the machine depends on its source no more. Recorded where it did.
    Whole {
        /// The attempt.
        migration: MigrationId,
    },
    /// Destination: what it had of the machine is gone.
    Discarded {
        /// The attempt.
        migration: MigrationId,
        /// Why.
        reason: String,
    },
}

impl Entry {
    /// The attempt that the record is about.
    #[must_use]
    pub fn migration(&self) -> MigrationId {
        match self {
            Self::Offered { migration, .. }
            | Self::Owing { migration }
            | Self::Committed { migration }
            | Self::Aborted { migration, .. }
            | Self::Surrendered { migration }
            | Self::Accepted { migration, .. }
            | Self::AskedForCommit { migration }
            | Self::Running { migration }
            | Self::Whole { migration }
            | Self::Discarded { migration, .. } => *migration,
        }
    }
}

/// Why a record is not known to be in the log.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It is certain that the record is not there and never will be.
    #[error("the log did not take the record: {0}; make room or mend the disk that holds it")]
    NotRecorded(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody can tell before the log is read again, such as after a failed `fsync`.
    #[error(
        "it is not known whether the record is in the log: {0}; mend the disk that holds it and \
         start the daemon again, which reads the log and decides"
    )]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The log as the engine needs it.
pub trait Journal: Send + Sync {
    /// Adds a record, and returns when it is on stable storage.
    ///
    /// # Errors
    /// See [`JournalError`]; the difference between its two cases decides who holds a machine.
    fn record(&self, entry: &Entry) -> Result<(), JournalError>;
}

/// What the source's log says of an attempt, and so what an inquiry is answered: committed if the
/// record is there; aborted if the log knows the attempt and it is not `under_way`; else undecided.
///
/// A daemon that starts has no attempt under way. Before it lets a machine run on whose attempt
/// is found aborted here, nothing needs to be written: the answer can no longer change. Of an
/// attempt that the log does not know nothing can be said: it may be the log of another host, or
/// one that was begun anew, and whoever asks may have the only copy of the machine.
#[must_use]
pub fn outcome<'a>(
    log: impl IntoIterator<Item = &'a Entry>,
    migration: MigrationId,
    under_way: bool,
) -> Outcome {
    let mut known = false;
    for entry in log.into_iter().filter(|entry| entry.migration() == migration) {
        match entry {
            Entry::Committed { .. } | Entry::Surrendered { .. } => return Outcome::Committed,
            Entry::Offered { .. } | Entry::Owing { .. } | Entry::Aborted { .. } => known = true,
            // What this host has recorded as the destination of an attempt.
            _ => {}
        }
    }
    if known && !under_way { Outcome::Aborted } else { Outcome::Undecided }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: MigrationId = MigrationId(7);
    const OTHER: MigrationId = MigrationId(8);

    #[test]
    fn only_the_record_of_the_commit_commits() {
        let offered =
            Entry::Offered { migration: ATTEMPT, machine: "web".to_owned(), to: "b".to_owned() };
        let committed = Entry::Committed { migration: ATTEMPT };
        assert_eq!(outcome([&offered], ATTEMPT, true), Outcome::Undecided);
        assert_eq!(outcome([&offered], ATTEMPT, false), Outcome::Aborted);
        assert_eq!(outcome([&offered, &committed], ATTEMPT, false), Outcome::Committed);
        assert_eq!(outcome([&offered, &committed], ATTEMPT, true), Outcome::Committed);
        let surrendered = Entry::Surrendered { migration: ATTEMPT };
        assert_eq!(outcome([&surrendered], ATTEMPT, false), Outcome::Committed);
        let aborted = Entry::Aborted { migration: ATTEMPT, reason: String::new() };
        assert_eq!(outcome([&aborted], ATTEMPT, false), Outcome::Aborted);
        assert_eq!(outcome([&committed], OTHER, false), Outcome::Undecided);
        assert_eq!(outcome([], ATTEMPT, false), Outcome::Undecided);
    }
}
