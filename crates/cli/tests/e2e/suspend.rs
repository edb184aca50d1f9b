//! Machines in files: a guest stops on one host and goes on on another, or twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use punctual_guest_protocol::options::ReadMode;
use punctual_guest_protocol::{Options, Workload};
use punctual_images::write_disk;
use punctual_lab::scene::GuestDisk;
use serde_json::Value;

use crate::stage::{GIGABIT, Stage, guest, until};
use crate::told::{DONE, REFUSED};
use crate::watched::Watched;

const DISK: u64 = 16 << 20;
const SEED: u64 = 29;

/// What a guest writes all the time, while it is being saved too.
fn busy() -> Options {
    Options { workload: Workload::Uniform, rate: 2000, fill: 16 << 20, ..Options::default() }
}

/// Where both hosts see files.
fn file(stage: &Stage) -> PathBuf {
    stage.scratch().join("web.snap")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn suspend(stage: &Stage, host: &str, file: &Path, more: &[&str]) -> Value {
    let words = ["suspend", "web", text(file), "--json"];
    stage.run(host, &[&words[..], more].concat()).expect(DONE).json()
}

fn resume(stage: &Stage, host: &str, file: &Path, more: &[&str]) -> Value {
    stage.run(host, &[&["resume", text(file), "--json"], more].concat()).expect(DONE).json()
}

#[test]
fn a_guest_with_a_disk_goes_on_at_another_host_and_back() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("disk.raw");
    write_disk(&path, DISK, SEED).unwrap();
    let Some(stage) = Stage::set("suspend", GIGABIT) else { return };
    let options = Options {
        workload: Workload::Reader,
        rate: 20_000,
        seed: SEED,
        read: ReadMode::Both,
        ..Options::default()
    };
    let mut spec = guest(options);
    spec.disk =
        Some(GuestDisk { path: path.clone(), cache: "writeback".into(), aio: "threads".into() });
    let mut guest = stage.start(&spec);
    let file = file(&stage);
    for (from, to) in [("a", "b"), ("b", "a")] {
        let saved = suspend(&stage, from, &file, &[]);
        stage.expect_nothing(from);
        assert_eq!(saved["size"], fs::metadata(&file).unwrap().len());
        let restored = resume(&stage, to, &file, &[]);
        assert_eq!(restored["ram_digest"], saved["ram_digest"]);
        stage.expect_at("web", to);
        guest.expect_well();
        let again = stage.run(from, &["resume", text(&file)]);
        again.expect_refusal(&["web.snap", "was resumed before"]);
    }
    // The disk is written while the guest is in its file.
    suspend(&stage, "a", &file, &[]);
    write_disk(&path, DISK, SEED).unwrap();
    let refused = stage.run("b", &["resume", text(&file)]);
    refused.expect_refusal(&["disk.raw", "was written after", "--force"]);
    let forced = stage.run("b", &["resume", text(&file), "--force"]).expect(DONE);
    assert!(forced.err.contains("disk.raw"), "{}", forced.err);
    guest.expect_well();
    let before = guest.status().disk_bytes_checked;
    until("the disk is read once more", || guest.status().disk_bytes_checked > before + DISK);
    drop(guest);
    stage.strike();
}

#[test]
fn copies_run_beside_the_guest_that_they_are_made_of() {
    let Some(stage) = Stage::set("clone", GIGABIT) else { return };
    let mut guest = stage.start(&guest(busy()));
    let file = file(&stage);
    let saved = suspend(&stage, "a", &file, &["--keep-running"]);
    assert_eq!(saved["keeps_running"], true);
    stage.expect_at("web", "a");
    guest.expect_well();

    stage.run("a", &["resume", text(&file)]).expect_refusal(&["`web`", "--name"]);
    for host in ["a", "b"] {
        let copy = resume(&stage, host, &file, &["--name", "copy"]);
        assert_eq!(copy["ram_digest"], saved["ram_digest"]);
        stage.expect_at("copy", host);
    }
    let cloned = stage.run("a", &["clone", "web", "twin", "--json"]).expect(DONE).json();
    assert_eq!(cloned["machine"]["name"], "twin");
    stage.expect_at("twin", "a");
    // None of the others has answered in its place, nor said anything in its name.
    guest.expect_well();
    assert_eq!(packets_sent(&stage, "twin"), 0, "its link is down");
    assert!(packets_sent(&stage, "web") > 0);

    // What came out of a file can be moved like any other.
    stage.hand_over("twin", "a", "b", &["--downtime", "1s"]);
    for (host, machine) in [("a", "copy"), ("b", "copy"), ("b", "twin")] {
        stage.run(host, &["stop", machine]).expect(DONE);
    }
    guest.expect_well();
    stage.expect_nothing("b");
    drop(guest);
    stage.strike();
}

/// How many packets a machine has sent to its tap.
fn packets_sent(stage: &Stage, machine: &str) -> u64 {
    let details = stage.run("a", &["show", machine, "--json"]).expect(DONE).json();
    let words = details["command_line"].as_array().unwrap().iter();
    let options = words.filter_map(Value::as_str).flat_map(|word| word.split(','));
    let tap = options.filter_map(|option| option.strip_prefix("ifname=")).next().unwrap();
    let mut ip = Command::new("ip");
    ip.args(["-s", "-json", "link", "show", "dev", tap]);
    stage.scene().lab().enter("a", &mut ip).unwrap();
    let told: Value = serde_json::from_slice(&ip.output().unwrap().stdout).unwrap();
    told[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
fn a_daemon_that_is_killed_leaves_either_the_guest_or_its_file() {
    let Some(mut stage) = Stage::set("suspend-dies", GIGABIT) else { return };
    let mut guest = stage.start(&guest(busy()));
    let file = file(&stage);
    let partial = stage.scratch().join("web.snap.partial");
    let suspending = stage.begin("a", &["suspend", "web", text(&file)]);
    until("the file is being written", || {
        fs::metadata(&partial).is_ok_and(|partial| partial.len() > 1 << 20)
    });
    stage.kill_daemon("a");
    suspending.end();
    stage.start_daemon("a");
    assert!(!partial.exists(), "what was written is removed");
    if file.exists() {
        stage.expect_nothing("a");
        resume(&stage, "a", &file, &[]);
    }
    stage.expect_at("web", "a");
    guest.expect_well();
    end(stage, guest);
}

/// That the guest can be saved after all.
fn end(stage: Stage, mut guest: Watched) {
    let file = stage.scratch().join("web-2.snap");
    suspend(&stage, "a", &file, &[]);
    stage.expect_nothing("a");
    resume(&stage, "b", &file, &[]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn a_place_that_is_too_small_or_taken_is_refused() {
    let Some(stage) = Stage::set("suspend-full", GIGABIT) else { return };
    let mut guest = stage.start(&guest(busy()));
    let taken = file(&stage);
    fs::write(&taken, "precious").unwrap();
    stage.run("a", &["suspend", "web", text(&taken)]).expect_refusal(&["is there already"]);
    stage.run("a", &["resume", text(&taken)]).expect(REFUSED);
    let small = stage.run("a", &["suspend", "web", "/sys/web.snap"]);
    small.expect_refusal(&["/sys has 0 B free"]);
    assert_eq!(fs::read(&taken).unwrap(), b"precious");
    stage.expect_at("web", "a");
    guest.expect_well();
    drop(guest);
    stage.strike();
}
