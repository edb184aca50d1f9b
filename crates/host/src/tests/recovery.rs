//! What a daemon makes of what another left that was killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_engine::{Entry, Journal as _};
use punctual_guest::fake::{Fake, Status};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_wire::MigrationId;
use serde_json::json;
use tempfile::TempDir;

use super::fakes::{Fakes, layout};
use super::{Site, config};
use crate::api::MachineState;
use crate::journal::{Came, Journal};
use crate::registry::{Record, Registry, Standing};

pub(super) const ATTEMPT: MigrationId = MigrationId(7);

/// What a killed daemon left: a record of `web`, entries of the journal, a machine.
pub(super) fn left(
    directory: &TempDir,
    host: &str,
    standing: Standing,
    entries: &[Entry],
) -> Arc<Fakes> {
    let config = config(host, directory.path());
    std::fs::create_dir_all(&config.state_dir).unwrap();
    let registry = Registry::open(&config.machines()).unwrap();
    let record = Record::new("web", standing, json!("web"));
    registry.add(record).unwrap();
    let journal = Journal::open(&config.journal()).unwrap();
    entries.iter().for_each(|entry| journal.record(entry).unwrap());
    Arc::new(Fakes::default())
}

pub(super) fn start(directory: &TempDir, host: &str, fakes: &Arc<Fakes>) -> Site {
    Site::start(config(host, directory.path()), Arc::clone(fakes))
}

fn stage(directory: &TempDir, host: &str) -> Option<Came> {
    Journal::open(&config(host, directory.path()).journal()).unwrap().came(ATTEMPT)
}

fn offered() -> Entry {
    Entry::Offered { migration: ATTEMPT, machine: "web".to_owned(), to: "b".to_owned() }
}

pub(super) fn accepted(source_address: &str) -> Entry {
    Entry::Accepted {
        migration: ATTEMPT,
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: source_address.to_owned(),
    }
}

/// A machine that was stopped for the handover.
fn stopped() -> Fake {
    let machine = Fake::running("web", layout()).unwrap();
    let mut source = machine.source();
    source.prepare_stop().unwrap();
    drop(source.stop().unwrap());
    std::mem::forget(source);
    assert_eq!(machine.status(), Status::Stopped);
    machine
}

/// A machine that has come with its device state, and whose daemon was killed then.
pub(super) fn loaded() -> Fake {
    let from = stopped();
    let mut source = from.source();
    let (machine, mut state) = (Fake::waiting("web", layout()).unwrap(), Vec::new());
    let mut destination = machine.destination();
    let mut stream = {
        source.resume().unwrap();
        source.prepare_stop().unwrap();
        source.stop().unwrap().device_state
    };
    source.save_device_state().unwrap();
    stream.read_to_end(&mut state).unwrap();
    destination.device_state().unwrap().write_all(&state).unwrap();
    destination.wait_loaded(Duration::from_secs(10)).unwrap();
    std::mem::forget(destination);
    assert_eq!(machine.status(), Status::Loaded);
    machine
}

pub(super) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_source_runs_what_it_did_not_commit() {
    let directory = tempfile::tempdir().unwrap();
    let fakes = left(&directory, "a", Standing::Leaving(ATTEMPT.into()), &[offered()]);
    let machine = stopped();
    fakes.put("web", &machine);
    let a = start(&directory, "a", &fakes);
    assert_eq!(machine.status(), Status::Running);
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
}

#[test]
fn the_source_removes_what_it_committed() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [offered(), Entry::Committed { migration: ATTEMPT }];
    let fakes = left(&directory, "a", Standing::Leaving(ATTEMPT.into()), &entries);
    fakes.put("web", &stopped());
    let a = start(&directory, "a", &fakes);
    assert!(fakes.get("web").is_none());
    assert_eq!(a.machines(), []);
}

#[test]
fn a_commit_of_the_past_does_not_touch_the_machine_that_has_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [offered(), Entry::Committed { migration: ATTEMPT }];
    let fakes = left(&directory, "a", Standing::Resident, &entries);
    fakes.put("web", &Fake::running("web", layout()).unwrap());
    let a = start(&directory, "a", &fakes);
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
}

#[test]
fn what_was_being_started_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let fakes = left(&directory, "a", Standing::Starting, &[]);
    fakes.put("web", &Fake::running("web", layout()).unwrap());
    let a = start(&directory, "a", &fakes);
    assert!(fakes.get("web").is_none() && a.machines().is_empty());
}

