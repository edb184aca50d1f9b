//! Labs made and removed for real. Each test needs root and is skipped aloud without.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use punctual_lab::{
    HostSpec, Lab, LabName, LabSpec, OpenError, Process, ProcessId, RunError, UpError,
};
use punctual_units::BytesPerSecond;

use support::{TakeDown, TestLab, can_make_labs, name, until};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn nothing_is_left_of(lab: &punctual_lab::LabState) {
    let namespaces = lab.hosts.iter().map(|host| &host.namespace);
    for namespace in namespaces.chain([&lab.client.namespace, &lab.switch]) {
        assert!(!namespace.path().exists(), "{}", namespace.name());
    }
    for host in &lab.hosts {
        assert!(!host.run_dir.exists() && !host.ram_dir.exists());
    }
    assert!(!Path::new("/run/punctual/lab").join(lab.name.as_str()).exists());
    assert!(matches!(Lab::open(&lab.name), Err(OpenError::Missing(_))));
    assert!(Lab::take_down(&lab.name).unwrap().is_empty(), "a second time is no error");
}

/// The lab that this process shall make as a part of another test; `None` if it is no such part.
fn told_by_another_test() -> Option<LabName> {
    Some(std::env::var("PUNCTUAL_TEST_NAME").ok()?.parse().unwrap())
}

#[test]
fn a_program_runs_where_it_was_told() {
    let Some(lab) = TestLab::up("exec", None) else { return };
    let host = lab.host("a").unwrap();
    let script = format!(
        "test \"$PUNCTUAL_HOST\" = a && test \"$PUNCTUAL_SOCKET\" = {} && \
         ip -brief address show dev br0 | grep -q ' {}/24 ' && exit 7",
        host.socket.display(),
        host.address
    );
    assert_eq!(lab.exec("a", shell(&script)).unwrap().code(), Some(7));
    assert_eq!(lab.exec("client", shell("test -z \"$PUNCTUAL_HOST\"")).unwrap().code(), Some(0));

    let error = lab.exec("nowhere", shell("true")).unwrap_err().to_string();
    assert!(error.ends_with("has no place `nowhere`: it has a, b, client, switch"), "{error}");
    let error = lab.exec("b", Command::new("/no/such/program")).unwrap_err().to_string();
    assert!(error.starts_with("cannot run `/no/such/program` in b of lab test-exec"), "{error}");
}

#[test]
fn a_lab_goes_with_all_that_is_in_it() {
    let Some(lab) = TestLab::up("down", Some(BytesPerSecond::megabits(1000))) else { return };
    let lab = lab.take();
    let state = lab.state().clone();
    let _guard = TakeDown(state.name.clone());
    lab.tap("a", "tap-vm0").unwrap();
    std::fs::write(lab.host("a").unwrap().ram_dir.join("ram0"), [1; 4096]).unwrap();

    // One that the lab started, one that that started, and one that will not go when asked to.
    let said = lab.host("b").unwrap().log_dir.join("parent.log");
    let parent = lab.spawn("b", "parent", shell("sleep 600 & echo $!; exec sleep 600")).unwrap();
    let stubborn = lab.spawn("client", "stubborn", shell("trap '' TERM; exec sleep 600")).unwrap();
    let mut child = String::new();
    until("the child's number is in the log", || {
        child = std::fs::read_to_string(&said).unwrap();
        child.ends_with('\n')
    });
    let child = ProcessId::of(child.trim().parse().unwrap()).unwrap();

    let again = lab.spawn("b", "parent", shell("true")).unwrap_err();
    assert!(matches!(again, RunError::Runs { .. }), "{again}");

    let removed = lab.down().unwrap();
    let ended = [parent.record().id, stubborn.record().id, child];
    assert!(ended.iter().all(|id| removed.processes.contains(id) && !id.is_running()));
    assert_eq!(removed.namespaces.len(), 4);
    let tap = format!("{}-a/tap-vm0", state.name);
    assert!(removed.interfaces.contains(&tap), "{:?}", removed.interfaces);
    assert!(removed.files.iter().any(|file| file.ends_with("a/ram0")));
    nothing_is_left_of(&state);
}

#[test]
fn a_tap_comes_and_goes_but_an_uplink_stays() {
    let Some(lab) = TestLab::up("tap", None) else { return };
    lab.tap("a", "tap0").unwrap();
    let plugged = "ip -brief link show master br0 | grep -q ^tap0";
    assert!(lab.exec("a", shell(plugged)).unwrap().success());
    assert!(lab.tap("a", "tap0").is_err(), "the name is taken");
    assert!(lab.exec("a", shell(plugged)).unwrap().success(), "and the first one is still there");
    assert!(lab.tap("a", "no/tap").is_err());

    lab.remove_tap("a", "tap0").unwrap();
    assert!(!lab.exec("a", shell(plugged)).unwrap().success());
    assert!(lab.remove_tap("a", "uplink").is_err());
    assert!(lab.exec("a", shell("ip link show uplink >/dev/null")).unwrap().success());
}

