//! The log of this host that decides who owns a machine, and what it says after a crash.

mod log;
mod stage;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use punctual_engine::{Entry, JournalError, journal};
use punctual_wire::{MigrationId, Outcome};

pub use log::LogError;
pub use stage::{Came, Left};

use log::Log;

/// When the log is longer, what nobody can ask for any more is dropped from it.
const TIDY_ABOVE: u64 = 1 << 20;
/// Room for the records of one attempt, made before it begins and not while its guest is stopped.
const OF_AN_ATTEMPT: u64 = 8 << 10;
/// How many ended attempts are kept whole when the log is tidied, and of how many older ones the end
/// is kept: whoever asks about them is told how they ended.
const KEPT: usize = 256;
const KEPT_ENDS: usize = 512;

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

impl Journal {
    /// Opens or creates the log.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged before its end.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (log, entries) = Log::open(path)?;
        Ok(Self { state: Mutex::new(State { log, entries }) })
    }

    /// Drops what nobody can ask for any more, if the log has become long. Attempts that are still
    /// `named` by the record of a machine are kept, whatever the log says of them: the record is
    /// put in order by them.
    ///
    /// # Errors
    /// The log could not be replaced; it is as it was.
    pub fn tidy(&self, named: &HashSet<MigrationId>) -> Result<(), LogError> {
        self.lock().tidy(named)
    }

    /// What the log says of an attempt; see [`journal::outcome`].
    #[must_use]
    pub fn outcome(&self, migration: MigrationId, under_way: bool) -> Outcome {
        journal::outcome(&self.lock().entries, migration, under_way)
    }

    /// How far an attempt came of which this host is the source; `None` for one that the log does
    /// not know as such.
    #[must_use]
    pub fn left(&self, migration: MigrationId) -> Option<Left> {
        stage::left(&self.lock().entries, migration)
    }

    /// How far an attempt came of which this host is the destination; `None` for one that the log
    /// does not know as such.
    #[must_use]
    pub fn came(&self, migration: MigrationId) -> Option<Came> {
        stage::came(&self.lock().entries, migration)
    }

    /// Where the machine of an attempt was offered to from here.
    #[must_use]
    pub fn offered_to(&self, migration: MigrationId) -> Option<String> {
        self.lock().entries.iter().find_map(|entry| match entry {
            Entry::Offered { migration: id, to, .. } if *id == migration => Some(to.clone()),
            _ => None,
        })
    }

    /// The machine of an attempt that was accepted here.
    #[must_use]
    pub fn accepted_as(&self, migration: MigrationId) -> Option<String> {
        self.lock().entries.iter().find_map(|entry| match entry {
            Entry::Accepted { migration: id, machine, .. } if *id == migration => {
                Some(machine.clone())
            }
            _ => None,
        })
    }

    /// The last attempts by which machines came here from other hosts to stay, `most` of them: each
    /// with where its source answers.
    #[must_use]
    pub fn came_here(&self, most: usize) -> Vec<(MigrationId, String)> {
        let state = self.lock();
        let came = state.entries.iter().rev().filter_map(|entry| match entry {
            Entry::Accepted { migration, source_address, .. } => {
                let came = stage::came(&state.entries, *migration);
                let local = stage::left(&state.entries, *migration).is_some();
                let ours = !local && matches!(came, Some(Came::Ours { .. }));
                ours.then(|| (*migration, source_address.clone()))
            }
            _ => None,
        });
        came.take(most).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the journal")
    }
}

impl journal::Journal for Journal {
    fn record(&self, entry: &Entry) -> Result<(), JournalError> {
        let mut state = self.lock();
        if is_first(entry)
            && let Err(error) = state.log.fill_ahead(OF_AN_ATTEMPT)
        {
            // The records themselves will tell whether there is room.
            tracing::debug!(%error, "no room is made ahead");
        }
        let recorded = state.log.append(entry).map_err(|error| match error {
            LogError::NotWritten { .. } => JournalError::NotRecorded(error.into()),
            _ => JournalError::Unknown(error.into()),
        });
        if recorded.is_ok() {
            state.entries.push(entry.clone());
        }
        recorded
    }
}

impl State {
    fn tidy(&mut self, named: &HashSet<MigrationId>) -> Result<(), LogError> {
        if self.log.len() <= TIDY_ABOVE {
            return Ok(());
        }
        let kept = tidied(&self.entries, named);
        self.log.rewrite(&kept)?;
        self.entries = kept;
        Ok(())
    }
}

/// The entries without those of old attempts of which nothing is left to be decided.
fn tidied(entries: &[Entry], named: &HashSet<MigrationId>) -> Vec<Entry> {
    let begun = entries.iter().filter(|entry| is_first(entry)).map(Entry::migration);
    let begun: Vec<_> = begun.collect();
    let (old, _) = begun.split_at(begun.len().saturating_sub(KEPT));
    let dropped = old.iter().copied().filter(|id| !named.contains(id));
    let dropped: HashSet<_> = dropped.filter(|id| stage::is_decided(entries, *id)).collect();
    let whole: HashSet<_> = begun.iter().copied().filter(|id| !dropped.contains(id)).collect();
    // How a machine left, or did not leave, this host, and which that came depend on their sources
    // no more: about others that came nobody asks it.
    let is_end = |entry: &Entry| {
        matches!(entry, Entry::Aborted { .. } | Entry::Surrendered { .. } | Entry::Whole { .. })
            && !whole.contains(&entry.migration())
    };
    let ends: Vec<_> = entries.iter().filter(|entry| is_end(entry)).collect();
    let (_, ends) = ends.split_at(ends.len().saturating_sub(KEPT_ENDS));
    let rest =
        entries.iter().filter(|entry| !dropped.contains(&entry.migration()) && !is_end(entry));
    ends.iter().copied().chain(rest).cloned().collect()
}

