//! What a daemon makes of machines and files that another left that was killed.

use std::path::PathBuf;
use std::sync::Arc;

use punctual_guest::SourceMachine;
use punctual_wire::MigrationId;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::api::Id;
use crate::registry::{Record, Registry, Standing};
use crate::tests::config;
use crate::tests::fakes::{Fakes, layout};

/// What a killed daemon left: a file and a machine.
struct Left {
    directory: TempDir,
    snapshots: PathBuf,
    file: PathBuf,
    id: Id,
    fakes: Arc<Fakes>,
}

impl Left {
    /// A complete snapshot, made by another daemon; nothing of its machine is anywhere.
    fn new() -> Self {
        let (directory, a, _) = two_hosts();
        let (snapshots, file) = place(&directory);
        busy(&a);
        saved(suspend(&a.0, &file, false));
        let mut opened = fs::File::open(&file).unwrap();
        let id = MigrationId(punctual_snapshot::identify(&mut opened).unwrap().0).into();
        Self { directory, snapshots, file, id, fakes: Arc::default() }
    }

    /// The record of `web` on host `c`, and what was being done with it.
    fn record(&self, standing: Standing, handle: serde_json::Value, aim: &str) {
        let config = config("c", self.directory.path());
        fs::create_dir_all(config.suspending()).unwrap();
        let registry = Registry::open(&config.machines()).unwrap();
        registry.add(Record::new("web", standing, handle)).unwrap();
        let task = json!({ "id": self.id, "file": self.file, "aim": aim });
        fs::write(config.suspending().join("web.json"), task.to_string()).unwrap();
    }

    fn suspending(&self, machine: &Fake, aim: &str) {
        self.fakes.put("web", machine);
        self.record(Standing::Suspending(self.id), json!("web"), aim);
    }

    fn resuming(&self, machine: Option<&Fake>) {
        machine.inspect(|machine| self.fakes.put("web", machine));
        let handle = machine.map_or(serde_json::Value::Null, |_| json!("web"));
        self.record(Standing::Resuming(self.id), handle, "resume");
    }

    fn claim(&self) {
        let taken = format!("{}.resuming-{}", self.file.display(), self.id);
        fs::rename(&self.file, taken).unwrap();
    }

    /// Starts the next daemon; returns the machines that it has.
    fn next(&self) -> Vec<(String, MachineState)> {
        let site = Site::start(config("c", self.directory.path()), Arc::clone(&self.fakes));
        let machines = site.machines();
        let tasks = config("c", self.directory.path()).suspending();
        assert!(names(&tasks).is_empty(), "what was done is put in order");
        machines
    }
}

/// A machine that stands with its device state saved.
fn stood() -> Fake {
    let machine = Fake::running("web", layout()).unwrap();
    let mut source = machine.source();
    source.prepare_stop().unwrap();
    let stopped = source.stop().unwrap();
    source.save_device_state().unwrap();
    drop(stopped);
    std::mem::forget(source);
    assert_eq!(machine.status(), Status::Saved);
    machine
}

fn running() -> Vec<(String, MachineState)> {
    vec![("web".to_owned(), MachineState::Running)]
}

#[test]
fn killed_before_the_file_had_its_name_the_machine_runs_on() {
    let left = Left::new();
    let partial = left.snapshots.join("web.snap.partial");
    fs::rename(&left.file, &partial).unwrap();
    let machine = stood();
    left.suspending(&machine, "suspend");
    assert_eq!(left.next(), running());
    assert_eq!(machine.status(), Status::Running);
    assert!(names(&left.snapshots).is_empty(), "what was written is removed");
}

#[test]
fn killed_before_anything_was_written_the_machine_runs_on() {
    let left = Left::new();
    fs::remove_file(&left.file).unwrap();
    let machine = Fake::running("web", layout()).unwrap();
    left.suspending(&machine, "suspend");
    assert_eq!(left.next(), running());
    assert_eq!(machine.status(), Status::Running);
}

#[test]
fn killed_after_the_file_had_its_name_the_file_is_the_machine() {
    let left = Left::new();
    left.suspending(&stood(), "suspend");
    assert_eq!(left.next(), []);
    assert!(left.fakes.get("web").is_none(), "its process is discarded");
    assert_eq!(names(&left.snapshots), ["web.snap"]);
}

#[test]
fn a_file_that_is_damaged_or_another_is_not_the_machine() {
    let left = Left::new();
    let whole = fs::read(&left.file).unwrap();
    fs::write(&left.file, &whole[..whole.len() - 1]).unwrap();
    let machine = stood();
    left.suspending(&machine, "suspend");
    assert_eq!(left.next(), running());

    let other = Left { id: MigrationId(7).into(), ..Left::new() };
    let machine = stood();
    other.suspending(&machine, "suspend");
    assert_eq!(other.next(), running());
    assert_eq!(names(&other.snapshots), ["web.snap"], "it is not touched");
}

#[test]
fn killed_while_a_copy_was_made_the_machine_runs_on() {
    let left = Left::new();
    let machine = stood();
    left.suspending(&machine, "copy");
    assert_eq!(left.next(), running());
    assert_eq!(machine.status(), Status::Running);
    assert_eq!(names(&left.snapshots), ["web.snap"]);
}

#[test]
fn a_machine_that_ended_while_it_was_saved_can_be_removed() {
    let left = Left::new();
    fs::remove_file(&left.file).unwrap();
    left.record(Standing::Suspending(left.id), json!("web"), "suspend");
    assert_eq!(left.next(), [("web".to_owned(), MachineState::Gone)]);
}

#[test]
fn killed_before_the_file_was_taken_what_was_started_goes() {
    for waiting in [None, Some(Fake::waiting("web", layout()).unwrap())] {
        let left = Left::new();
        left.resuming(waiting.as_ref());
        assert_eq!(left.next(), []);
        assert!(left.fakes.get("web").is_none());
        assert_eq!(names(&left.snapshots), ["web.snap"]);
    }
}

#[test]
fn killed_after_the_file_was_taken_the_machine_is_made_to_run() {
    let left = Left::new();
    // It stands: whoever recovers it cannot tell where it came from.
    let machine = stood();
    left.resuming(Some(&machine));
    left.claim();
    assert_eq!(left.next(), running());
    assert_eq!(machine.status(), Status::Running);
    assert_eq!(names(&left.snapshots), ["web.snap.resumed"]);
}

#[test]
fn a_host_that_lost_the_machine_gives_the_file_back() {
    let left = Left::new();
    left.resuming(None);
    left.claim();
    assert_eq!(left.next(), []);
    assert_eq!(names(&left.snapshots), ["web.snap"]);
}

#[test]
fn killed_after_the_machine_ran_it_is_at_home() {
    for claimed in [true, false] {
        let left = Left::new();
        let machine = Fake::running("web", layout()).unwrap();
        left.resuming(Some(&machine));
        if claimed {
            left.claim();
        } else {
            // It was used up already.
            fs::rename(&left.file, left.snapshots.join("web.snap.resumed")).unwrap();
        }
        assert_eq!(left.next(), running());
        assert_eq!(names(&left.snapshots), ["web.snap.resumed"]);
    }
}

#[test]
fn files_of_clones_do_not_outlive_their_daemon() {
    let left = Left::new();
    let clones = config("c", left.directory.path()).clones();
    fs::create_dir_all(&clones).unwrap();
    fs::write(clones.join("half"), "of it").unwrap();
    left.suspending(&stood(), "copy");
    assert_eq!(left.next(), running());
    assert!(!clones.exists());
}
