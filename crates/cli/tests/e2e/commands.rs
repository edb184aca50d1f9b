//! The command line: what is printed, what programs can rely on, and how it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Command;

use punctual_guest_protocol::Options;
use serde_json::Value;

use crate::stage::{GIGABIT, PROGRAM, Stage, guest};
use crate::told::{DONE, FAILED, Told, USAGE};

#[test]
fn a_move_as_programs_see_it() {
    let Some(stage) = Stage::set("json", GIGABIT) else { return };
    let mut guest = stage.start(&guest(Options::default()));
    let mut watching = stage.begin("a", &["watch", "--json"]);
    let lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();

    let dry = ["migrate", "web", "--to", "b", "--dry-run"];
    let told = stage.run("a", &dry).expect(DONE);
    let ram = stage.host("b").ram_dir.join("web-ram0.ram").display().to_string();
    assert!(told.out.contains("-incoming defer"), "{}", told.out);
    assert!(told.out.contains(&ram), "{}", told.out);
    let plan = stage.run("a", &[&dry[..], &["--json"]].concat()).expect(DONE).json();
    let words = plan["command_line"].as_array().unwrap();
    assert!(words.iter().any(|word| word == "-incoming"), "{plan}");
    stage.expect_nothing("b");
    stage.expect_at("web", "a");

    let report = stage.migrate("web", "a", "b", &["--downtime", "300ms", "--within", "30s"]);
    expect_promised_fields(&report);
    assert_eq!(report["promised"]["downtime_ms"], 300.0);
    assert_eq!(report["promised"]["total_s"], 30.0);
    guest.expect_well();

    let migrations = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let ended = |migration: &Value| {
        migration["report"].is_object() && migration["report"]["measured"]["rounds"] != 0
    };
    let mut seen = migrations.skip_while(|migration| !ended(migration));
    assert_eq!(seen.next().unwrap()["report"], report);
    watching.interrupt();
    watching.end();
    drop(guest);
    stage.strike();
}

/// Neither more nor less than what programs are promised.
fn expect_promised_fields(report: &Value) {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let top: BTreeSet<String> = set(&[
        "machine",
        "from",
        "to",
        "engine",
        "mode",
        "policy",
        "promised",
        "predicted",
        "measured",
        "ram_digest_equal",
        "outcome",
        "promise",
        "owner",
        "reason",
        "samples",
    ]);
    assert_eq!(names(report), top);
    assert_eq!(names(&report["promised"]), set(&["downtime_ms", "total_s"]));
    let measured = &report["measured"];
    let figures = set(&[
        "downtime_ms",
        "total_s",
        "preparing_s",
        "planned_s",
        "wire_bytes",
        "pages_sent",
        "rounds",
        "phases",
    ]);
    assert_eq!(names(measured), figures);
    let phases = set(&[
        "stop_ms",
        "final_copy_ms",
        "device_state_ms",
        "verify_ms",
        "commit_ms",
        "resume_ms",
    ]);
    assert_eq!(names(&measured["phases"]), phases);
    let parts = measured["phases"].as_object().unwrap().values();
    let sum: f64 = parts.map(|part| part.as_f64().unwrap()).sum();
    let downtime = measured["downtime_ms"].as_f64().unwrap();
    assert!((sum - downtime).abs() < 0.001, "the parts add up to {sum}, not {downtime}");
}

#[test]
fn machines_listed_shown_and_stopped() {
    let Some(stage) = Stage::set("list", GIGABIT) else { return };
    let spec = stage.scratch().join("spec.toml");
    let run = |text: &str| -> Told {
        fs::write(&spec, text).unwrap();
        stage.run("a", &["run", spec.to_str().unwrap()])
    };
    for (text, words) in [
        ("name = 'web'\nmemory = '64MiB'\nmemroy = 3\n", &["line 3", "memroy"][..]),
        ("name = 'web'\nmemory = 64MiB\n", &["line 2"]),
        ("name = 'we b'\nmemory = '64MiB'\n", &["`name`", "write 1 to 64 letters"]),
        ("name = 'web'\nmemory = '10 bananas'\n", &["line 2", "bananas"]),
    ] {
        let told = run(text).expect(USAGE);
        for word in words {
            assert!(told.err.contains(word), "`{word}` is not in: {}", told.err);
        }
    }
    let told = stage.run("a", &["run", "/no/such/spec.toml"]).expect(USAGE);
    assert!(told.err.contains("/no/such/spec.toml"), "{}", told.err);
    let told = run("name = 'web'\nmemory = '64MiB'\nbinary = '/no/such/qemu'\n").expect(FAILED);
    assert!(told.err.contains("/no/such/qemu"), "{}", told.err);
    stage.expect_bare("a");

    for command in [&["show", "web"][..], &["stop", "web"], &["cancel", "web"]] {
        stage.run("a", command).expect_refusal(&["no machine called `web`", "punctual list"]);
    }
    stage.run("a", &["migrate", "web", "--to", "b"]).expect_refusal(&["no machine called `web`"]);

    drop(stage.start(&guest(Options::default())));
    let told = stage.run("a", &["list"]).expect(DONE);
    assert!(told.out.contains("web") && told.out.contains("running"), "{}", told.out);
    let listed = stage.run("a", &["list", "--json"]).expect(DONE).json();
    assert_eq!((&listed[0]["name"], &listed[0]["memory"]), (&"web".into(), &(256 << 20).into()));
    let told = stage.run("a", &["show", "web"]).expect(DONE);
    for word in ["migratable", "yes", "web-ram0.ram", "ram0: 256 MiB"] {
        assert!(told.out.contains(word), "`{word}` is not in: {}", told.out);
    }
    stage.run("a", &["migrate", "web", "--to", "nowhere"]).expect_unknown_host();
    stage.run("a", &["stop", "web"]).expect(DONE);
    stage.expect_bare("a");
    stage.strike();
}

impl Told {
    #[track_caller]
    fn expect_unknown_host(self) {
        let told = self.expect(USAGE);
        assert!(told.err.contains("host `nowhere` is not known"), "{}", told.err);
        assert!(told.err.contains("hint: write ADDRESS:PORT"), "{}", told.err);
    }
}

#[test]
fn daemons_that_cannot_start_or_be_found() {
    let Some(stage) = Stage::set("daemon", GIGABIT) else { return };
    let place = |name: &str| stage.scratch().join(name).display().to_string();
    let listen = format!("{}:7070", stage.host("a").address);
    let (state, runtime, ram) = (place("state"), place("runtime"), place("ram"));
    let mut words = vec!["host", "--name", "c", "--listen", &listen];
    words.extend(["--state-dir", &state, "--runtime-dir", &runtime, "--ram-dir", &ram]);
    let socket = place("c.sock");
    words.extend(["--socket", &socket]);
    let told = stage.run("a", &words).expect(FAILED);
    assert!(told.err.contains(&listen), "{}", told.err);
    assert!(!fs::exists(&socket).unwrap_or(true), "its socket is left");

    let told = stage.run("a", &["list", "--socket", &socket]).expect(FAILED);
    assert!(told.err.contains("start it with `punctual host`"), "{}", told.err);
    let usage = Command::new(PROGRAM).args(["migrate", "web"]).output().unwrap();
    let told = Told::from(usage).expect(USAGE);
    assert!(told.err.contains("--to"), "{}", told.err);
    stage.strike();
}
