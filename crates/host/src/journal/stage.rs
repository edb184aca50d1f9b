//! How far an attempt came, by the records of it: at its source, and at its destination. Where both
//! are one host, it has both.

use punctual_engine::Entry;
use punctual_wire::MigrationId;

/// How far an attempt came at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Not committed, and not ended.
    Offered,
    /// Committed. The destination may ask for this yet.
    Committed {
        /// Whether it may lack pages that only this host has.
        owing: bool,
    },
    /// Nothing is left to be decided, and nobody will ask.
    Ended,
}

/// How far an attempt came at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// The commit was not asked for.
    Accepted,
    /// The commit may have been asked for. Only the source knows who owns the machine.
    Asked {
        /// The source.
        source: String,
        /// Where it answers.
        address: String,
    },
    /// Committed. The machine is ours.
    Ours {
        /// Whether it is known to depend on its source no more, where it did.
        whole: bool,
    },
    /// Nothing is left to be decided.
    Ended,
}

fn of(entries: &[Entry], migration: MigrationId) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(move |entry| entry.migration() == migration)
}

/// How far an attempt came here as its source; `None`: this host is not.
pub(super) fn left(entries: &[Entry], migration: MigrationId) -> Option<Left> {
    let (mut left, mut owing) = (None, false);
    for entry in of(entries, migration) {
        match entry {
            Entry::Offered { .. } => left = Some(Left::Offered),
            Entry::Owing { .. } => owing = true,
            Entry::Committed { .. } => left = Some(Left::Committed { owing }),
            Entry::Aborted { .. } | Entry::Surrendered { .. } => left = Some(Left::Ended),
            Entry::Accepted { .. }
            | Entry::AskedForCommit { .. }
            | Entry::Running { .. }
            | Entry::Whole { .. }
            | Entry::Discarded { .. } => {}
        }
    }
    left
}

/// How far an attempt came here as its destination; `None`: this host is not.
pub(super) fn came(entries: &[Entry], migration: MigrationId) -> Option<Came> {
    let (mut came, mut asked) = (None, None);
    for entry in of(entries, migration) {
        match entry {
            Entry::Accepted { source, source_address, .. } => {
                asked =
                    Some(Came::Asked { source: source.clone(), address: source_address.clone() });
                came = Some(Came::Accepted);
            }
            Entry::AskedForCommit { .. } => came = asked.clone(),
            Entry::Running { .. } => came = Some(Came::Ours { whole: false }),
            Entry::Whole { .. } => came = Some(Came::Ours { whole: true }),
            Entry::Discarded { .. } => came = Some(Came::Ended),
            Entry::Offered { .. }
            | Entry::Owing { .. }
            | Entry::Committed { .. }
            | Entry::Aborted { .. }
            | Entry::Surrendered { .. } => {}
        }
    }
    came
}

/// Whether nothing is left to be decided of an attempt, on either side of it that is here.
pub(super) fn is_decided(entries: &[Entry], migration: MigrationId) -> bool {
    let left = left(entries, migration);
    let came = came(entries, migration);
    matches!(left, None | Some(Left::Ended))
        && matches!(came, None | Some(Came::Ended | Came::Ours { .. }))
}
