//! What an earlier daemon left, put in order before this one serves anybody.
//!
//! Each machine's record names the attempt that it was in; the journal says how far that came:
//!
//! | record | journal | what is done |
//! | --- | --- | --- |
//! | starting, ending | | whatever there is of it is discarded |
//! | traced | | it is as it was: tracing ended with the daemon |
//! | leaving, undecided, serving | committed, pages owed | they are served until its destination has them |
//! | suspending, resuming | | its file decides, see [`crate::suspended`] |
//! | leaving, undecided | committed | it is not ours: what is left is discarded |
//! | leaving, undecided | not committed | it is ours: it is made to run |
//! | replacing | | it has two processes here, see [`crate::local`] |
//! | arriving | commit not asked for | what there is of it is discarded |
//! | arriving | commit asked for, it runs and lacks no pages | it is ours: only the commit lets it run |
//! | arriving | commit asked for, else | the source is asked until it answers; then as it says |
//! | depending | | the pages that it lacks are waited for again |
//! | arriving | committed | it is ours: it is made to run |

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use punctual_engine::{Entry, Journal as _, Unanswered};
use punctual_wire::{Inquiry, MigrationId, Outcome};

use crate::again::{FIRST, until_in_order, waits};
use crate::api::{MachineState, Problem};
use crate::arrivals::remind;
use crate::following::TakenOver;
use crate::host::Host;
use crate::journal::{Came, Left};
use crate::registry::{Record, Standing};
use crate::suspended;

/// Between two questions to a source that does not know yet or cannot be reached.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Sources of so many machines that came here are reminded at a start.
const REMINDED: usize = 16;

/// Puts in order what an earlier daemon left. What cannot be is logged and left as it is, so that
/// it is tried again at the next start.
pub(crate) fn recover(host: &Arc<Host>) {
    suspended::tidy(&host.config);
    for record in host.registry.all() {
        let name = record.name.clone();
        tracing::debug!(machine = name, standing = ?record.standing, "is found");
        if let Err(problem) = recover_one(host, record) {
            tracing::error!(machine = name, %problem, remedy = problem.remedy, "not put in order");
        }
    }
    // The word that a machine runs here, or the reminder, may have died with the earlier daemon.
    for (migration, source) in host.journal.came_here(REMINDED) {
        remind(host, source, migration);
    }
}

fn recover_one(host: &Arc<Host>, record: Record) -> Result<(), Problem> {
    match record.standing {
        Standing::Resident | Standing::Departed(_) => Ok(()),
        Standing::Traced => {
            Ok(host.registry.put(Record { standing: Standing::Resident, ..record })?)
        }
        Standing::Starting | Standing::Ending => host.discard(&record),
        Standing::Suspending(id) => suspended::recover_suspending(host, record, id),
        Standing::Resuming(id) => suspended::recover_resuming(host, record, id),
        Standing::Leaving(id) | Standing::Undecided(id) => leaving(host, record, id.into()),
        Standing::Serving(id) => serving(host, record, id.into()),
        Standing::Depending(id) => depending(host, &record, id.into()),
        Standing::Replacing(id) => crate::local::recover(host, record, id.into()),
        Standing::Arriving(id) => arriving(host, record, id.into()),
    }
}

fn leaving(host: &Arc<Host>, record: Record, migration: MigrationId) -> Result<(), Problem> {
    if host.journal.left(migration) == Some(Left::Committed { owing: true }) {
        return serving(host, record, migration);
    }
    if host.journal.outcome(migration, false) == Outcome::Committed {
        tracing::warn!(machine = record.name, "was moved; what is left of it here is removed");
        return host.discard(&record);
    }
    tracing::warn!(machine = record.name, "its move was broken off; it runs on here");
    let_run(host, record, None, |_| {})
}

/// What is left of a machine that has gone before its pages.
fn serving(host: &Arc<Host>, record: Record, migration: MigrationId) -> Result<(), Problem> {
    match host.journal.left(migration) {
        // Its destination has all of it: what is left here is in nobody's way but the operator's.
        Some(Left::Ended) => host.discard(&record),
        _ => host.serve_on(record, migration),
    }
}

/// A machine that has come before its pages.
fn depending(host: &Arc<Host>, record: &Record, migration: MigrationId) -> Result<(), Problem> {
    let Some(taken) = host.take_over(record, migration)? else {
        // The earlier daemon had ended the paging and was killed before it noted that.
        note(host, &Entry::Whole { migration });
        host.stand(&record.name, Standing::Resident);
        return Ok(());
    };
    host.depend_on(&record.name, taken)
}

