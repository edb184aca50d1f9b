//! The log of this host that decides who owns a machine, and what it says after a crash.

mod log;

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use punctual_engine::{Entry, JournalError, journal};
use punctual_wire::{MigrationId, Outcome};

pub use log::LogError;

use log::Log;

/// When the log is longer, what nobody can ask for any more is dropped from it.
const TIDY_ABOVE: u64 = 1 << 20;
/// How many ended attempts are kept when the log is tidied.
const KEPT: usize = 256;

/// The durable log of a host.
#[derive(Debug)]
pub struct Journal {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log<Entry>,
    entries: Vec<Entry>,
}

/// An attempt that the log shows as begun and not ended, and so what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The attempt.
    pub migration: MigrationId,
    /// The machine.
    pub machine: String,
    /// How far it came.
    pub stage: Stage,
}

/// How far an attempt came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Source: not committed. The machine is ours and must run.
    NotCommitted,
    /// Source: committed. The machine is not ours; what is left of it here goes.
    Committed,
    /// Destination: the commit was not asked for. What has come of the machine is discarded.
    NotAsked,
    /// Destination: the commit was asked for. Only the source knows who owns the machine.
    Asked {
        /// The source.
        source: String,
        /// Where it answers.
        address: String,
    },
    /// Destination: committed. The machine is ours and must run.
    Ours,
}

impl Journal {
    /// Opens or creates the log.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged before its end.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (log, entries) = Log::open(path)?;
        let journal = Self { state: Mutex::new(State { log, entries }) };
        journal.lock().tidy()?;
        Ok(journal)
    }

    /// What the log says of an attempt; see [`journal::outcome`].
    #[must_use]
    pub fn outcome(&self, migration: MigrationId, under_way: bool) -> Outcome {
        journal::outcome(&self.lock().entries, migration, under_way)
    }

    /// The attempts that were under way when the daemon ended, oldest first.
    #[must_use]
    pub fn unfinished(&self) -> Vec<Unfinished> {
        attempts(&self.lock().entries).into_iter().filter_map(|attempt| attempt.left).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the journal")
    }
}

impl journal::Journal for Journal {
    fn record(&self, entry: &Entry) -> Result<(), JournalError> {
        let mut state = self.lock();
        let recorded = state.log.append(entry).map_err(|error| match error {
            LogError::NotWritten { .. } => JournalError::NotRecorded(error.into()),
            _ => JournalError::Unknown(error.into()),
        });
        if recorded.is_ok() {
            state.entries.push(entry.clone());
            if let Err(error) = state.tidy() {
                tracing::warn!(%error, "the journal grows: it could not be tidied");
            }
        }
        recorded
    }
}

impl State {
    /// Drops attempts that nobody can ask for any more, if the log has become long.
    fn tidy(&mut self) -> Result<(), LogError> {
        if self.log.len() <= TIDY_ABOVE {
            return Ok(());
        }
        let attempts = attempts(&self.entries);
        let old = attempts.len().saturating_sub(KEPT);
        let dropped: Vec<_> =
            attempts[..old].iter().filter(|a| a.left.is_none()).map(|a| a.migration).collect();
        let mut kept = self.entries.clone();
        kept.retain(|entry| !dropped.contains(&entry.migration()));
        self.log.rewrite(&kept)?;
        self.entries = kept;
        Ok(())
    }
}

struct Attempt {
    migration: MigrationId,
    /// What is left to do about it, if anything.
    left: Option<Unfinished>,
}

/// The attempts in the log, in the order in which they began.
fn attempts(entries: &[Entry]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for entry in entries {
        let migration = entry.migration();
        let begun = |machine: &String, stage| Attempt {
            migration,
            left: Some(Unfinished { migration, machine: machine.clone(), stage }),
        };
        let known = attempts.iter_mut().rev().find(|attempt| attempt.migration == migration);
        match (entry, known) {
            (Entry::Offered { machine, .. }, _) => {
                attempts.push(begun(machine, Stage::NotCommitted));
            }
            (Entry::Accepted { machine, .. }, _) => attempts.push(begun(machine, Stage::NotAsked)),
            (_, Some(attempt)) => attempt.goes_on(entry, entries),
            (_, None) => tracing::warn!(?entry, "the journal has no beginning of this attempt"),
        }
    }
    attempts
}

