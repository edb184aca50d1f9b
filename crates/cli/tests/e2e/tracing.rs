//! Page writes recorded from a real guest, and shown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use punctual_guest_protocol::{Options, Workload};
use punctual_trace::Trace;
use punctual_units::Pages;

use crate::stage::{GIGABIT, Stage, guest, until};
use crate::told::{DONE, USAGE};

/// Single bytes a second, anywhere in so many pages: of 4096 pages, 2000 writes find
/// 4096·(1 − e^(−2000/4096)) ≈ 1583 in a second.
const RATE: u64 = 2000;
const SET: u64 = 16 << 20;

/// What the guest writes besides: its kernel, its beacon, its network.
const BESIDES: f64 = 600.0;

fn expect_what_it_writes(trace: &Trace) {
    let second = trace.working_set(Duration::from_secs(1)).unwrap();
    let pages = Pages::new(SET / 4096).get() as f64;
    let written = RATE as f64 * second.length.as_secs_f64();
    let expected = pages * (1.0 - (-written / pages).exp());
    // Under TCG, on a computer with other work, a guest may be slower than it was asked to be.
    let seen = second.mean;
    assert!((expected * 0.5..expected * 1.2 + BESIDES).contains(&seen), "{second:?} {expected}");
    let rate = trace.write_rate();
    assert!((RATE as f64 * 0.4..RATE as f64 * 1.2 + 20.0 * BESIDES).contains(&rate), "{rate}");
    // Some gaps are short, whatever the others are.
    let soon = trace.working_set_curve()[0];
    assert!(soon.length < Duration::from_millis(100) && soon.mean < second.mean, "{soon:?}");
}

#[test]
fn what_a_guest_writes_is_recorded_and_it_moves_afterwards() {
    let Some(stage) = Stage::set("trace", GIGABIT) else { return };
    let options = Options {
        workload: Workload::Uniform,
        set: SET,
        rate: RATE,
        fill: 16 << 20,
        ..Options::default()
    };
    let mut guest = stage.start(&guest(options));
    let file = stage.scratch().join("web.trace");
    let path = file.to_str().unwrap();

    let told =
        stage.run("a", &["trace", "web", "--for", "4s", "--cost", "5%", "-o", path, "--json"]);
    let shown = told.expect(DONE).json();
    guest.expect_well();
    stage.expect_at("web", "a");
    let trace = Trace::decode(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(shown["scans"], trace.scans().len());
    assert!(trace.duration().as_secs_f64() >= 4.0);
    assert!(trace.about().guest_cost.get() < 0.1, "{}", trace.about().guest_cost);
    expect_what_it_writes(&trace);

    // A guest that is traced is not moved, and one whose recording is ended early is.
    let recording = stage.begin("a", &["trace", "web", "--for", "1h", "--cost", "5%", "-o", path]);
    until("it is traced", || {
        stage.run("a", &["show", "web", "--json"]).expect(DONE).json()["state"] == "traced"
    });
    let words = ["recording of its page writes is under way", "punctual cancel web"];
    stage.run("a", &["migrate", "web", "--to", "b"]).expect_refusal(&words);
    stage.run("a", &["trace", "web"]).expect_refusal(&words);
    recording.interrupt();
    let told = recording.end().expect(DONE);
    assert!(told.out.contains("working set"), "{}", told.out);
    assert!(!Trace::decode(&fs::read(&file).unwrap()).unwrap().scans().is_empty());
    guest.expect_well();
    stage.migrate("web", "a", "b", &["--downtime", "500ms"]);
    guest.expect_well();

    shows_and_refuses(&stage, &file);
    drop(guest);
    stage.strike();
}

/// A trace is shown, also as a page, and what is none is refused with a reason.
fn shows_and_refuses(stage: &Stage, file: &Path) {
    let page = stage.scratch().join("web.html");
    let words = ["trace", "show", file.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let told = stage.run("a", &words).expect(DONE);
    assert!(told.out.contains("found written in") && told.out.contains("web.html"), "{}", told.out);
    assert!(fs::read_to_string(&page).unwrap().contains("Which pages were written when"));

    let whole = fs::read(file).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let mut other = whole.clone();
    other[8] = 9;
    for (bytes, reason) in [
        (&whole[..whole.len() - 3], "3 bytes too early"),
        (&changed, "damaged at byte"),
        (&other, "of version 9"),
        (b"#!/bin/sh\n", "no trace of Punctual"),
    ] {
        let wrong = stage.scratch().join("wrong.trace");
        fs::write(&wrong, bytes).unwrap();
        let told = stage.run("a", &["trace", "show", wrong.to_str().unwrap()]).expect(USAGE);
        assert!(told.err.contains(reason) && told.err.contains("wrong.trace"), "{}", told.err);
    }
    stage.run("a", &["trace", "show", "/nonexistent"]).expect(USAGE);
}
