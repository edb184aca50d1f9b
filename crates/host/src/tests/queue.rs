//! Several migrations at once.

use std::sync::Arc;
use std::time::Duration;

use punctual_engine::report::{Ending, Holder, Mode};
use punctual_guest::fake::Status;
use punctual_units::BytesPerSecond;

use super::moves::fill;
use super::{Host, Site, config, fakes, request, two_hosts};
use crate::Caps;
use crate::api::{Id, MachineState, MigrateRequest, Migration};

/// So slow that it goes on until it is cancelled.
fn slow(machine: &str, to: &Site) -> MigrateRequest {
    let bandwidth = Some(BytesPerSecond::megabits(1));
    MigrateRequest { bandwidth, downtime: Duration::from_millis(100), ..request(machine, to) }
}

fn three_machines(here: &Host) {
    let (site, machines) = here;
    for name in ["db", "mail", "web"] {
        site.run(name);
        fill(machines, name);
    }
}

fn position(site: &Site, id: Id, wanted: usize) -> Migration {
    let at = |migration: &Migration| {
        migration.queued.as_ref().is_some_and(|queued| queued.position == wanted)
    };
    site.follow(id, at)
}

#[test]
fn over_one_link_machines_go_one_after_the_other_in_the_order_in_which_they_came() {
    let (_directory, here, (b, there)) = two_hosts();
    three_machines(&here);
    let (a, _) = &here;
    let first = a.migrate(&slow("db", &b)).id;
    a.follow(first, |migration| migration.progress.is_some());
    let second = a.migrate(&request("mail", &b)).id;
    position(a, second, 1);
    let third = a.migrate(&request("web", &b)).id;
    position(a, third, 2);
    assert!(a.machines().contains(&("web".to_owned(), MachineState::Queued)));
    // As soon as the first knows when it will be over, so does the second know when it begins.
    let foretold = |migration: &Migration| {
        migration.queued.as_ref().is_some_and(|queued| queued.starts_in.is_some())
    };
    a.follow(second, foretold);

    let refused = MigrateRequest { no_wait: true, ..request("web", &b) };
    assert_eq!(a.migrate(&refused).report.unwrap().outcome, Ending::Refused, "it waits already");
    a.cancel(second);
    let ended = a.follow(second, Migration::has_ended);
    assert_eq!((ended.queued, ended.report.unwrap().outcome), (None, Ending::Cancelled));
    assert!(a.machines().contains(&("mail".to_owned(), MachineState::Running)), "it is at home");
    position(a, third, 1);
    let report = a.moves(&MigrateRequest { no_wait: true, ..request("mail", &b) });
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("--no-wait"), "{}", report.reason);

    a.cancel(first);
    let report = a.follow(third, Migration::has_ended).report.unwrap();
    assert_eq!((report.outcome, report.owner), (Ending::Completed, Holder::Destination));
    assert!(there.get("web").is_some());
    let at_a: Vec<_> = a.machines().into_iter().map(|(name, _)| name).collect();
    assert_eq!(at_a, ["db", "mail"]);
}

#[test]
fn a_destination_without_room_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let host = |name: &str, caps| {
        let machines = Arc::new(fakes::Fakes::default());
        let config = crate::HostConfig { caps, ..config(name, directory.path()) };
        (Site::start(config, Arc::clone(&machines)), machines)
    };
    let here = host("a", Caps { outgoing: 3, per_link: 3, ..Caps::default() });
    let (b, there) = host("b", Caps { incoming: 1, ..Caps::default() });
    three_machines(&here);
    let (a, _) = &here;
    let first = a.migrate(&slow("db", &b)).id;
    a.follow(first, |migration| migration.progress.as_ref().is_some_and(|look| look.round > 0));
    let second = a.migrate(&request("mail", &b)).id;
    let waits = position(a, second, 1);
    assert!(waits.queued.unwrap().because.contains("no more machines at a time than 1"));
    let report = a.moves(&MigrateRequest { no_wait: true, ..request("web", &b) });
    assert_eq!(report.outcome, Ending::Refused);
    assert!(report.reason.contains("--max-incoming"), "{}", report.reason);
    assert_eq!(report.codes, ["no-room-now"]);

    a.cancel(first);
    let report = a.follow(second, Migration::has_ended).report.unwrap();
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert!(there.get("mail").is_some());
}

#[test]
fn a_daemon_that_is_started_again_finds_those_that_waited_at_home() {
    let (directory, here, (b, _)) = two_hosts();
    three_machines(&here);
    let (a, machines) = here;
    let first = a.migrate(&slow("db", &b)).id;
    a.follow(first, |migration| migration.progress.is_some());
    position(&a, a.migrate(&request("web", &b)).id, 1);
    drop(a);
    let a = Site::start(config("a", directory.path()), Arc::clone(&machines));
    let running = |name: &str| (name.to_owned(), MachineState::Running);
    assert_eq!(a.machines(), [running("db"), running("mail"), running("web")]);
}

#[test]
fn a_restart_has_one_owner_as_every_move_has() {
    let (_directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    let restart = MigrateRequest { mode: Some(Mode::Restart), verify: false, ..request("web", &b) };
    let report = a.moves(&restart);
    assert_eq!(report.outcome, Ending::Refused, "two seconds are too short for it");
    assert!(
        report.reason.contains("what the machine holds in memory is lost"),
        "{}",
        report.reason
    );
    let minute = Duration::from_secs(60);
    let report = a.moves(&MigrateRequest { downtime: minute, within: minute, ..restart });
    assert_eq!((report.outcome, report.mode), (Ending::Completed, Mode::Restart));
    assert_eq!(a.machines(), []);
    assert_eq!(here.get("web").unwrap().status(), Status::Gone);
    assert_eq!(there.get("web").unwrap().status(), Status::Running);
    assert_eq!(b.machines(), [("web".to_owned(), MachineState::Running)]);
}