impl Attempt {
    fn goes_on(&mut self, entry: &Entry, entries: &[Entry]) {
        let stage = match entry {
            Entry::Committed { .. } => Some(Stage::Committed),
            Entry::AskedForCommit { .. } => whom_to_ask(entries, self.migration),
            Entry::Running { .. } => Some(Stage::Ours),
            _ => None,
        };
        self.left = self.left.take().zip(stage).map(|(left, stage)| Unfinished { stage, ..left });
    }
}

fn whom_to_ask(entries: &[Entry], migration: MigrationId) -> Option<Stage> {
    entries.iter().filter(|entry| entry.migration() == migration).find_map(|entry| match entry {
        Entry::Accepted { source, source_address, .. } => {
            Some(Stage::Asked { source: source.clone(), address: source_address.clone() })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use punctual_engine::Journal as _;

    use super::*;

    const ONE: MigrationId = MigrationId(1);

    fn offered(migration: MigrationId) -> Entry {
        Entry::Offered { migration, machine: "web".to_owned(), to: "b".to_owned() }
    }

    fn accepted() -> Entry {
        Entry::Accepted {
            migration: ONE,
            machine: "web".to_owned(),
            source: "a".to_owned(),
            source_address: "10.0.0.1:7".to_owned(),
        }
    }

    /// What a daemon finds that is started after these records.
    fn after(entries: &[Entry]) -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        entries.iter().for_each(|entry| journal.record(entry).unwrap());
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        (directory, journal)
    }

    fn stage_after(entries: &[Entry]) -> Option<Stage> {
        let (_directory, journal) = after(entries);
        let unfinished = journal.unfinished();
        assert!(unfinished.len() <= 1 && unfinished.iter().all(|left| left.machine == "web"));
        unfinished.into_iter().next().map(|left| left.stage)
    }

    #[test]
    fn the_source_keeps_what_it_did_not_commit() {
        let committed = Entry::Committed { migration: ONE };
        let aborted = Entry::Aborted { migration: ONE, reason: "cancelled".to_owned() };
        assert_eq!(stage_after(&[offered(ONE)]), Some(Stage::NotCommitted));
        assert_eq!(stage_after(&[offered(ONE), committed.clone()]), Some(Stage::Committed));
        assert_eq!(stage_after(&[offered(ONE), aborted]), None);
        let surrendered = Entry::Surrendered { migration: ONE };
        assert_eq!(stage_after(&[offered(ONE), committed, surrendered]), None);
    }

    #[test]
    fn the_destination_asks_once_it_may_not_know() {
        let asked = Entry::AskedForCommit { migration: ONE };
        let running = Entry::Running { migration: ONE };
        let discarded = Entry::Discarded { migration: ONE, reason: "cancelled".to_owned() };
        let ask = Stage::Asked { source: "a".to_owned(), address: "10.0.0.1:7".to_owned() };
        assert_eq!(stage_after(&[accepted()]), Some(Stage::NotAsked));
        assert_eq!(stage_after(&[accepted(), asked.clone()]), Some(ask));
        assert_eq!(stage_after(&[accepted(), asked.clone(), discarded]), None);
        assert_eq!(stage_after(&[accepted(), asked, running]), Some(Stage::Ours));
    }

    #[test]
    fn a_commit_is_answered_however_often_the_log_is_tidied() {
        let (directory, journal) = after(&[offered(ONE), Entry::Committed { migration: ONE }]);
        for number in 2..(TIDY_ABOVE / 1024) as u128 + 100 {
            let migration = MigrationId(number);
            journal.record(&offered(migration)).unwrap();
            journal.record(&Entry::Aborted { migration, reason: String::new() }).unwrap();
        }
        assert!(journal.lock().log.len() < TIDY_ABOVE);
        assert_eq!(journal.outcome(ONE, false), Outcome::Committed);
        drop(journal);
        let journal = Journal::open(&directory.path().join("journal")).unwrap();
        assert_eq!(journal.outcome(ONE, false), Outcome::Committed);
        assert_eq!(journal.outcome(MigrationId(2), false), Outcome::Aborted);
    }
}