fn is_first(entry: &Entry) -> bool {
    matches!(entry, Entry::Offered { .. } | Entry::Accepted { .. })
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

    fn left_after(entries: &[Entry]) -> Option<Left> {
        let (_directory, journal) = after(entries);
        journal.left(ONE)
    }

    fn came_after(entries: &[Entry]) -> Option<Came> {
        let (_directory, journal) = after(entries);
        journal.came(ONE)
    }

    #[test]
    fn the_source_keeps_what_it_did_not_commit() {
        let committed = Entry::Committed { migration: ONE };
        let aborted = Entry::Aborted { migration: ONE, reason: "cancelled".to_owned() };
        assert_eq!(left_after(&[]), None);
        assert_eq!(left_after(&[offered(ONE)]), Some(Left::Offered));
        assert_eq!(
            left_after(&[offered(ONE), committed.clone()]),
            Some(Left::Committed { owing: false })
        );
        assert_eq!(left_after(&[offered(ONE), aborted]), Some(Left::Ended));
        let owing = Entry::Owing { migration: ONE };
        let owed = [offered(ONE), owing, committed.clone()];
        assert_eq!(left_after(&owed), Some(Left::Committed { owing: true }));
        let surrendered = Entry::Surrendered { migration: ONE };
        assert_eq!(left_after(&[offered(ONE), committed, surrendered]), Some(Left::Ended));
    }

    #[test]
    fn the_destination_asks_once_it_may_not_know() {
        let asked = Entry::AskedForCommit { migration: ONE };
        let running = Entry::Running { migration: ONE };
        let discarded = Entry::Discarded { migration: ONE, reason: "cancelled".to_owned() };
        let ask = Came::Asked { source: "a".to_owned(), address: "10.0.0.1:7".to_owned() };
        assert_eq!(came_after(&[accepted()]), Some(Came::Accepted));
        assert_eq!(came_after(&[accepted(), asked.clone()]), Some(ask));
        assert_eq!(came_after(&[accepted(), asked.clone(), discarded]), Some(Came::Ended));
        assert_eq!(came_after(&[accepted(), asked, running]), Some(Came::Ours { whole: false }));
    }

    #[test]
    fn a_host_that_moves_to_itself_knows_both_sides_apart() {
        let asked = Entry::AskedForCommit { migration: ONE };
        let (_directory, journal) = after(&[offered(ONE), accepted(), asked]);
        assert_eq!(journal.left(ONE), Some(Left::Offered));
        assert!(matches!(journal.came(ONE), Some(Came::Asked { .. })));
        journal.record(&Entry::Committed { migration: ONE }).unwrap();
        assert_eq!(journal.left(ONE), Some(Left::Committed { owing: false }));
        assert!(matches!(journal.came(ONE), Some(Came::Asked { .. })), "it does not know it yet");
    }

    /// Records so many attempts that were aborted, the first of this number.
    fn abort(journal: &Journal, first: u128, many: u128) {
        for migration in (first..first + many).map(MigrationId) {
            journal.record(&offered(migration)).unwrap();
            journal.record(&Entry::Aborted { migration, reason: String::new() }).unwrap();
        }
    }

    #[test]
    fn a_commit_is_answered_however_often_the_log_is_tidied() {
        let (directory, journal) = after(&[offered(ONE), Entry::Committed { migration: ONE }]);
        let many = u128::from(TIDY_ABOVE / 1024) + 100;
        abort(&journal, 2, many);
        journal.tidy(&HashSet::new()).unwrap();
        assert!(journal.lock().log.len() < TIDY_ABOVE);
        let check = |journal: &Journal| {
            assert_eq!(journal.outcome(ONE, false), Outcome::Committed);
            assert_eq!(journal.outcome(MigrationId(many), false), Outcome::Aborted, "whole");
            assert_eq!(
                journal.outcome(MigrationId(many - 300), false),
                Outcome::Aborted,
                "its end"
            );
            assert_eq!(journal.outcome(MigrationId(2), false), Outcome::Undecided, "forgotten");
        };
        check(&journal);
        drop(journal);
        check(&Journal::open(&directory.path().join("journal")).unwrap());
    }

    #[test]
    fn that_a_machine_is_whole_is_known_when_the_log_was_tidied_of_how_it_came() {
        let running = Entry::Running { migration: ONE };
        let whole = Entry::Whole { migration: ONE };
        let (_directory, journal) = after(&[accepted(), running, whole]);
        let reason = "long ".repeat(1000);
        for migration in (2..2 + KEPT as u128).map(MigrationId) {
            journal.record(&offered(migration)).unwrap();
            journal.record(&Entry::Aborted { migration, reason: reason.clone() }).unwrap();
        }
        journal.tidy(&HashSet::new()).unwrap();
        assert_eq!(journal.accepted_as(ONE), None, "it was tidied");
        assert_eq!(journal.came(ONE), Some(Came::Ours { whole: true }));
    }

    #[test]
    fn an_attempt_that_a_record_names_is_kept_whole() {
        let committed = Entry::Committed { migration: ONE };
        let surrendered = Entry::Surrendered { migration: ONE };
        let (_directory, journal) = after(&[offered(ONE), committed, surrendered]);
        abort(&journal, 2, u128::from(TIDY_ABOVE / 1024));
        journal.tidy(&HashSet::from([ONE])).unwrap();
        assert_eq!(journal.outcome(ONE, false), Outcome::Committed);
        assert_eq!(journal.lock().entries.iter().filter(|e| e.migration() == ONE).count(), 3);
    }
}
