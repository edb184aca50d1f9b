//! A guest that gets another QEMU while it runs, on the host where it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use punctual_engine::Phase;
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::{Id, Migration};
use punctual_images::{Qemu, QemuChoice};

use crate::skip::find;
use crate::stage::{GIGABIT, Stage, guest_of};
use crate::told::{DONE, REFUSED};
use crate::watched::Watched;

/// Until a daemon has put in order what another left.
const IN_ORDER: Duration = Duration::from_secs(30);

/// A guest that writes its memory, on host `a`.
fn begin(test: &str, by: &Qemu) -> Option<(Stage, Watched)> {
    let stage = Stage::set(test, GIGABIT)?;
    let options = Options { workload: Workload::HotCold, set: 16 << 20, ..Options::default() };
    let guest = stage.start(&guest_of(by, options));
    Some((stage, guest))
}

/// A program that is this QEMU.
fn program(stage: &Stage, by: &Qemu) -> PathBuf {
    let program = stage.scratch().join(format!("qemu-{}", by.version));
    by.write_program(&program).unwrap();
    program
}

/// What there is of machines on host `a`, by kinds: processes, taps, RAM files, directories.
fn counted(stage: &Stage) -> [usize; 4] {
    let host = stage.host("a");
    let machines = host.run_dir.join("daemon/machines");
    let entries = |place| fs::read_dir(place).map_or(0, Iterator::count);
    let named = |pid: &fs::DirEntry| {
        let line = fs::read(pid.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*machines.to_string_lossy())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(named).count();
    let show = ["-n", host.namespace.name(), "-brief", "link", "show", "type", "tun"];
    let taps = Command::new("ip").args(show).output().unwrap().stdout;
    let taps = String::from_utf8(taps).unwrap().lines().count();
    [processes, taps, entries(host.ram_dir.clone()), entries(machines)]
}

/// One machine, with one of each.
const ONE: [usize; 4] = [1; 4];

/// That the guest is well, in one process.
#[track_caller]
fn expect_one(stage: &Stage, guest: &mut Watched) {
    stage.expect_at("web", "a");
    guest.expect_well();
    assert_eq!(counted(stage), ONE, "processes, taps, RAM files, directories");
}

fn pid(stage: &Stage) -> u64 {
    let details = stage.run("a", &["show", "web", "--json"]).expect(DONE).json();
    details["pid"].as_u64().unwrap()
}

#[test]
fn a_guest_goes_on_in_the_next_version_then_again_and_can_be_moved() {
    let (Some(old), Some(new)) = (find(QemuChoice::Seven), find(QemuChoice::Ten)) else { return };
    let Some((stage, mut guest)) = begin("upgrade", &old) else { return };
    let program = program(&stage, &new);
    let program = program.to_str().unwrap();
    let first = pid(&stage);

    let dry = ["upgrade", "web", "--qemu", program, "--dry-run"];
    let told = stage.run("a", &dry).expect(DONE);
    assert!(told.out.contains(program) && told.out.contains("-incoming"), "{}", told.out);
    expect_one(&stage, &mut guest);
    assert_eq!(pid(&stage), first);

    let mut pids = vec![first];
    for more in [&["--qemu", program][..], &[], &[]] {
        let words = ["upgrade", "web", "--downtime", "1s", "--json"];
        let report = stage.run("a", &[&words[..], more].concat()).expect(DONE).json();
        assert_eq!(report["outcome"], "completed", "{report}");
        assert_eq!(report["measured"]["pages_sent"], 0, "{report}");
        assert_eq!((&report["from"], &report["to"]), (&"a".into(), &"a".into()));
        expect_one(&stage, &mut guest);
        assert!(!pids.contains(&pid(&stage)));
        pids.push(pid(&stage));
    }
    let found = stage.run("a", &["show", "web", "--json"]).expect(DONE).json();
    let line = found["command_line"].to_string();
    assert!(line.contains(new.binary.canonicalize().unwrap().to_str().unwrap()), "{line}");

    stage.migrate("web", "a", "b", &["--downtime", "1s"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn what_cannot_be_is_refused_and_what_goes_wrong_leaves_the_guest_as_it_was() {
    let Some(by) = find(QemuChoice::Installed) else { return };
    let Some((stage, mut guest)) = begin("no-upgrade", &by) else { return };
    let first = pid(&stage);
    let missing = ["upgrade", "web", "--qemu", "/nonexistent/qemu"];
    stage.run("a", &missing).expect_refusal(&["this host cannot run /nonexistent/qemu"]);
    let short = ["upgrade", "web", "--downtime", "1us"];
    stage.run("a", &short).expect(REFUSED);
    // It says what it should when it is asked, and does nothing else.
    let liar = stage.scratch().join("liar");
    let qemu = program(&stage, &by);
    let asked = "case \"$1 $2\" in *version*|*help*)";
    let script = format!("#!/bin/sh\n{asked} exec {} \"$@\";; esac\nexit 1\n", qemu.display());
    fs::write(&liar, script).unwrap();
    fs::set_permissions(&liar, fs::Permissions::from_mode(0o700)).unwrap();
    let failing = ["upgrade", "web", "--downtime", "1s", "--qemu", liar.to_str().unwrap()];
    assert_ne!(stage.run("a", &failing).code, Some(DONE));
    expect_one(&stage, &mut guest);
    assert_eq!(pid(&stage), first);
    drop(guest);
    stage.strike();
}

/// Kills the daemon once each of the phases has been seen: the guest goes on in one of its two
/// processes, and nothing is left of the other.
#[test]
fn the_daemon_dies_at_any_moment() {
    let Some(by) = find(QemuChoice::Installed) else { return };
    let Some((mut stage, mut guest)) = begin("upgrade-dies", &by) else { return };
    for phase in [
        Phase::Offering,
        Phase::Preparing,
        Phase::Copying,
        Phase::Stopping,
        Phase::FinalCopy,
        Phase::HandingOver,
        Phase::Committing,
        Phase::Committed,
    ] {
        let before = pid(&stage);
        let earlier: Vec<Id> = migrations(&stage).iter().map(|one| one.id).collect();
        let words = ["upgrade", "web", "--downtime", "1s", "--json"];
        let upgrade = stage.begin("a", &words);
        wait_for_phase(phase, || {
            migrations(&stage).into_iter().find(|one| !earlier.contains(&one.id))
        });
        stage.kill_daemon("a");
        // How this ends depends on the moment; what matters is that one process has the guest.
        let told = upgrade.end();
        stage.start_daemon("a");
        wait_for_one(&stage);
        expect_one(&stage, &mut guest);
        let after = if pid(&stage) == before { "the old" } else { "the new" };
        println!("{phase}: {after} process has it: {told:?}");
    }
    let words = ["upgrade", "web", "--downtime", "1s"];
    stage.run("a", &words).expect(DONE);
    expect_one(&stage, &mut guest);
    drop(guest);
    stage.strike();
}

fn migrations(stage: &Stage) -> Vec<Migration> {
    stage.scene().ask("a", |daemon| async move { daemon.migrations().await }).unwrap()
}

/// Waits, as finely as can be, until a migration has come to this phase or ended.
fn wait_for_phase(phase: Phase, look: impl Fn() -> Option<Migration>) {
    let deadline = Instant::now() + IN_ORDER;
    loop {
        let reached = look().is_some_and(|migration| {
            let progress = migration.progress.as_ref();
            migration.has_ended() || progress.is_some_and(|progress| progress.phase >= phase)
        });
        if reached {
            return;
        }
        assert!(Instant::now() < deadline, "the upgrade never came to {phase}");
    }
}

/// What is being removed may take a moment.
fn wait_for_one(stage: &Stage) {
    let deadline = Instant::now() + IN_ORDER;
    while counted(stage) != ONE {
        assert!(Instant::now() < deadline, "{:?}", counted(stage));
        std::thread::sleep(Duration::from_millis(20));
    }
}
