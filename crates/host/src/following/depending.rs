//! At the destination: a machine that runs here while pages of it are still at its source.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use punctual_engine::post_copy::{Depending, answer_failed, answer_whole};
use punctual_engine::{Connection, Entry, Journal as _};
use punctual_guest::demand::Demand;
use punctual_units::{MemoryLayout, Region};
use punctual_wire::{Faults, MigrationId, Serve};

use super::Expected;
use crate::api::Problem;
use crate::host::Host;
use crate::journal::Came;
use crate::registry::{Record, Standing};

/// Between two looks at whether the daemon is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A machine that lacks pages, taken over from an earlier daemon. Dropping it leaves what is missing
/// waiting.
pub(crate) struct TakenOver {
    migration: MigrationId,
    depending: Depending,
    expected: Expected,
}

impl TakenOver {
    /// The attempt by which it came.
    pub(crate) fn migration(&self) -> MigrationId {
        self.migration
    }
}

/// What becomes of a machine whose source serves pages that nobody here waits for.
enum Unexpected {
    /// It lacks nothing.
    Whole,
    /// It is no more.
    Ended,
    /// That is still to be learnt, or this is not the host that is sought.
    Unknown,
}

impl Host {
    /// Takes over a machine that an earlier daemon left while it lacked pages; `None`: it lacks none.
    /// Nothing is noted yet.
    pub(crate) fn take_over(
        &self,
        record: &Record,
        migration: MigrationId,
    ) -> Result<Option<TakenOver>, Problem> {
        let Some(demand) = self.hypervisor.depends(&record.name, &record.handle)? else {
            return Ok(None);
        };
        let (expected, lines) = self.lines.expect(migration);
        let depending = Depending::begin(Arc::clone(&demand), one_region(&*demand), lines, false);
        tracing::warn!(machine = record.name, "still lacks pages; its source is waited for");
        Ok(Some(TakenOver { migration, depending, expected }))
    }

    /// Waits, in a thread of its own, for the pages of a machine that was taken over.
    pub(crate) fn depend_on(self: &Arc<Self>, name: &str, taken: TakenOver) -> Result<(), Problem> {
        let TakenOver { migration, depending, expected } = taken;
        self.depend(name, migration, depending, expected)
    }

    /// A source serves pages that nobody here waits for: it is told where it has missed that.
    pub(crate) fn not_expected(&self, serve: Serve, link: Connection) {
        let Serve { migration, line } = serve;
        match self.unexpected(migration) {
            Unexpected::Whole => answer_whole(link, line, Faults::default()),
            Unexpected::Ended => {
                answer_failed(link, line, "the machine has ended there while it lacked pages");
            }
            Unexpected::Unknown => link.closer.close(),
        }
    }

    /// The journal may lack the word that a machine is whole, so its record is asked as well: one that
    /// lacks pages, or may be another's, is on record by its attempt.
    fn unexpected(&self, migration: MigrationId) -> Unexpected {
        match self.journal.came(migration) {
            Some(Came::Ours { whole: true }) => return Unexpected::Whole,
            Some(Came::Ours { whole: false } | Came::Asked { .. }) => {}
            Some(Came::Accepted | Came::Ended) | None => return Unexpected::Unknown,
        }
        let name = self.journal.accepted_as(migration);
        match name.and_then(|name| self.registry.get(&name).ok()) {
            None => Unexpected::Ended,
            Some(record) if record.standing.attempt() != Some(migration.into()) => {
                Unexpected::Whole
            }
            Some(record) => self.unexpected_of(&record),
        }
    }

    fn unexpected_of(&self, record: &Record) -> Unexpected {
        let depends = matches!(record.standing, Standing::Depending(_));
        if depends && self.hypervisor.is_gone(&record.handle) {
            Unexpected::Ended
        } else {
            Unexpected::Unknown
        }
    }

    /// Waits, in a thread of its own, until a machine depends on its source no more.
    pub(crate) fn depend(
        self: &Arc<Self>,
        name: &str,
        migration: MigrationId,
        depending: Depending,
        expected: Expected,
    ) -> Result<(), Problem> {
        let (host, name) = (Arc::clone(self), name.to_owned());
        let thread = thread::Builder::new().name(format!("depend-{name}"));
        let wait = move || until_whole(&host, &name, migration, depending, &expected);
        let waiting = thread.spawn(wait);
        waiting.map(drop).map_err(|error| {
            Problem::failed(
                format!("no thread to take in the rest of a machine: {error}"),
                "raise the limits and start the daemon again",
            )
        })
    }
}

/// The machine's memory as one region: all that is said of it is by the numbers of its pages.
fn one_region(demand: &dyn Demand) -> MemoryLayout {
    let region = Region { name: "ram".to_owned(), size: demand.missing().capacity().bytes() };
    MemoryLayout::new(vec![region]).expect("a machine has memory")
}

/// Whether a machine is known to be no more, so that nobody needs its pages.
fn has_ended(host: &Host, name: &str) -> bool {
    host.registry.get(name).map_or(true, |record| host.hypervisor.is_gone(&record.handle))
}

fn until_whole(
    host: &Host,
    name: &str,
    migration: MigrationId,
    depending: Depending,
    _expected: &Expected,
) {
    let depends = Standing::Depending(migration.into());
    let ended = loop {
        if host.arrivals.is_ending() {
            // The machine goes on waiting where it lacks a page; the next daemon takes over.
            return;
        }
        if let Some(ended) = depending.wait(LOOK) {
            break ended;
        }
    };
    match ended {
        Ok(faults) => {
            if let Err(error) = host.journal.record(&Entry::Whole { migration }) {
                tracing::warn!(%error, "the journal lacks an entry");
            }
            // One that was not noted to run is looked at once more by the next daemon.
            let is_it = |from| from == depends;
            if let Err(error) = host.registry.shift(name, is_it, Standing::Resident) {
                tracing::error!(machine = name, %error, "its record is out of date");
            }
            tracing::info!(machine = name, ?faults, "depends on its source no more");
            depending.tell_whole();
        }
        Err(error) if has_ended(host, name) => {
            tracing::error!(machine = name, %error, "ended while it lacked pages");
            depending.tell_failed(&error.to_string());
        }
        // Its source goes on keeping what it lacks.
        Err(error) => tracing::error!(
            machine = name, %error,
            "its missing pages cannot be put in place; start the daemon again, which tries it anew"
        ),
    }
}
