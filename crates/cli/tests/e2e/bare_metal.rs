//! A machine that runs by KVM.

use std::fs;

use punctual_images::QemuChoice;
use punctual_lab::scene::{BareMetal, BareMetalSpec};
use punctual_units::Bytes;

use crate::skip::{find, skip};
use crate::stage::{GIGABIT, Stage};
use crate::told::DONE;

/// The guest checks what it knows of its memory whenever it sweeps over it.
#[test]
fn a_bare_metal_guest_by_kvm() {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("/dev/kvm cannot be opened");
    }
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(stage) = Stage::set("kvm", GIGABIT) else { return };
    let (name, memory, accel) = ("bare".to_owned(), Bytes::mib(128), "kvm".to_owned());
    let spec = BareMetalSpec { name, memory, qemu, accel };
    let guest = stage.scene().start_bare_metal("a", &spec).unwrap();
    for (from, to) in [("a", "b"), ("b", "a"), ("a", "b")] {
        stage.migrate("bare", from, to, &["--downtime", "300ms"]);
        assert_eq!(guest.complaint(), None);
    }
    is_replaced(&stage, &guest, &[]);
    if let Some(next) = find(QemuChoice::Ten) {
        let program = stage.scratch().join("next");
        next.write_program(&program).unwrap();
        is_replaced(&stage, &guest, &["--qemu", program.to_str().unwrap()]);
    }
    stage.strike();
}

/// Gives the guest another QEMU on host `b`.
fn is_replaced(stage: &Stage, guest: &BareMetal, more: &[&str]) {
    let words = ["upgrade", "bare", "--downtime", "300ms", "--json"];
    let report = stage.run("b", &[&words[..], more].concat()).expect(DONE).json();
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["measured"]["pages_sent"], 0, "{report}");
    stage.expect_at("bare", "b");
    assert_eq!(guest.complaint(), None);
}
