//! The bare-metal guest, under TCG and, where there is one, KVM: it sweeps, and finds a byte that is
//! changed behind its back.

use std::path::Path;

use punctual_images::bare_metal;

use crate::machine::{Machine, alone, poll};

fn sweeps_and_finds_a_changed_byte(accelerator: &str) {
    let image = bare_metal().unwrap();
    let drive = format!("if=ide,format=raw,snapshot=on,file={}", image.display());
    let mut machine = Machine::start(accelerator, 128, &["-drive".to_owned(), drive]);
    poll("two whole sweeps", || {
        machine.expect_running();
        (machine.console().lines().count() > 2).then_some(())
    });
    let console = machine.console();
    let sweep = ".".repeat(1008);
    let sweeps: Vec<_> = console.lines().take(2).collect();
    assert_eq!(sweeps, [&sweep, &sweep]);

    machine.flip(0x0234_5800);
    poll("the number of the changed page", || {
        machine.console().contains("!00002345\n").then_some(())
    });
}

#[test]
fn under_tcg() {
    alone(|| sweeps_and_finds_a_changed_byte("tcg"));
}

#[test]
fn under_kvm() {
    if !Path::new("/dev/kvm").exists() {
        println!("SKIP: there is no /dev/kvm");
        return;
    }
    alone(|| sweeps_and_finds_a_changed_byte("kvm"));
}
