//! A machine that runs by KVM.

use std::fs;

use punctual_images::QemuChoice;
use punctual_lab::scene::Scene;
use toml::{Table, Value};

use crate::skip::{find, skip};
use crate::stage::{GIGABIT, Stage, until};

/// The guest that sweeps over its memory, checks it, and says so on its serial line: a dot every
/// 64 pages, `!` where a page is wrong.
#[test]
fn a_bare_metal_guest_by_kvm() {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("/dev/kvm cannot be opened");
    }
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let Some(stage) = Stage::set("kvm", GIGABIT) else { return };
    let image = stage.scratch().join("bare-metal.img");
    fs::copy(punctual_images::bare_metal().unwrap(), &image).unwrap();
    let env: Table =
        qemu.env.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let disk: Table = [("path", image.to_str().unwrap()), ("device", "ide-hd")]
        .map(|(field, value)| (field.to_owned(), value.into()))
        .into_iter()
        .collect();
    let spec = Table::from_iter([
        ("name".to_owned(), "bare".into()),
        ("memory".to_owned(), "128MiB".into()),
        ("accel".to_owned(), "kvm".into()),
        ("cpu".to_owned(), "qemu64".into()),
        ("binary".to_owned(), qemu.binary.to_str().unwrap().into()),
        ("extra".to_owned(), qemu.arguments.clone().into()),
        ("env".to_owned(), Value::Table(env)),
        ("disk".to_owned(), Value::Array(vec![Value::Table(disk)])),
    ]);
    stage.scene().run("a", spec.to_string()).unwrap();
    sweeps(stage.scene(), "a");
    for (from, to) in [("a", "b"), ("b", "a"), ("a", "b")] {
        stage.migrate("bare", from, to, &["--downtime", "300ms"]);
        sweeps(stage.scene(), to);
    }
    stage.strike();
}

/// Waits until the guest has said that two whole sweeps were right.
fn sweeps(scene: &Scene, host: &str) {
    let directory = &scene.lab().host(host).unwrap().run_dir;
    let serial = directory.join("daemon/machines/bare/serial.log");
    let said = || fs::read_to_string(&serial).unwrap_or_default();
    until("two sweeps over the memory", || {
        assert!(!said().contains('!'), "{}", said());
        said().lines().count() > 3
    });
}
