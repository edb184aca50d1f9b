//! Machines that move from one daemon to another.

use std::time::Duration;

use punctual_engine::report::{Ending, Holder};
use punctual_guest::fake::Status;
use punctual_units::{Bytes, BytesPerSecond, PageIndex};

use super::fakes::{Fakes, layout};
use super::{request, two_hosts, two_hosts_with};
use crate::Caps;
use crate::api::{MachineState, MigrateRequest, Migration};

/// Fills the machine's memory with what cannot be packed.
pub(super) fn fill(fakes: &Fakes, name: &str) {
    let machine = fakes.get(name).unwrap();
    let mut page = [0_u8; 4096];
    for index in 0..layout().pages().get() {
        rand::fill(&mut page[..]);
        assert!(machine.guest_writes(PageIndex(index), Bytes::ZERO, &page));
    }
}

/// So slow that there is time to do something meanwhile.
fn slow(request: MigrateRequest) -> MigrateRequest {
    let bandwidth = Some(BytesPerSecond::megabits(1));
    MigrateRequest { bandwidth, downtime: Duration::from_millis(100), ..request }
}

#[test]
fn a_machine_moves_there_and_back() {
    let (directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let machine = here.get("web").unwrap();
    let report = a.moves(&request("web", &b));
    assert_eq!((report.outcome, report.owner), (Ending::Completed, Holder::Destination));
    assert_eq!(report.ram_digest_equal, Some(true), "{report:?}");
    assert_eq!(a.machines(), []);
    assert_eq!(machine.status(), Status::Gone);
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Running)]);
    let digest = machine.ram().digest().unwrap();
    assert_eq!(there.get("web").unwrap().ram().digest().unwrap(), digest);

    let report = b.moves(&request("web", &a));
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
    assert_eq!(b.machines(), []);
    assert!(
        directory.path().join("b-state/experience.json").exists(),
        "what it took is remembered"
    );
}

#[test]
fn a_dry_run_shows_the_command_line_and_moves_nothing() {
    let (_directory, (a, _), (b, there)) = two_hosts();
    a.run("web");
    let id = a.migrate(&MigrateRequest { dry_run: true, ..request("web", &b) }).id;
    let migration = a.follow(id, Migration::has_ended);
    assert_eq!(migration.command_line, ["fake", "web"]);
    assert_eq!(migration.report.unwrap().owner, Holder::Source);
    assert!(there.get("web").is_none());
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
}

#[test]
fn a_name_that_is_taken_there_is_refused_before_anything_moves() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    a.run("web");
    b.run("web");
    let report = a.moves(&request("web", &b));
    assert_eq!((report.outcome, report.owner), (Ending::Refused, Holder::Source));
    assert!(report.reason.contains("host `b` has a machine called `web`"), "{}", report.reason);
    assert_eq!(a.machines(), b.machines());
}

#[test]
fn a_host_that_does_not_answer_leaves_the_machine_where_it_is() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    a.run("web");
    let gone = request("web", &b);
    drop(b);
    let report = a.moves(&gone);
    assert_eq!((report.outcome, report.owner), (Ending::Refused, Holder::Source));
    assert!(report.reason.contains("punctual host"), "{}", report.reason);
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
}

#[test]
fn a_machine_moves_once_at_a_time_and_runs_on_when_that_is_cancelled() {
    let caps = Caps { per_link: 2, ..Caps::default() };
    let (_directory, (a, here), (b, there)) = two_hosts_with(caps);
    a.run("web");
    a.run("mail");
    fill(&here, "web");
    let id = a.migrate(&slow(request("web", &b))).id;
    a.follow(id, |migration| migration.progress.as_ref().is_some_and(|look| look.round > 0));
    assert_eq!(a.machines()[1], ("web".to_owned(), MachineState::Leaving));
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Arriving)]);

    let report = a.migrate(&request("web", &b)).report.expect("it is refused at once");
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("another migration is under way"), "{}", report.reason);
    a.ask(|client| async move { client.stop("web").await }).unwrap_err();
    // Another machine is not in the way.
    assert_eq!(a.moves(&request("mail", &b)).outcome, Ending::Completed);

    a.cancel(id);
    let report = a.follow(id, Migration::has_ended).report.unwrap();
    assert_eq!((report.outcome, report.owner), (Ending::Cancelled, Holder::Source));
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
    drop(b);
    assert!(there.get("web").is_none_or(|machine| machine.status() == Status::Gone));
    assert_eq!(there.get("mail").unwrap().status(), Status::Running);
}

#[test]
fn a_source_that_is_told_to_end_cancels_and_leaves_the_machine_running() {
    let (_directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let id = a.migrate(&slow(request("web", &b))).id;
    a.follow(id, |migration| migration.progress.as_ref().is_some_and(|look| look.round > 0));
    drop(a);
    assert_eq!(here.get("web").unwrap().status(), Status::Running);
    assert!(!here.get("web").unwrap().is_traced());
    drop(b);
    assert!(there.get("web").is_none_or(|machine| machine.status() == Status::Gone));
}

#[test]
fn a_destination_that_is_told_to_end_discards_what_came() {
    let (_directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let id = a.migrate(&slow(request("web", &b))).id;
    a.follow(id, |migration| migration.progress.as_ref().is_some_and(|look| look.round > 0));
    drop(b);
    let report = a.follow(id, Migration::has_ended).report.unwrap();
    assert_eq!((report.outcome, report.owner), (Ending::Failed, Holder::Source));
    assert_eq!(here.get("web").unwrap().status(), Status::Running);
    assert!(there.get("web").is_none_or(|machine| machine.status() == Status::Gone));
}