fn arriving(host: &Arc<Host>, record: Record, migration: MigrationId) -> Result<(), Problem> {
    match host.journal.came(migration) {
        Some(Came::Ours { .. }) => keep(host, record, migration, None),
        Some(Came::Asked { source, address }) => asked(host, record, migration, &source, address),
        _ => give_up(host, &record, migration, "the daemon of the destination was ended"),
    }
}

/// A machine whose commit was asked for: it is not known yet whose it is.
fn asked(
    host: &Arc<Host>,
    record: Record,
    migration: MigrationId,
    source: &str,
    address: String,
) -> Result<(), Problem> {
    // One that lacks pages may be waiting for one, and answers nobody.
    let is_whole = matches!(host.hypervisor.depends(&record.name, &record.handle), Ok(None));
    // The daemon was killed, or its disk failed, between letting it run and recording that.
    if is_whole && host.hypervisor.state(&record.handle) == MachineState::Running {
        return keep(host, record, migration, None);
    }
    tracing::warn!(machine = record.name, source, "whose it is is asked at its source");
    let (host, name) = (Arc::clone(host), format!("ask-{}", record.name));
    let ask = move || ask(&host, &record, migration, address);
    let asking = thread::Builder::new().name(name).spawn(ask);
    asking.map(drop).map_err(|error| Problem::failed(error, "start the daemon again"))
}

/// Asks the source until it answers or the daemon is to end.
fn ask(host: &Arc<Host>, record: &Record, migration: MigrationId, address: String) {
    let mut told = None;
    let outcome = loop {
        match host.ask(&address, Inquiry { migration }) {
            Ok(outcome @ (Outcome::Committed | Outcome::Aborted)) => break outcome,
            Ok(Outcome::Undecided) => {}
            Err(Unanswered::Ending) => return,
            Err(Unanswered::Later(why)) => {
                // Once for each reason: this may take days.
                if told.as_ref() != Some(&why) {
                    tracing::warn!(machine = record.name, why, "the source does not answer");
                    told = Some(why);
                }
            }
        }
        if !waits(host, ASK_AGAIN) {
            return;
        }
    };
    let done = match outcome {
        Outcome::Committed => keep(host, record.clone(), migration, Some(address)),
        _ => give_up(host, record, migration, "the source keeps the machine"),
    };
    tracing::info!(machine = record.name, ?outcome, ?done, "the source has answered");
}

/// Makes a machine run that came here and is this host's, and tells its source if that may not know.
fn keep(
    host: &Arc<Host>,
    record: Record,
    migration: MigrationId,
    source: Option<String>,
) -> Result<(), Problem> {
    let taken = host.take_over(&record, migration)?;
    let_run(host, record, taken, move |host| {
        // Behind the word that it is whole this would say that it is not.
        if let Some(Came::Asked { .. }) = host.journal.came(migration) {
            note(host, &Entry::Running { migration });
        }
        source.iter().for_each(|source| remind(host, source.clone(), migration));
    })
}

/// Makes a machine run that is this host's; if it does not answer, as soon as it does.
fn let_run(
    host: &Arc<Host>,
    record: Record,
    mut taken: Option<TakenOver>,
    runs: impl Fn(&Arc<Host>) + Send + 'static,
) -> Result<(), Problem> {
    let name = record.name.clone();
    // Its process may be waiting for a page, and none comes before this daemon serves.
    let is_waited_for = taken.is_some();
    let mut attempt = move |host: &Arc<Host>| {
        if host.registry.get(&record.name)?.standing != record.standing {
            return Ok(());
        }
        if host.hypervisor.is_gone(&record.handle) {
            tracing::error!(machine = record.name, "its process has ended");
            return host.make_resident(record.clone());
        }
        host.hypervisor.recover(&record.handle)?;
        runs(host);
        match taken.take() {
            None => host.make_resident(record.clone()),
            Some(taken) => {
                // Only now: the next daemon lets nothing run of which this is on record.
                host.stand(&record.name, Standing::Depending(taken.migration().into()));
                host.depend_on(&record.name, taken)
            }
        }
    };
    if is_waited_for {
        until_in_order(host, &name, Duration::ZERO, attempt);
        return Ok(());
    }
    attempt(host).inspect_err(|_| until_in_order(host, &name, FIRST, attempt))
}

/// Discards a machine that never was this host's.
fn give_up(
    host: &Host,
    record: &Record,
    migration: MigrationId,
    reason: &str,
) -> Result<(), Problem> {
    host.discard(record)?;
    note(host, &Entry::Discarded { migration, reason: reason.to_owned() });
    Ok(())
}

/// Records for the history: nothing depends on it.
fn note(host: &Host, entry: &Entry) {
    if let Err(error) = host.journal.record(entry) {
        tracing::warn!(%error, "the journal lacks an entry");
    }
}
