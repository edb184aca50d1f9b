//! The migrations of this host, under way and lately ended, and whoever watches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use punctual_engine::{Cancel, Observer, Progress, Report};
use punctual_plan::Forecast;
use tokio::sync::watch;

use crate::api::{Id, Migration, Native, Queued};

/// How many ended migrations are remembered for those who ask. The report of a long one, with its
/// course, takes some hundred KiB.
const REMEMBERED: usize = 16;

/// The migrations that this host is, or was, the source of.
///
/// A watcher sees each migration's latest state, not each state: one who is slow misses looks but
/// never the end, and nothing piles up for him.
#[derive(Debug)]
pub(crate) struct Migrations {
    table: Mutex<Table>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    /// Counts changes; each entry keeps that of its last.
    version: u64,
    /// By the order in which they began.
    entries: BTreeMap<u64, Entry>,
    begun: u64,
}

#[derive(Debug)]
struct Entry {
    migration: Migration,
    cancel: Cancel,
    version: u64,
}

impl Default for Migrations {
    fn default() -> Self {
        Self { table: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Migrations {
    /// Enters a migration. Its report will be `lost` if whoever carries it out does not end it.
    pub(crate) fn begin(self: &Arc<Self>, id: Id, lost: Report) -> Ticket {
        let migration = Migration {
            id,
            machine: lost.machine.clone(),
            to: lost.to.clone(),
            queued: None,
            forecast: None,
            native: None,
            progress: None,
            command_line: vec![],
            report: None,
        };
        let cancel = Cancel::default();
        let mut table = self.lock();
        table.begun += 1;
        let number = table.begun;
        table.entries.insert(number, Entry { migration, cancel: cancel.clone(), version: 0 });
        table.forget();
        drop(table);
        let ticket = Ticket { migrations: Arc::clone(self), number, cancel, lost };
        ticket.change(|_| ());
        ticket
    }

    pub(crate) fn all(&self) -> Vec<Migration> {
        self.lock().entries.values().map(|entry| entry.migration.clone()).collect()
    }

    pub(crate) fn get(&self, id: Id) -> Option<Migration> {
        let table = self.lock();
        let entry = table.entries.values().find(|entry| entry.migration.id == id);
        entry.map(|entry| entry.migration.clone())
    }

    /// The migration of a machine that is under way.
    pub(crate) fn of_machine(&self, machine: &str) -> Option<Id> {
        self.lock().under_way(machine).map(|migration| migration.id)
    }

    /// Whether this attempt has not ended.
    pub(crate) fn is_under_way(&self, id: Id) -> bool {
        self.get(id).is_some_and(|migration| !migration.has_ended())
    }

    /// Whether this attempt waits for its turn.
    pub(crate) fn is_queued(&self, id: Id) -> bool {
        self.get(id).is_some_and(|migration| migration.queued.is_some())
    }

    /// Asks a migration to end. One that has ended, or is past its commit, goes on as it is.
    pub(crate) fn cancel(&self, id: Id) -> Option<Migration> {
        let table = self.lock();
        let entry = table.entries.values().find(|entry| entry.migration.id == id)?;
        entry.cancel.cancel();
        Some(entry.migration.clone())
    }

    /// Asks every migration to end, and tells how many have not yet.
    pub(crate) fn cancel_all(&self) -> usize {
        let table = self.lock();
        let under_way = table.entries.values().filter(|entry| !entry.migration.has_ended());
        under_way.map(|entry| entry.cancel.cancel()).count()
    }

    /// Follows the changes from now on.
    pub(crate) fn watch(self: &Arc<Self>) -> Watcher {
        let version = self.version.subscribe();
        Watcher { migrations: Arc::clone(self), version, seen: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no thread panics while it holds the table of migrations")
    }
}

impl Table {
    fn under_way(&self, machine: &str) -> Option<&Migration> {
        self.entries
            .values()
            .map(|entry| &entry.migration)
            .find(|migration| migration.machine == machine && !migration.has_ended())
    }

    fn forget(&mut self) {
        let ended: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.migration.has_ended())
            .map(|(number, _)| *number)
            .collect();
        let many = ended.len().saturating_sub(REMEMBERED);
        ended[..many].iter().for_each(|number| drop(self.entries.remove(number)));
    }
}

/// The right, and the duty, to carry out one migration and to end it with a report.
#[derive(Debug)]
pub(crate) struct Ticket {
    migrations: Arc<Migrations>,
    number: u64,
    cancel: Cancel,
    lost: Report,
}

impl Ticket {
    /// What tells the engine to give up.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The migration as it stands.
    pub(crate) fn migration(&self) -> Migration {
        let table = self.migrations.lock();
        let entry = table.entries.get(&self.number).expect("what is under way is kept");
        entry.migration.clone()
    }

    /// Notes how it waits for its turn, or that its turn has come.
    pub(crate) fn queued(&self, queued: Option<Queued>) {
        if !self.is(|migration| told_alike(migration.queued.as_ref(), queued.as_ref())) {
            self.change(|migration| migration.queued = queued);
        }
    }

    /// Whether something holds of it.
    fn is(&self, what: impl FnOnce(&Migration) -> bool) -> bool {
        let table = self.migrations.lock();
        let entry = table.entries.get(&self.number).expect("what is under way is kept");
        what(&entry.migration)
    }

    /// Notes what the move is expected to take.
    pub(crate) fn foresee(&self, forecast: Option<Forecast>) {
        self.change(|migration| migration.forecast = forecast.map(Box::new));
    }

    /// Notes that the machine's own hypervisor moves it, and what is known of that.
    pub(crate) fn by_itself(&self, native: Native) {
        self.change(|migration| migration.native = Some(Box::new(native)));
    }

    /// Notes the command line that the destination would use.
    pub(crate) fn plan(&self, command_line: Vec<String>) {
        self.change(|migration| migration.command_line = command_line);
    }

    /// Ends the migration.
    pub(crate) fn end(self, report: Report) {
        self.change(|migration| {
            migration.queued = None;
            migration.report = Some(report);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Migration)) {
        let mut table = self.migrations.lock();
        table.version += 1;
        let version = table.version;
        let entry = table.entries.get_mut(&self.number).expect("what is under way is kept");
        change(&mut entry.migration);
        entry.version = version;
        drop(table);
        self.migrations.version.send_replace(version);
    }
}

/// Whether nothing is to be told anew of one that waits: its start comes nearer by itself.
fn told_alike(told: Option<&Queued>, now: Option<&Queued>) -> bool {
    const NOTICEABLE: Duration = Duration::from_secs(1);
    match (told, now) {
        (None, None) => true,
        (Some(told), Some(now)) => {
            let near = match (told.starts_in, now.starts_in) {
                (Some(told), Some(now)) => told.abs_diff(now) < NOTICEABLE,
                (told, now) => told == now,
            };
            near && (told.position, &told.because) == (now.position, &now.because)
        }
        _ => false,
    }
}

/// Nobody shall wait for ever for a migration whose thread has panicked.
impl Drop for Ticket {
    fn drop(&mut self) {
        self.change(|migration| {
            migration.report.get_or_insert_with(|| self.lost.clone());
        });
    }
}

impl Observer for Ticket {
    fn progress(&self, progress: &Progress) {
        self.change(|migration| migration.progress = Some(progress.clone()));
    }
}

/// Follows all migrations.
#[derive(Debug)]
pub(crate) struct Watcher {
    migrations: Arc<Migrations>,
    version: watch::Receiver<u64>,
    seen: u64,
}

impl Watcher {
    /// The migrations that changed since the last call, in the order in which they changed; at the
    /// first call all there are. Waits until there is one.
    pub(crate) async fn changed(&mut self) -> Vec<Migration> {
        loop {
            self.version.borrow_and_update();
            let changed = self.since_last();
            if !changed.is_empty() {
                return changed;
            }
            self.version.changed().await.expect("the table outlives its watchers");
        }
    }

    fn since_last(&mut self) -> Vec<Migration> {
        let table = self.migrations.lock();
        let mut changed: Vec<_> =
            table.entries.values().filter(|entry| entry.version > self.seen).collect();
        changed.sort_by_key(|entry| entry.version);
        self.seen = table.version;
        changed.into_iter().map(|entry| entry.migration.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use punctual_engine::report::Ending;

    use super::*;

    fn lost() -> Report {
        let report = serde_json::json!({
            "machine": "web", "from": "a", "to": "b",
            "engine": "external", "policy": "pre-copy",
            "promised": { "downtime_ms": 50.0, "total_s": 60.0 },
            "measured": {
                "total_s": 0.0, "wire_bytes": 0, "pages_sent": 0, "rounds": 0,
                "phases": {
                    "stop_ms": 0.0, "final_copy_ms": 0.0, "device_state_ms": 0.0, "resume_ms": 0.0
                }
            },
            "outcome": "failed", "owner": "unknown", "reason": "not carried to an end",
        });
        serde_json::from_value(report).unwrap()
    }

    fn id(number: u128) -> Id {
        punctual_wire::MigrationId(number).into()
    }

    #[tokio::test]
    async fn a_watcher_sees_the_latest_of_each_and_always_the_end() {
        let migrations = Arc::new(Migrations::default());
        let mut watcher = migrations.watch();
        let (one, two) = (migrations.begin(id(1), lost()), migrations.begin(id(2), lost()));
        one.plan(vec!["qemu".to_owned()]);
        let seen: Vec<_> = watcher.changed().await.iter().map(|seen| seen.id).collect();
        assert_eq!(seen, [id(2), id(1)], "in the order of their last changes");
        assert!(migrations.is_under_way(id(1)));

        one.end(Report { outcome: Ending::Cancelled, ..lost() });
        drop(two);
        let ends: Vec<_> = watcher.changed().await.into_iter().filter_map(|m| m.report).collect();
        let ends: Vec<_> = ends.iter().map(|end| (end.outcome, end.reason.as_str())).collect();
        let reason = "not carried to an end";
        assert_eq!(ends, [(Ending::Cancelled, reason), (Ending::Failed, reason)]);
        assert_eq!(migrations.of_machine("web"), None);
    }

    #[test]
    fn few_of_those_that_have_ended_are_remembered_and_all_that_have_not() {
        let migrations = Arc::new(Migrations::default());
        let under_way = migrations.begin(id(0), lost());
        (1..100).for_each(|number| drop(migrations.begin(id(number), lost())));
        assert!(migrations.get(id(0)).is_some() && migrations.get(id(99)).is_some());
        assert!(migrations.all().len() <= REMEMBERED + 2);
        drop(under_way);
    }
}
