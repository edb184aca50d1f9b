//! Machines that get another process, in the memory that they have.

use std::time::Duration;

use punctual_engine::report::{Ending, Holder};
use punctual_engine::{Entry, Journal as _, Report};
use punctual_guest::fake::{Call, Fake, Status};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_units::{Bytes, PageIndex, Pages};
use punctual_wire::MigrationId;
use serde_json::json;
use tempfile::TempDir;

use super::fakes::{Fakes, layout};
use super::recovery::wait_until;
use super::{Site, config, moves, two_hosts};
use crate::api::{MachineState, Migration, UpgradeRequest};
use crate::journal::{Came, Journal, Left};
use crate::registry::{Record, Registry, Standing};

const ATTEMPT: MigrationId = MigrationId(7);

fn request() -> UpgradeRequest {
    UpgradeRequest {
        machine: "web".to_owned(),
        program: None,
        downtime: Duration::from_secs(2),
        within: Duration::from_secs(60),
        dry_run: false,
    }
}

fn upgrade(site: &Site, request: &UpgradeRequest) -> Migration {
    let begun = site.ask(|client| async move { client.upgrade(request).await }).unwrap();
    if begun.has_ended() { begun } else { site.follow(begun.id, Migration::has_ended) }
}

fn upgraded(site: &Site) -> Report {
    upgrade(site, &request()).report.unwrap()
}

fn running() -> [(String, MachineState); 1] {
    [("web".to_owned(), MachineState::Running)]
}

#[test]
fn a_machine_goes_on_in_another_process_and_its_memory_stays() {
    let (_directory, (a, fakes), (b, _)) = two_hosts();
    a.run("web");
    moves::fill(&fakes, "web");
    let first = fakes.get("web").unwrap();
    let digest = |fake: &Fake| fake.ram().digest().unwrap();
    for (before, after) in [("web", "web'"), ("web'", "web''")] {
        let old = fakes.get(before).unwrap();
        let report = upgraded(&a);
        assert_eq!((report.outcome, report.owner), (Ending::Completed, Holder::Destination));
        assert_eq!((report.from.as_str(), report.to.as_str()), ("a", "a"));
        assert_eq!(report.measured.pages_sent, Pages::ZERO);
        assert!(report.measured.wire_bytes < Bytes::kib(16), "{report:?}");
        assert_eq!(old.status(), Status::Gone);
        let new = fakes.get(after).unwrap();
        assert_eq!((new.status(), new.registers()), (Status::Running, old.registers()));
        assert_eq!(digest(&new), digest(&first));
        assert!(new.guest_writes(PageIndex(1), Bytes::ZERO, after.as_bytes()));
        assert_eq!(a.machines(), running());
    }
    let report = a.moves(&super::request("web", &b));
    assert_eq!(report.outcome, Ending::Completed, "it moves on: {}", report.reason);
}

#[test]
fn a_dry_run_shows_the_command_line_and_starts_nothing() {
    let (_directory, (a, fakes), _) = two_hosts();
    a.run("web");
    let migration = upgrade(&a, &UpgradeRequest { dry_run: true, ..request() });
    assert_eq!(migration.command_line, ["fake", "web'"]);
    assert_eq!(migration.report.unwrap().owner, Holder::Source);
    assert!(fakes.get("web'").is_none());
    assert_eq!(a.machines(), running());
}

#[test]
fn what_goes_wrong_leaves_the_machine_as_it_was() {
    let (_directory, (a, fakes), _) = two_hosts();
    a.run("web");
    let old = fakes.get("web").unwrap();
    for call in [Call::PrepareStop, Call::Stop, Call::SaveDeviceState] {
        old.fail_next(call, 1);
        let report = upgraded(&a);
        assert_eq!((report.outcome, report.owner), (Ending::Failed, Holder::Source), "{call:?}");
        assert_eq!(old.status(), Status::Running, "{call:?}");
        assert_eq!(fakes.get("web'").unwrap().status(), Status::Gone, "{call:?}");
        assert_eq!(a.machines(), running());
    }
    let unknown = UpgradeRequest { machine: "mail".to_owned(), ..request() };
    assert!(a.ask(|client| async move { client.upgrade(&unknown).await }).is_err());
    assert_eq!(upgraded(&a).outcome, Ending::Completed);
}

/// Two processes of a machine, the first having saved its state, the second having loaded it.
fn two_processes() -> (Fake, Fake) {
    let old = Fake::running("web", layout()).unwrap();
    old.guest_writes(PageIndex(1), Bytes::ZERO, b"content");
    let new = old.successor();
    let (mut source, mut destination) = (old.source(), new.destination());
    source.prepare_stop().unwrap();
    let (mut stream, mut state) = (source.stop().unwrap().device_state, Vec::new());
    source.save_device_state().unwrap();
    stream.read_to_end(&mut state).unwrap();
    destination.device_state().unwrap().write_all(&state).unwrap();
    destination.wait_loaded(Duration::from_secs(10)).unwrap();
    std::mem::forget((source, destination));
    (old, new)
}

