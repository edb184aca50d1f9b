//! A machine that is shut down on one host and started on the other.

use punctual_guest_protocol::Options;
use serde_json::Value;

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::{DONE, FAILED, REFUSED};

/// That the machine is another process there, which has just been started.
fn boots(stage: &Stage, host: &str) {
    stage.expect_at("web", host);
    let details = stage.run(host, &["show", "web", "--json"]).expect(DONE).json();
    let words = details["command_line"].as_array().unwrap();
    assert!(words.iter().all(|word| word != "-incoming" && word != "-S"), "{details}");
}

#[test]
fn a_machine_is_restarted_at_the_other_host_and_runs_on_where_that_comes_to_nothing() {
    let Some(stage) = Stage::set("restart", GIGABIT) else { return };
    let mut guest = stage.start(&guest(Options::default()));
    let restart = ["migrate", "web", "--to", "b", "--mode", "restart", "--json"];
    let with = |more: &[&'static str]| [&restart[..], more].concat();

    // What it takes is known to be longer than what is asked for where nobody says.
    let refused = stage.run("a", &with(&[])).expect(REFUSED);
    assert!(refused.err.contains("what the machine holds in memory is lost"), "{}", refused.err);

    // The test guest does not listen to the power button: it runs on, its memory as it was.
    let failed = stage.run("a", &with(&["--downtime", "60s", "--within", "120s"])).expect(FAILED);
    assert!(failed.err.contains("did not shut down within 25.0 s"), "{}", failed.err);
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();

    // Who insists has it cut off.
    let asked = ["--downtime", "1s", "--within", "60s", "--force"];
    let report: Value = stage.run("a", &with(&asked)).expect(DONE).json();
    assert_eq!((&report["outcome"], &report["mode"]), (&"completed".into(), &"restart".into()));
    assert_eq!(report["promise"], "broken", "{report}");
    stage.expect_bare("a");
    boots(&stage, "b");

    // It is a machine like every other there, and has a monitor and memory that can be moved.
    drop(guest);
    stage
        .run("b", &["migrate", "web", "--to", "a", "--look", "0", "--downtime", "1s"])
        .expect(DONE);
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    stage.run("a", &["stop", "web"]).expect(DONE);
    stage.strike();
}
