//! Pages that follow a machine, and daemons that were killed meanwhile.

use std::time::{Duration, Instant};

use punctual_engine::Entry;
use punctual_guest::fake::{Call, Fake, Status};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange, PageSet, Pages};
use tempfile::TempDir;

use super::fakes::{PATIENCE, layout};
use super::recovery::{ATTEMPT, accepted, left, loaded, start, wait_until};
use super::{Site, config};
use crate::api::{MachineState, RecoverRequest};
use crate::journal::{Journal, Left};
use crate::registry::Standing;

const CONTENT: &[u8] = b"what follows";

fn web(state: MachineState) -> [(String, MachineState); 1] {
    [("web".to_owned(), state)]
}

/// A machine that was handed over without its first page: what is left of it, and what came.
fn handed_over() -> (Fake, Fake) {
    let (old, new) =
        (Fake::running("web", layout()).unwrap(), Fake::waiting("web", layout()).unwrap());
    old.guest_writes(PageIndex(0), Bytes::ZERO, CONTENT);
    let (mut source, mut destination) = (old.source(), new.destination());
    source.prepare_stop().unwrap();
    let (mut stream, mut state) = (source.stop().unwrap().device_state, Vec::new());
    source.save_device_state().unwrap();
    stream.read_to_end(&mut state).unwrap();
    let last = layout().pages().get() - 1;
    let mut page = vec![0; PAGE_SIZE.get() as usize];
    old.ram().read(PageRange::new(last, last + 1), &mut page).unwrap();
    new.ram().write(PageIndex(last), &page).unwrap();
    let mut missing = PageSet::empty(layout().pages());
    missing.insert_range(PageRange::new(0, 1));
    drop(destination.page_on_demand(&missing).unwrap());
    destination.device_state().unwrap().write_all(&state).unwrap();
    destination.wait_loaded(Duration::from_secs(10)).unwrap();
    std::mem::forget((source, destination));
    assert_eq!(missing.len(), Pages::new(1));
    (old, new)
}

fn runs(machine: &Fake) {
    let mut destination = machine.destination();
    destination.resume().unwrap();
    std::mem::forget(destination);
}

/// The records of a destination whose machine is its own.
fn ours() -> Vec<Entry> {
    vec![
        accepted("127.0.0.1:1"),
        Entry::AskedForCommit { migration: ATTEMPT },
        Entry::Running { migration: ATTEMPT },
    ]
}

/// A source that owes pages to the host at this address.
fn owing(directory: &TempDir, standing: Standing, to: &str, old: Option<&Fake>) -> Site {
    let entries = [
        Entry::Offered { migration: ATTEMPT, machine: "web".to_owned(), to: to.to_owned() },
        Entry::Owing { migration: ATTEMPT },
        Entry::Committed { migration: ATTEMPT },
    ];
    let fakes = left(directory, "a", standing, &entries);
    old.iter().for_each(|old| fakes.put("web", old));
    start(directory, "a", &fakes)
}

/// The source has removed what was left, because it was told that nothing is missing.
fn is_surrendered(directory: &TempDir, a: Site) {
    wait_until("the source removes what is left there", || a.machines().is_empty());
    drop(a);
    let journal = Journal::open(&config("a", directory.path()).journal()).unwrap();
    assert_eq!(journal.left(ATTEMPT), Some(Left::Ended));
}

/// The source has nothing of it any more, and the destination has all.
fn comes_home(directory: &TempDir, a: Site, b: &Site) {
    is_surrendered(directory, a);
    wait_until("the machine is at home", || b.machines() == web(MachineState::Running));
}

/// The source is told where its destination is now.
fn seek(a: &Site, b: &Site) {
    let request = RecoverRequest { to: Some(b.address.clone()) };
    a.ask(|client| async move { client.recover("web", &request).await }).unwrap();
}

