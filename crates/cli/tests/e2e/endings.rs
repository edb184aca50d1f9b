//! Moves that end before the handover: the machine runs on where it was, and can be moved later.

use std::path::Path;

use punctual_guest_protocol::{Options, Workload};

use crate::stage::{Stage, guest};
use crate::told::{CANCELLED, DONE, FAILED, REFUSED};

/// A link on which copying takes some seconds.
const SLOW: u64 = 200;

#[test]
fn cancelled_while_pages_are_copied() {
    let Some(stage) = Stage::set("cancel", SLOW) else { return };
    let mut guest = stage.start(&guest(Options {
        workload: Workload::Uniform,
        rate: 2_000,
        fill: 32 << 20,
        ..Options::default()
    }));
    stage.run("a", &["cancel", "web"]).expect_refusal(&["no migration is under way"]);

    let migration = stage.begin("a", &["migrate", "web", "--to", "b", "--look", "0", "--json"]);
    stage.wait_for_copying("a", "web");
    stage.run("a", &["migrate", "web", "--to", "b"]).expect_refusal(&["migration", "under way"]);
    let cancelled = stage.run("a", &["cancel", "web", "--json"]).expect(DONE).json();
    let report = migration.end().expect(CANCELLED).json();
    assert_eq!(report, cancelled);
    assert_eq!(report["outcome"], "cancelled");
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();

    let migration = stage.begin("a", &["migrate", "web", "--to", "b", "--look", "0"]);
    stage.wait_for_copying("a", "web");
    migration.interrupt();
    let told = migration.end().expect(CANCELLED);
    assert!(told.out.contains("stays on `a`: cancelled"), "{}", told.out);
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();

    guest.set(Workload::Idle, 0);
    stage.migrate("web", "a", "b", &["--downtime", "1s"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn given_up_where_time_runs_out() {
    let Some(stage) = Stage::set("give-up", SLOW) else { return };
    let mut guest = stage.start(&guest(Options {
        workload: Workload::Sweep,
        rate: 20_000,
        fill: 64 << 20,
        ..Options::default()
    }));
    let blind = ["migrate", "web", "--to", "b", "--look", "0"];
    let instant = [&blind[..], &["--downtime", "1us"]].concat();
    stage.run("a", &instant).expect_refusal(&["resuming alone take", "ask for at least"]);

    // The memory alone takes longer on this link.
    let short = [&blind[..], &["--downtime", "1s", "--within", "3s", "--json"]].concat();
    let told = stage.run("a", &short).expect(FAILED);
    let report = told.json();
    assert_eq!((&report["outcome"], &report["owner"]), (&"failed".into(), &"source".into()));
    assert!(report["measured"]["downtime_ms"].is_null(), "it was stopped: {report}");
    assert!(told.err.contains("allow more time"), "{}", told.err);
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();

    stage.migrate("web", "a", "b", &["--downtime", "2s", "--within", "60s"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn refused_where_a_link_is_slower_than_asked() {
    let Some(stage) = Stage::set("slower", 1000) else { return };
    let mut guest = stage.start(&guest(Options::default()));
    // More than a receiver that was late can take for the rate of what has piled up before it.
    let fast = ["migrate", "web", "--to", "b", "--bandwidth", "100Gbit", "--json"];
    let told = stage.run("a", &fast).expect(REFUSED);
    assert_eq!(told.json()["outcome"], "refused");
    assert!(told.err.contains("100 Gbit/s"), "{}", told.err);
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    assert!(!Path::new(&stage.host("b").ram_dir).join("web-ram0.ram").exists());
    guest.expect_well();
    // Slower than the link is kept to.
    stage.migrate("web", "a", "b", &["--bandwidth", "400Mbit", "--downtime", "300ms"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}
