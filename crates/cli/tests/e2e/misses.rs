//! Promises that turn out to be unreachable while the machine is moved, and what is done then.

use std::fs;
use std::path::Path;

use punctual_guest_protocol::{Options, Workload};
use serde_json::Value;

use crate::stage::{Stage, guest};
use crate::told::{Begun, CANCELLED, DONE, FAILED};
use crate::watched::Watched;

/// A link that carries less than the guest writes ...
const SLOW: u64 = 100;
/// ... once it writes: all of its set, again and again.
const RATE: u64 = 200_000;
const SET: u64 = 48 << 20;

/// A move whose promise cannot be kept, as is seen once pages are copied.
struct Move<'a> {
    stage: &'a Stage,
    from: &'a str,
    to: &'a str,
}

impl Move<'_> {
    fn begin(&self, guest: &mut Watched, on_miss: &str, within: &str) -> Begun {
        let Self { stage, from, to } = self;
        guest.set(Workload::Sweep, RATE);
        let words = ["migrate", "web", "--to", to, "--on-miss", on_miss, "--within", within];
        // Nobody looks beforehand, who would see that it cannot be kept.
        let asked = ["--look", "0", "--downtime", "150ms", "--verify", "--json"];
        stage.begin(from, &[&words[..], &asked].concat())
    }

    /// That it came there all the same, what was `did`.
    #[track_caller]
    fn expect_moved(&self, guest: &mut Watched, begun: Begun, did: &str) -> Value {
        let report = begun.end().expect(DONE).json();
        println!("{}", report["measured"]);
        assert_eq!(report["outcome"], "completed", "{report}");
        assert_eq!(report["ram_digest_equal"], true, "{report}");
        assert_eq!(report["measured"]["missed"]["did"], did, "{report}");
        self.stage.expect_at("web", self.to);
        self.stage.expect_bare(self.from);
        guest.expect_well();
        report
    }

    #[track_caller]
    fn expect_stayed(&self, guest: &mut Watched) {
        self.stage.expect_at("web", self.from);
        self.stage.expect_bare(self.to);
        guest.expect_well();
        assert!(!is_slow(self.stage, self.from), "it is slow still");
    }
}

/// Whether a thread of the machine is in a group that slows it down.
fn is_slow(stage: &Stage, host: &str) -> bool {
    let details = stage.run(host, &["show", "web", "--json"]).expect(DONE).json();
    let tasks = Path::new("/proc").join(details["pid"].to_string()).join("task");
    let slow = |task: &Path| {
        fs::read_to_string(task.join("cgroup")).is_ok_and(|groups| groups.contains("-slowed-"))
    };
    fs::read_dir(tasks).unwrap().any(|task| slow(&task.unwrap().path()))
}

fn options() -> Options {
    Options { set: SET, fill: 4 << 20, ..Options::default() }
}

#[test]
fn it_is_given_up_or_given_time_or_its_pages_follow() {
    let Some(stage) = Stage::set("misses", SLOW) else { return };
    let mut guest = stage.start(&guest(options()));
    let there = Move { stage: &stage, from: "a", to: "b" };
    let report = there.begin(&mut guest, "cancel", "12s").end().expect(FAILED).json();
    assert_eq!((&report["outcome"], &report["owner"]), (&"failed".into(), &"source".into()));
    assert_eq!(report["measured"]["downtime_ms"], Value::Null, "it was stopped: {report}");
    there.expect_stayed(&mut guest);

    let begun = there.begin(&mut guest, "extend", "12s");
    let report = there.expect_moved(&mut guest, begun, "extend");
    assert_eq!((&report["mode"], &report["promise"]), (&"pre-copy".into(), &"broken".into()));
    assert!(report["measured"]["total_s"].as_f64().unwrap() > 12.0, "{report}");

    let back = Move { stage: &stage, from: "b", to: "a" };
    let begun = back.begin(&mut guest, "post-copy", "12s");
    let report = back.expect_moved(&mut guest, begun, "post-copy");
    assert!(report["measured"]["post_copy"]["missing"].as_u64().unwrap() > 0, "{report}");
    drop(guest);
    stage.strike();
}

#[test]
fn the_guest_is_slowed_down_and_runs_freely_again() {
    let Some(mut stage) = Stage::set("throttle", SLOW) else { return };
    let mut guest = stage.start(&guest(options()));
    let slow = |begun: &Stage| {
        begun.wait_until("a", "web", "it is slowed down", |look| look.throttled.is_some());
        assert!(is_slow(begun, "a"));
    };
    let there = Move { stage: &stage, from: "a", to: "b" };
    let begun = there.begin(&mut guest, "throttle", "30s");
    slow(&stage);
    stage.run("a", &["cancel", "web"]).expect(DONE);
    let report = begun.end().expect(CANCELLED).json();
    assert!(report["measured"]["throttled"]["share"].as_f64().unwrap() < 1.0, "{report}");
    there.expect_stayed(&mut guest);

    // What a daemon leaves that is killed the next one puts in order.
    let begun = there.begin(&mut guest, "throttle", "30s");
    slow(&stage);
    stage.kill_daemon("a");
    begun.end().expect(FAILED);
    stage.start_daemon("a");
    let there = Move { stage: &stage, from: "a", to: "b" };
    there.expect_stayed(&mut guest);

    let begun = there.begin(&mut guest, "throttle", "30s");
    let report = there.expect_moved(&mut guest, begun, "throttle");
    let throttled = &report["measured"]["throttled"];
    assert!(throttled["share"].as_f64().unwrap() < 1.0, "{report}");
    assert!(throttled["for_s"].as_f64().unwrap() > 0.0, "{report}");
    assert!(!is_slow(&stage, "b"));
    drop(guest);
    stage.strike();
}
