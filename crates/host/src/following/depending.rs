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

impl Host {
    /// Goes on where an earlier daemon left a machine that depends on its source; whether it does.
    /// It is noted as depending, and the rest is done in a thread of its own.
    pub(crate) fn take_over(
        self: &Arc<Self>,
        record: &Record,
        migration: MigrationId,
    ) -> Result<bool, Problem> {
        let Some(demand) = self.hypervisor.depends(&record.name, &record.handle)? else {
            return Ok(false);
        };
        let (expected, lines) = self.lines.expect(migration);
        let depending = Depending::begin(Arc::clone(&demand), one_region(&*demand), lines, false);
        self.stand(&record.name, Standing::Depending(migration.into()));
        self.depend(&record.name, migration, depending, expected)?;
        tracing::warn!(machine = record.name, "still lacks pages; its source is waited for");
        Ok(true)
    }

    /// A source serves pages that nobody here waits for: it is told where it has missed that.
    pub(crate) fn not_expected(&self, serve: Serve, link: Connection) {
        let Serve { migration, line } = serve;
        match self.journal.came(migration) {
            Some(Came::Ours { whole: true }) => answer_whole(link, line, Faults::default()),
            Some(Came::Ours { whole: false }) => {
                answer_failed(link, line, "the machine has ended there while it lacked pages");
            }
            // It is still to be learnt whose the machine is; or this is not the host that it seeks.
            _ => link.closer.close(),
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

fn until_whole(
    host: &Host,
    name: &str,
    migration: MigrationId,
    depending: Depending,
    _expected: &Expected,
) {
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
            host.stand(name, Standing::Resident);
            tracing::info!(machine = name, ?faults, "depends on its source no more");
            depending.tell_whole();
        }
        Err(error) => {
            tracing::error!(machine = name, %error, "ended while it lacked pages");
            depending.tell_failed(&error.to_string());
        }
    }
}
