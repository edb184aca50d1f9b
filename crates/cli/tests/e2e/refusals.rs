//! What the source refuses, before anything moves.
//!
//! Hardware assigned by vfio and vhost-user back ends are not to be had here; `ivshmem` stands for
//! them. Each reason has a test of its own in `crates/guest/src/qemu/movable/tests.rs`.

use std::fs;
use std::net::TcpListener;

use punctual_images::{Qemu, QemuChoice};
use serde_json::Value;

use crate::by_hand::ByHand;
use crate::skip::find;
use crate::stage::{GIGABIT, Stage};
use crate::told::DONE;

/// A machine without anything to boot, whose memory can be moved unless `more` says otherwise.
fn machine(stage: &Stage, host: &str, name: &str, qemu: &Qemu, more: &[&str]) -> ByHand {
    let object = object("memory-backend-file", stage, host, name);
    let shared = ["-machine", "pc,memory-backend=ram0", "-m", "64", "-object", &object];
    by_hand(stage, host, name, qemu, &[&shared[..], more].concat())
}

fn object(kind: &str, stage: &Stage, host: &str, name: &str) -> String {
    let ram = stage.host(host).ram_dir.join(format!("{name}.ram"));
    format!("{kind},id=ram0,size=64M,share=on,mem-path={}", ram.display())
}

fn by_hand(stage: &Stage, host: &str, name: &str, qemu: &Qemu, arguments: &[&str]) -> ByHand {
    let arguments = [&["-accel", "tcg"], arguments].concat();
    let by_hand = ByHand::start(stage, host, name, qemu, &arguments);
    by_hand.adopt(stage);
    by_hand
}

/// That a move is refused in these words, both before and when it is asked for, and that nothing
/// has changed.
#[track_caller]
fn expect_refused(stage: &Stage, name: &str, words: &[&str]) {
    for more in [&["--dry-run"][..], &[]] {
        let migrate = [&["migrate", name, "--to", "b", "--engine", "external"], more].concat();
        stage.run("a", &migrate).expect_refusal(words);
    }
}

#[test]
fn a_machine_that_cannot_be_moved() {
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(stage) = Stage::set("source-says", GIGABIT) else { return };
    let ivshmem = format!(
        "memory-backend-file,id=shared,size=1M,share=on,mem-path={}",
        stage.scratch().join("shared").display()
    );
    let memfd = ["-object", "memory-backend-memfd,id=ram0,size=64M,share=on"];
    let with_memfd = [&["-machine", "pc,memory-backend=ram0", "-m", "64"][..], &memfd].concat();
    let machines = [
        ("private", by_hand(&stage, "a", "private", &qemu, &["-m", "64"])),
        ("memfd", by_hand(&stage, "a", "memfd", &qemu, &with_memfd)),
        (
            "foreign",
            machine(
                &stage,
                "a",
                "foreign",
                &qemu,
                &["-object", &ivshmem, "-device", "ivshmem-plain,memdev=shared"],
            ),
        ),
        ("paused", machine(&stage, "a", "paused", &qemu, &["-S"])),
    ];
    let remedy = "start the machine with -object memory-backend-file,share=on,mem-path=FILE";
    expect_refused(&stage, "private", &["is private to QEMU", remedy]);
    expect_refused(&stage, "memfd", &["in no file that has a name", remedy]);
    expect_refused(&stage, "foreign", &["has another process write the memory", "use a device"]);
    expect_refused(&stage, "paused", &["is not running (prelaunch)", "cont"]);
    for (name, by_hand) in machines {
        let details = stage.run("a", &["show", name, "--json"]).expect(DONE).json();
        let state = if name == "paused" { "paused" } else { "running" };
        assert_eq!(details["state"], state, "{details}");
        assert_ne!(details["obstacles"], Value::Array(vec![]), "{details}");
        assert!(by_hand.is_running());
        by_hand.end();
    }
    stage.expect_nothing("b");
    stage.strike();
}

#[test]
fn a_destination_where_something_is_taken() {
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(mut stage) = Stage::set("taken", GIGABIT) else { return };
    let listens = ["-chardev", "socket,id=c,host=127.0.0.1,port=7777,server=on,wait=off"];
    let twins = ["a", "b"].map(|host| machine(&stage, host, "twin", &qemu, &[]));
    let listener = machine(&stage, "a", "listens", &qemu, &listens);
    expect_refused(
        &stage,
        "twin",
        &["has a machine called `twin`", "give one of them another name"],
    );

    let taken = stage.host("b").namespace.inside(|| TcpListener::bind("127.0.0.1:7777")).unwrap();
    expect_refused(&stage, "listens", &["127.0.0.1:7777", "free the port there"]);
    drop(taken);
    stage.run("a", &["migrate", "listens", "--to", "b", "--dry-run"]).expect(DONE);

    let [at_source, at_destination] = twins;
    assert!(at_source.is_running() && listener.is_running());
    at_destination.end();
    let told = stage.run("b", &["stop", "twin"]).expect(DONE);
    assert!(told.out.contains("twin"), "{}", told.out);
    stage.kill_daemon("b");
    expect_refused(&stage, "twin", &["no connection", "check that `punctual host` listens there"]);
    stage.start_daemon("b");
    stage.expect_at("twin", "a");
    stage.hand_over("twin", "a", "b", &[]);
    stage.strike();
}

/// The disk goes after the machine has started: QEMU still has it, nobody else.
#[test]
fn a_disk_that_is_gone() {
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(stage) = Stage::set("disk", GIGABIT) else { return };
    let disk = stage.scratch().join("disk.img");
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let by_hand = machine(&stage, "a", "web", &qemu, &["-drive", &drive]);
    let aside = disk.with_extension("aside");
    fs::rename(&disk, &aside).unwrap();
    let path = disk.display().to_string();
    expect_refused(&stage, "web", &["cannot open the disk", &path, "storage that both hosts see"]);
    fs::rename(&aside, &disk).unwrap();
    stage.expect_at("web", "a");
    stage.expect_nothing("b");
    assert!(by_hand.is_running());
    stage.migrate("web", "a", "b", &[]);
    stage.strike();
}