/// Its daemon was killed when the last page had come, and before anything said so.
#[test]
fn a_source_is_told_that_a_machine_is_whole_which_the_log_does_not_say() {
    let directory = tempfile::tempdir().unwrap();
    let there = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &ours());
    there.put("web", &Fake::running("web", layout()).unwrap());
    let b = start(&directory, "b", &there);
    assert_eq!(b.machines(), web(MachineState::Running));
    let (old, _) = handed_over();
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), &b.address, Some(&old));
    is_surrendered(&directory, a);
    assert_eq!(b.machines(), web(MachineState::Running));
}

#[test]
fn a_machine_that_could_not_be_taken_over_keeps_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let there = left(&directory, "b", Standing::Depending(ATTEMPT.into()), &ours());
    let (old, new) = handed_over();
    runs(&new);
    there.put("web", &new);
    there.fail_next_take_over();
    let b = start(&directory, "b", &there);
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), &b.address, Some(&old));
    // Long enough to be turned away several times.
    let dialled_often = Instant::now() + Duration::from_secs(1);
    wait_until("it has dialled several times", || Instant::now() > dialled_often);
    assert_eq!(a.machines(), web(MachineState::Serving), "it has not been given up");
    drop(b);
    let b = start(&directory, "b", &there);
    seek(&a, &b);
    comes_home(&directory, a, &b);
    assert!(new.guest_reads(PageIndex(0)).unwrap().starts_with(CONTENT));
}

#[test]
fn a_machine_that_could_not_be_let_run_is_let_run_as_soon_as_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let there = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &ours());
    let (old, new) = handed_over();
    there.put("web", &new);
    new.fail_next(Call::Resume, 1);
    let b = start(&directory, "b", &there);
    assert_eq!(b.machines(), web(MachineState::Arriving));
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), &b.address, Some(&old));
    comes_home(&directory, a, &b);
    assert_eq!(new.status(), Status::Running);
    assert!(new.guest_reads(PageIndex(0)).unwrap().starts_with(CONTENT));
}

/// Its daemon was killed when it ran already, and it touches a page that is missing before it answers
/// anybody: the page comes only once the next daemon serves.
#[test]
fn a_machine_that_answers_nobody_before_a_page_has_come_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let there = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &ours());
    let (old, new) = handed_over();
    runs(&new);
    there.put("web", &new);
    there.answer_behind(PageIndex(0));
    let begun = Instant::now();
    let b = start(&directory, "b", &there);
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), &b.address, Some(&old));
    comes_home(&directory, a, &b);
    assert!(begun.elapsed() < PATIENCE, "it was waited for");
}

/// The same, and the daemon had not noted that its source had committed.
#[test]
fn a_machine_that_answers_nobody_is_asked_about_at_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = handed_over();
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), "127.0.0.1:1", Some(&old));
    let entries = [accepted(&a.address), Entry::AskedForCommit { migration: ATTEMPT }];
    let there = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    runs(&new);
    there.put("web", &new);
    there.answer_behind(PageIndex(0));
    let begun = Instant::now();
    let b = start(&directory, "b", &there);
    seek(&a, &b);
    comes_home(&directory, a, &b);
    assert!(begun.elapsed() < PATIENCE, "it was waited for");
}

/// That its machine runs there does not say that it has all its pages.
#[test]
fn a_question_does_not_remove_what_is_owed() {
    let directory = tempfile::tempdir().unwrap();
    let (old, _) = handed_over();
    let a = owing(&directory, Standing::Departed(ATTEMPT.into()), "b", Some(&old));
    let entries = [accepted(&a.address), Entry::AskedForCommit { migration: ATTEMPT }];
    let there = left(&directory, "b", Standing::Arriving(ATTEMPT.into()), &entries);
    there.put("web", &loaded());
    let b = start(&directory, "b", &there);
    wait_until("it is answered", || b.machines() == web(MachineState::Running));
    assert_eq!(a.machines(), web(MachineState::Departed));
}

/// The daemon was killed behind the removal, and its disk had not taken the word that it may.
#[test]
fn a_source_of_which_nothing_is_left_serves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let a = owing(&directory, Standing::Serving(ATTEMPT.into()), "127.0.0.1:1", None);
    assert_eq!(a.machines(), []);
}
