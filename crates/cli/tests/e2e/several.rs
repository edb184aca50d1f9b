//! Several moves at once, from a host and to it; and those that wait for their turn.

use std::io::{BufRead, BufReader};

use punctual_guest_protocol::Options;
use punctual_lab::scene::GuestSpec;
use punctual_units::Bytes;
use serde_json::Value;

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::{Begun, DONE};

/// A link on which nothing ends before all has been looked at that waits for it.
const SLOW: u64 = 50;

/// A small guest, one of several.
fn one_of(name: &str, index: usize) -> GuestSpec {
    // Of which nothing packs, and whose client leaves room on the link.
    let options = Options { set: 4 << 20, fill: 32 << 20, stream: 50_000, ..Options::default() };
    let spec = guest(options);
    GuestSpec { name: name.to_owned(), index, memory: Bytes::mib(128), ..spec }
}

fn begin(stage: &Stage, machine: &str, from: &str, to: &str) -> Begun {
    let words = ["migrate", machine, "--to", to, "--look", "0", "--verify", "--json"];
    stage.begin(from, &[&words[..], &["--downtime", "2s", "--within", "5min"]].concat())
}

#[track_caller]
fn expect_moved(stage: &Stage, machine: &str, moved: Begun, to: &str) {
    let report = moved.end().expect(DONE).json();
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["ram_digest_equal"], true, "{report}");
    stage.expect_at(machine, to);
}

/// How a machine waits, as programs see it, once that is as wanted.
fn queued(stage: &Stage, from: &str, machine: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut watching = stage.begin(from, &["watch", "--json"]);
    let lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let seen = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let of_machine = seen.filter(|migration| migration["machine"] == machine);
    let mut queued = of_machine.map(|mut migration| migration["queued"].take());
    let found = queued.find(|queued| queued.is_object() && wanted(queued)).unwrap();
    watching.interrupt();
    watching.end();
    found
}

#[test]
fn two_machines_go_at_a_time_and_the_third_waits_for_its_turn() {
    let Some(mut stage) = Stage::set("several", SLOW) else { return };
    let two_at_a_time = "--max-outgoing 2 --max-per-link 2 --max-incoming 2";
    stage.restart_with("a", &format!("set -- \"$@\" {two_at_a_time}"));
    stage.restart_with("b", "set -- \"$@\" --max-outgoing 3 --max-per-link 3");
    let names = ["web", "db", "mail"];
    let mut guests: Vec<_> =
        (0..3).map(|index| stage.start(&one_of(names[index], index))).collect();
    guests.push(stage.start_on("b", &one_of("cron", 3)));

    // As many leave as may, while another comes the other way.
    let first = ["web", "db"].map(|name| begin(&stage, name, "a", "b"));
    let other_way = begin(&stage, "cron", "b", "a");
    stage.wait_for_copying("a", "web");
    stage.wait_for_copying("a", "db");
    let impatient = ["migrate", "mail", "--to", "b", "--look", "0", "--no-wait"];
    let refusal = ["machine `mail`: 2 machines leave host `a` already", "at most 2", "--no-wait"];
    stage.run("a", &impatient).expect_refusal(&refusal);
    stage.expect_at("mail", "a");
    let third = begin(&stage, "mail", "a", "b");
    // Those before it have to know first how long they will take.
    let foretold = |queued: &Value| queued["starts_in_s"].as_f64().is_some_and(|time| time > 1.0);
    let waits = queued(&stage, "a", "mail", foretold);
    assert_eq!((&waits["position"], &waits["because"]), (&1.into(), &"others leave first".into()));
    let listed = stage.run("a", &["list"]).expect(DONE).out;
    assert!(listed.contains("mail → b: queued as number 1, starts in some"), "{listed}");
    stage.set_link(GIGABIT);
    for (name, moved) in ["web", "db"].into_iter().zip(first) {
        expect_moved(&stage, name, moved, "b");
    }
    expect_moved(&stage, "cron", other_way, "a");
    expect_moved(&stage, "mail", third, "b");
    guests.iter_mut().for_each(|guest| guest.expect_well());

    // More may leave than there is room for.
    stage.set_link(SLOW);
    let first = ["web", "db"].map(|name| begin(&stage, name, "b", "a"));
    stage.wait_for_copying("b", "web");
    stage.wait_for_copying("b", "db");
    let impatient = ["migrate", "mail", "--to", "a", "--look", "0", "--no-wait"];
    let refusal = ["host `a` takes no more machines at a time than 2", "--max-incoming"];
    stage.run("b", &impatient).expect_refusal(&refusal);
    let third = begin(&stage, "mail", "b", "a");
    let room = "takes no more machines at a time than 2";
    let waits = queued(&stage, "b", "mail", |queued| {
        queued["because"].as_str().is_some_and(|because| because.contains(room))
    });
    assert_eq!((&waits["position"], &waits["starts_in_s"]), (&1.into(), &Value::Null));
    stage.set_link(GIGABIT);
    for (name, moved) in ["web", "db"].into_iter().zip(first) {
        expect_moved(&stage, name, moved, "a");
    }
    expect_moved(&stage, "mail", third, "a");
    guests.iter_mut().for_each(|guest| guest.expect_well());
    stage.expect_bare("b");
    drop(guests);
    stage.strike();
}
