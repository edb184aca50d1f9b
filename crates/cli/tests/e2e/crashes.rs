//! What people are told when something dies before the handover, and when. What must hold of the
//! machine then is seen by `faults`.

use std::time::{Duration, Instant};

use punctual_guest_protocol::{Options, Workload};

use crate::stage::{Stage, guest, until};
use crate::told::{DONE, FAILED};
use crate::watched::Watched;

/// A link on which copying takes some seconds.
const SLOW: u64 = 80;
/// By when a network that carries nothing is found out (`punctual_link::Timeouts::lost`), and as
/// long again for what then has to be done.
const FOUND_OUT: Duration = Duration::from_secs(2 * 10);

/// A guest on host `a` whose move takes some seconds.
fn begin(test: &str) -> Option<(Stage, Watched)> {
    let stage = Stage::set(test, SLOW)?;
    let options =
        Options { workload: Workload::Uniform, rate: 500, fill: 16 << 20, ..Options::default() };
    let guest = stage.start(&guest(Options { set: 32 << 20, ..options }));
    Some((stage, guest))
}

const MIGRATE: [&str; 8] = ["migrate", "web", "--to", "b", "--within", "60s", "--look", "0"];

/// That all is well at the source, and that a second attempt succeeds.
fn end(stage: Stage, mut guest: Watched) {
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();
    stage.migrate("web", "a", "b", &["--downtime", "1s"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn the_daemon_of_the_source() {
    let Some((mut stage, mut guest)) = begin("source-dies") else { return };
    let migration = stage.begin("a", &MIGRATE);
    stage.wait_for_copying("a", "web");
    stage.kill_daemon("a");
    let told = migration.end().expect(FAILED);
    assert!(told.err.contains("hint:"), "{}", told.err);
    guest.expect_well();
    stage.start_daemon("a");
    end(stage, guest);
}

#[test]
fn the_network_between_the_hosts() {
    let Some((stage, mut guest)) = begin("cut") else { return };
    let migration = stage.begin("a", &[&MIGRATE[..], &["--json"]].concat());
    stage.wait_for_copying("a", "web");
    stage.set_cable("down");
    let cut = Instant::now();
    let told = migration.end().expect(FAILED);
    let report = told.json();
    assert_eq!((&report["outcome"], &report["owner"]), (&"failed".into(), &"source".into()));
    assert!(cut.elapsed() < FOUND_OUT, "{:?}: {}", cut.elapsed(), told.err);
    stage.expect_at("web", "a");
    guest.expect_well();
    stage.set_cable("up");
    let listed = || stage.run("b", &["list", "--json"]).expect(DONE).json();
    until("the destination gives up too", || listed().as_array().unwrap().is_empty());
    end(stage, guest);
}
