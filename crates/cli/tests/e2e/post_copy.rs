//! Machines that run before their pages have come.

use std::time::{Duration, Instant};

use punctual_guest_protocol::{Options, Workload};
use serde_json::Value;

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::{Begun, DONE};
use crate::watched::Watched;

/// What moves a machine before its pages.
const POST_COPY: [&str; 6] = ["--mode", "post-copy", "--look", "0", "--downtime", "300ms"];

fn busy() -> Options {
    Options { workload: Workload::HotCold, rate: 20_000, set: 32 << 20, ..Options::default() }
}

fn moved(stage: &Stage, from: &str, to: &str, more: &[&str]) -> Value {
    let words = ["migrate", "web", "--to", to, "--json", "--verify"];
    let report = stage.run(from, &[&words[..], more].concat()).expect(DONE).json();
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["ram_digest_equal"], true, "{report}");
    stage.expect_at("web", to);
    stage.expect_bare(from);
    report
}

#[test]
fn a_machine_runs_before_its_pages_are_there() {
    let Some(stage) = Stage::set("post-copy", GIGABIT) else { return };
    let mut guest = stage.start(&guest(busy()));
    let report = moved(&stage, "a", "b", &POST_COPY);
    assert_eq!(report["mode"], "post-copy", "{report}");
    let rest = &report["measured"]["post_copy"];
    println!("{}", report["measured"]);
    assert!(rest["missing"].as_u64().unwrap() > 1000, "{report}");
    assert!(rest["faults"].as_u64().unwrap() > 0, "{report}");
    guest.expect_well();
    // And back, by the way that ends a pre-copy which comes to nothing.
    let hybrid = ["--mode", "hybrid", "--look", "0", "--downtime", "200ms"];
    let report = moved(&stage, "b", "a", &hybrid);
    println!("{}", report["measured"]);
    assert_eq!(report["mode"], "hybrid", "{report}");
    guest.expect_well();
    drop(guest);
    stage.strike();
}

/// Begins a post-copy over a slow link, and returns when the machine runs at `b` and lacks pages.
fn begin(stage: &Stage) -> Begun {
    let words = ["migrate", "web", "--to", "b", "--json"];
    let migration = stage.begin("a", &[&words[..], &POST_COPY].concat());
    stage.wait_for_state("b", "web", "depending");
    migration
}

fn wait_until_whole(stage: &Stage, guest: &mut Watched) {
    stage.wait_for_state("b", "web", "running");
    stage.expect_bare("a");
    stage.expect_at("web", "b");
    guest.expect_well();
}

const SLOW: u64 = 60;

#[test]
fn a_lost_link_is_waited_for_and_nothing_is_lost() {
    let Some(stage) = Stage::set("post-cut", SLOW) else { return };
    let mut guest = stage.start(&guest(busy()));
    let migration = begin(&stage);
    stage.set_cable("down");
    std::thread::sleep(Duration::from_secs(2));
    let state = stage.run("b", &["show", "web", "--json"]).expect(DONE).json();
    assert_eq!(state["state"], "depending", "{state}");
    stage.set_cable("up");
    stage.run("a", &["recover", "web"]);
    let told = migration.end();
    let report = told.expect(DONE).json();
    println!("{}", report["measured"]);
    assert_eq!(report["outcome"], "completed", "{report}");
    wait_until_whole(&stage, &mut guest);
    drop(guest);
    stage.strike();
}

#[test]
fn daemons_that_die_meanwhile_go_on_when_they_are_back() {
    let Some(mut stage) = Stage::set("post-crash", SLOW) else { return };
    for victims in [&["a"][..], &["b"], &["a", "b"]] {
        let mut guest = stage.start(&guest(busy()));
        let migration = begin(&stage);
        victims.iter().for_each(|host| stage.kill_daemon(host));
        let begun = Instant::now();
        victims.iter().for_each(|host| stage.start_daemon(host));
        let _ = migration.end();
        wait_until_whole(&stage, &mut guest);
        println!("{victims:?} died: whole {:.1?} later", begun.elapsed());
        stage.run("b", &["stop", "web"]).expect(DONE);
        drop(guest);
    }
    stage.strike();
}
