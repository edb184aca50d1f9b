//! What the destination refuses since its host cannot have the machine, before anything moves.
//!
//! Both hosts are on one computer; the destination's daemon is given a view of it in which
//! something is missing.

use std::fs;
use std::path::{Path, PathBuf};

use punctual_images::{Qemu, QemuChoice};

use crate::by_hand::ByHand;
use crate::skip::{find, skip};
use crate::stage::{GIGABIT, Stage};

/// Starts a machine without anything to boot on host `a`.
fn machine(stage: &Stage, qemu: &Qemu, accel: &str, more: &[&str]) -> ByHand {
    let ram = stage.host("a").ram_dir.join("web.ram");
    let object =
        format!("memory-backend-file,id=ram0,size=64M,share=on,mem-path={}", ram.display());
    let memory = ["-machine", "pc,memory-backend=ram0", "-m", "64", "-object", &object];
    let arguments = [&["-accel", accel, "-cpu", "qemu64"], &memory[..], more].concat();
    let by_hand = ByHand::start(stage, "a", "web", qemu, &arguments);
    by_hand.adopt(stage);
    by_hand
}

/// Moves the machine to a host on which `script` has changed what there is, in vain.
#[track_caller]
fn expect_refused(stage: &mut Stage, script: &str, words: &[&str]) {
    stage.disguise("b", script);
    stage.run("a", &["migrate", "web", "--to", "b"]).expect_refusal(words);
    stage.expect_at("web", "a");
    stage.expect_nothing("b");
}

/// Moves the machine to a host on which nothing is missing: no attempt has harmed it.
fn end(mut stage: Stage, by_hand: &ByHand) {
    assert!(by_hand.is_running());
    stage.disguise("b", "");
    stage.migrate("web", "a", "b", &["--downtime", "300ms"]);
    stage.strike();
}

#[test]
fn for_want_of_memory_or_a_disk() {
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(mut stage) = Stage::set("poor", GIGABIT) else { return };
    let disks = stage.scratch().join("disks");
    fs::create_dir(&disks).unwrap();
    let disk = disks.join("disk.img");
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let by_hand = machine(&stage, &qemu, "tcg", &["-drive", &drive]);

    let ram = stage.host("b").ram_dir.clone();
    let small = format!("mkdir -p {0}; mount -t tmpfs -o size=16m none {0}", ram.display());
    let remedy = "free memory there, or choose another host";
    expect_refused(&mut stage, &small, &["destination too small", "16 MiB free", remedy]);

    let disk = disk.display().to_string();
    let hidden = format!("mount -t tmpfs none {}", disks.display());
    let remedy = "put it on storage that both hosts see";
    expect_refused(&mut stage, &hidden, &["cannot open the disk", &disk, "No such file", remedy]);
    let read_only = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}", disks.display());
    expect_refused(&mut stage, &read_only, &["cannot open the disk", "Read-only", remedy]);
    end(stage, &by_hand);
}

#[test]
fn for_want_of_the_right_qemu() {
    let (Some(older), Some(qemu)) = (find(QemuChoice::Seven), find(QemuChoice::Ten)) else {
        return;
    };
    let Some(mut stage) = Stage::set("older", GIGABIT) else { return };
    let by_hand = machine(&stage, &qemu, "tcg", &[]);

    let directory = qemu.binary.parent().unwrap().display();
    let missing = format!("mount -t tmpfs none {directory}");
    let remedy = "install the same QEMU there";
    expect_refused(&mut stage, &missing, &["the destination cannot run", remedy]);
    match (tree(&older), tree(&qemu)) {
        (Some(older), Some(newer)) => {
            let script = format!("mount --bind {} {}", older.display(), newer.display());
            let remedy = format!("install QEMU {} or newer", qemu.version);
            expect_refused(&mut stage, &script, &["is older than the machine's", &remedy]);
        }
        _ => skip("one QEMU is installed, the other not: they cannot take each other's place"),
    }
    end(stage, &by_hand);
}

/// Where a QEMU was unpacked to with all that it needs.
fn tree(qemu: &Qemu) -> Option<PathBuf> {
    let root = qemu.binary.ancestors().nth(3)?;
    (root != Path::new("/")).then(|| root.to_owned())
}

#[test]
fn for_want_of_kvm() {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("/dev/kvm cannot be opened");
    }
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(mut stage) = Stage::set("no-kvm", GIGABIT) else { return };
    let by_hand = machine(&stage, &qemu, "kvm", &[]);
    // A device that may not be used as one.
    let hidden = "mount --bind /dev/kvm /dev/kvm; mount -o remount,bind,nodev /dev/kvm";
    expect_refused(&mut stage, hidden, &["the destination cannot open /dev/kvm", "choose another"]);
    end(stage, &by_hand);
}