#[test]
fn several_labs_are_up_at_once() {
    let Some(one) = TestLab::up("one", None) else { return };
    let Some(two) = TestLab::up("two", None) else { return };
    assert_ne!(one.state().subnet, two.state().subnet);
    assert_ne!(one.host("a").unwrap().address, two.host("a").unwrap().address);

    let first = one.state().clone();
    let again = Lab::up(&LabSpec::two_hosts(first.name.clone(), None)).unwrap_err();
    assert!(matches!(again, UpError::Exists(_)), "{again}");
    assert_eq!(one.exec("a", shell("exit 3")).unwrap().code(), Some(3), "it was left alone");

    one.take().down().unwrap();
    nothing_is_left_of(&first);
    assert_eq!(two.exec("b", shell("exit 4")).unwrap().code(), Some(4));
    assert_eq!(Lab::open(&two.state().name).unwrap().state(), two.state());
}

#[test]
fn what_others_made_is_left_alone() {
    if !can_make_labs() {
        return;
    }
    let spec = LabSpec::two_hosts(name("alone"), None);
    let in_the_way = format!("{}-b", spec.name);
    let ip = |verb: &str| Command::new("ip").args(["netns", verb, &in_the_way]).status().unwrap();
    assert!(ip("add").success());
    let error = Lab::up(&spec);
    assert!(ip("delete").success(), "it is still there");
    let error = error.unwrap_err();
    assert!(matches!(error, UpError::NamespaceExists { .. }), "{error}");
    assert!(matches!(Lab::open(&spec.name), Err(OpenError::Missing(_))));
}

/// The part of the next test that runs in a process of its own, where a program is missing.
#[test]
fn fail_to_make_a_lab() {
    let Some(name) = told_by_another_test() else { return };
    let error =
        Lab::up(&LabSpec::two_hosts(name, Some(BytesPerSecond::megabits(100)))).unwrap_err();
    assert!(matches!(error, UpError::Make { .. }), "{error}");
    assert!(error.to_string().contains("cannot run `tc`: "), "{error}");
    assert!(error.to_string().contains("install the package iproute2"), "{error}");
}

#[test]
fn what_cannot_be_made_whole_is_taken_back() {
    if !can_make_labs() {
        return;
    }
    // All but the last step, for which `tc` is missing.
    let programs = tempfile::tempdir().unwrap();
    let find = Command::new("sh").args(["-c", "command -v ip"]).output().unwrap();
    let ip = String::from_utf8(find.stdout).unwrap();
    std::os::unix::fs::symlink(ip.trim(), programs.path().join("ip")).unwrap();
    let name = name("back");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fail_to_make_a_lab"])
        .env("PUNCTUAL_TEST_NAME", name.as_str())
        .env("PATH", programs.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(Lab::take_down(&name).unwrap().is_empty());
}

/// The part of the next test that runs in a process of its own, to be killed.
#[test]
fn hold_a_lab_and_wait() {
    let Some(name) = told_by_another_test() else { return };
    let lab = Lab::up(&LabSpec::two_hosts(name, None)).unwrap();
    lab.tap("b", "tap0").unwrap();
    let _process: Process = lab.spawn("a", "sleeper", shell("exec sleep 600")).unwrap();
    std::fs::write(lab.host("a").unwrap().run_dir.join("ready"), "").unwrap();
    std::thread::park();
}

#[test]
fn a_crash_leaves_what_down_removes() {
    if !can_make_labs() {
        return;
    }
    let name = name("crash");
    let _guard = TakeDown(name.clone());
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_lab_and_wait"])
        .env("PUNCTUAL_TEST_NAME", name.as_str())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = Path::new("/run/punctual/lab").join(name.as_str()).join("a/ready");
    until("the helper holds its lab", || ready.exists());
    holder.kill().unwrap();
    holder.wait().unwrap();

    let lab = Lab::open(&name).unwrap();
    let state = lab.state().clone();
    let sleeper = state.processes[0].id;
    assert!(sleeper.is_running());
    let removed = Lab::take_down(&name).unwrap();
    assert_eq!(removed.processes, [sleeper]);
    assert!(!sleeper.is_running());
    nothing_is_left_of(&state);
}

#[test]
fn a_crash_half_way_leaves_what_down_removes() {
    let Some(lab) = TestLab::up("half", None) else { return };
    let lab = lab.take();
    let state = lab.state().clone();
    let _guard = TakeDown(state.name.clone());
    // As if it had ended between two steps: one namespace not there, and the stage as at first.
    let file = Path::new("/run/punctual/lab").join(state.name.as_str()).join("state.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"stage\": \"up\"", "\"stage\": \"making\"")).unwrap();
    let gone = state.hosts[1].namespace.name();
    assert!(Command::new("ip").args(["netns", "delete", gone]).status().unwrap().success());

    let unfinished = Lab::open(&state.name).unwrap_err();
    assert!(matches!(unfinished, OpenError::Unfinished(_)), "{unfinished}");
    assert_eq!(lab.down().unwrap().namespaces.len(), 3);
    nothing_is_left_of(&state);
}

#[test]
fn labs_of_many_hosts() {
    let hosts = ["one", "two", "three"].map(|name| HostSpec {
        name: name.parse().unwrap(),
        rate: Some(BytesPerSecond::megabits(100)),
    });
    let spec = LabSpec { hosts: hosts.into(), ..LabSpec::two_hosts(name("many"), None) };
    let Some(lab) = TestLab::of(&spec) else { return };
    let addresses: Vec<_> = lab.hosts().iter().map(|host| host.address.octets()[3]).collect();
    assert_eq!(addresses, [1, 2, 3]);
    assert!(lab.host("a").is_err());
}