#[test]
fn the_destination_discards_what_it_did_not_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    let standing = Standing::Arriving(ATTEMPT.into());
    let fakes = left(&directory, "b", standing, &[accepted("127.0.0.1:1")]);
    fakes.put("web", &Fake::waiting("web", layout()).unwrap());
    let b = start(&directory, "b", &fakes);
    assert!(fakes.get("web").is_none() && b.machines().is_empty());
    drop(b);
    assert_eq!(stage(&directory, "b"), Some(Came::Ended));
}

/// A destination that was killed after it had asked, and its source with these entries.
fn asked(source_entries: &[Entry], ended: impl Fn(&Site, &Fake)) -> Option<Came> {
    let directory = tempfile::tempdir().unwrap();
    let gone = left(&directory, "a", Standing::Departed(ATTEMPT.into()), source_entries);
    let a = start(&directory, "a", &gone);
    let entries = [accepted(&a.address), Entry::AskedForCommit { migration: ATTEMPT }];
    let fakes = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    let machine = loaded();
    fakes.put("web", &machine);
    let b = start(&directory, "b", &fakes);
    ended(&b, &machine);
    if source_entries.len() > 1 {
        wait_until("the source removes what is left there", || a.machines().is_empty());
    }
    drop(b);
    stage(&directory, "b")
}

#[test]
fn the_destination_runs_what_the_source_has_committed() {
    let entries = [offered(), Entry::Committed { migration: ATTEMPT }];
    let stage = asked(&entries, |b, machine| {
        wait_until("the machine runs", || machine.status() == Status::Running);
        let running = [("web".to_owned(), MachineState::Running)];
        wait_until("the host has it", || b.machines() == running);
    });
    assert_eq!(stage, Some(Came::Ours { whole: false }));
}

#[test]
fn the_destination_discards_what_the_source_has_kept() {
    let stage = asked(&[offered()], |b, machine| {
        wait_until("it is discarded", || b.machines().is_empty());
        assert_ne!(machine.status(), Status::Running);
    });
    assert_eq!(stage, Some(Came::Ended));
}

#[test]
fn the_destination_waits_for_a_source_that_cannot_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [accepted("127.0.0.1:1"), Entry::AskedForCommit { migration: ATTEMPT }];
    let fakes = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    let machine = loaded();
    fakes.put("web", &machine);
    let b = start(&directory, "b", &fakes);
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Arriving)]);
    drop(b);
    assert_eq!(machine.status(), Status::Loaded, "neither run nor discarded");
    assert!(matches!(stage(&directory, "b"), Some(Came::Asked { .. })));
}

/// The daemon was killed after it had let the machine run, and before it had recorded or said that.
#[test]
fn the_destination_keeps_a_machine_that_runs_already_and_tells_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [offered(), Entry::Committed { migration: ATTEMPT }];
    let gone = left(&directory, "a", Standing::Departed(ATTEMPT.into()), &entries);
    gone.put("web", &stopped());
    let a = start(&directory, "a", &gone);
    let entries = [accepted(&a.address), Entry::AskedForCommit { migration: ATTEMPT }];
    let fakes = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    let machine = Fake::running("web", layout()).unwrap();
    fakes.put("web", &machine);
    let b = start(&directory, "b", &fakes);
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Running)]);
    wait_until("the source removes what is left there", || {
        a.machines().is_empty() && gone.get("web").is_none()
    });
    drop(b);
    assert_eq!(machine.status(), Status::Running);
    assert_eq!(stage(&directory, "b"), Some(Came::Ours { whole: false }));
}

/// A source that does not know an attempt (its log was begun anew, or another daemon has its
/// address) cannot say that it was aborted: what is at the destination may be the only copy.
#[test]
fn the_destination_keeps_what_its_source_knows_nothing_of() {
    let directory = tempfile::tempdir().unwrap();
    let a = start(&directory, "a", &Arc::new(Fakes::default()));
    let entries = [accepted(&a.address), Entry::AskedForCommit { migration: ATTEMPT }];
    let fakes = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    let machine = loaded();
    fakes.put("web", &machine);
    let b = start(&directory, "b", &fakes);
    // Long enough for several questions.
    let asked_often = Instant::now() + Duration::from_secs(3);
    wait_until("it has asked several times", || Instant::now() > asked_often);
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Arriving)]);
    assert_eq!(machine.status(), Status::Loaded, "neither run nor discarded");
}