/// What is found by a daemon that is started after one that was killed with these entries.
fn after(entries: &[Entry], successor: Option<&Fake>, old: &Fake) -> (TempDir, Site, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let config = config("a", directory.path());
    std::fs::create_dir_all(&config.state_dir).unwrap();
    let replacing = Standing::Replacing(ATTEMPT.into());
    let record = Record::new("web", replacing, json!("web"));
    let record = Record { successor: successor.map(|_| json!("web'")), ..record };
    Registry::open(&config.machines()).unwrap().add(record).unwrap();
    let journal = Journal::open(&config.journal()).unwrap();
    entries.iter().for_each(|entry| journal.record(entry).unwrap());
    drop(journal);
    let fakes = std::sync::Arc::new(Fakes::default());
    fakes.put("web", old);
    successor.iter().for_each(|new| fakes.put("web'", new));
    let site = Site::start(config, std::sync::Arc::clone(&fakes));
    let left = ["web", "web'"].into_iter().filter(|name| fakes.get(name).is_some());
    let left = left.map(ToOwned::to_owned).collect();
    (directory, site, left)
}

fn begun() -> Vec<Entry> {
    let (machine, here) = ("web".to_owned(), "a".to_owned());
    let source_address = "127.0.0.1:1".to_owned();
    vec![
        Entry::Offered { migration: ATTEMPT, machine: machine.clone(), to: here.clone() },
        Entry::Accepted { migration: ATTEMPT, machine, source: here, source_address },
    ]
}

#[test]
fn a_daemon_that_died_before_the_commit_has_left_the_first_process() {
    let (old, new) = two_processes();
    let asked = Entry::AskedForCommit { migration: ATTEMPT };
    for entries in [vec![], begun(), [begun(), vec![asked]].concat()] {
        let (directory, site, left) = after(&entries, Some(&new), &old);
        assert_eq!((left, site.machines()), (vec!["web".to_owned()], running().into()));
        assert_eq!(old.status(), Status::Running);
        drop(site);
        let journal = Journal::open(&config("a", directory.path()).journal()).unwrap();
        let settled = (journal.left(ATTEMPT), journal.came(ATTEMPT));
        if !entries.is_empty() {
            assert_eq!(settled, (Some(Left::Ended), Some(Came::Ended)));
        }
    }
}

#[test]
fn a_daemon_that_died_before_it_started_the_second_process_has_left_the_first() {
    let old = Fake::running("web", layout()).unwrap();
    let (_directory, site, left) = after(&begun(), None, &old);
    assert_eq!((left, site.machines()), (vec!["web".to_owned()], running().into()));
}

#[test]
fn a_daemon_that_died_behind_the_commit_has_left_the_second_process() {
    let ready = [begun(), vec![Entry::AskedForCommit { migration: ATTEMPT }]].concat();
    let committed = [ready, vec![Entry::Committed { migration: ATTEMPT }]].concat();
    let running_there = [committed.clone(), vec![Entry::Running { migration: ATTEMPT }]].concat();
    let gone = Entry::Surrendered { migration: ATTEMPT };
    let all = [running_there.clone(), vec![gone]].concat();
    for entries in [committed, running_there, all] {
        let (old, new) = two_processes();
        let digest = old.ram().digest().unwrap();
        let (directory, site, left) = after(&entries, Some(&new), &old);
        assert_eq!((left, site.machines()), (vec!["web'".to_owned()], running().into()));
        assert_eq!((new.status(), new.ram().digest().unwrap()), (Status::Running, digest));
        drop(site);
        let journal = Journal::open(&config("a", directory.path()).journal()).unwrap();
        assert_eq!(journal.left(ATTEMPT), Some(Left::Ended));
        assert_eq!(journal.came(ATTEMPT), Some(Came::Ours { whole: false }));
        assert_eq!(journal.came_here(16), [], "nobody else is to be told");
    }
}

#[test]
fn a_second_process_that_does_not_run_at_once_is_tried_again() {
    let ready = [begun(), vec![Entry::AskedForCommit { migration: ATTEMPT }]].concat();
    let committed = [ready, vec![Entry::Committed { migration: ATTEMPT }]].concat();
    let (old, new) = two_processes();
    new.fail_next(Call::Resume, 2);
    let (_directory, site, _) = after(&committed, Some(&new), &old);
    wait_until("it runs", || site.machines() == running());
    assert_eq!(new.status(), Status::Running);
}

#[test]
fn a_second_process_that_has_ended_was_the_machine() {
    let ready = [begun(), vec![Entry::AskedForCommit { migration: ATTEMPT }]].concat();
    let committed = [ready, vec![Entry::Committed { migration: ATTEMPT }]].concat();
    let (old, new) = two_processes();
    Box::new(new.destination()).discard().unwrap();
    let (_directory, site, left) = after(&committed, Some(&new), &old);
    assert_eq!(left, ["web'"], "the one before cannot go on");
    assert_eq!(site.machines(), [("web".to_owned(), MachineState::Gone)]);
}
