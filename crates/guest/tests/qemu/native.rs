//! QEMU's own migration can be driven between two of our machines.

use std::time::Duration;

use punctual_guest::qemu::native::{self, Limits, Mode};
use punctual_guest::qemu::{Plan, migration};
use punctual_units::BytesPerSecond;

use crate::support::{Host, bare_metal_spec, for_each_kind, run, wait_growth, wait_until};

#[test]
fn qemu_migrates_by_itself() {
    for_each_kind(|kind| {
        let (a, b) = (Host::new(), Host::new());
        let here = run(&bare_metal_spec(kind, a.runtime.path()), &a);
        wait_growth(&a.serial_log("bare"));
        let plan = Plan::for_destination(here.description(), &b.places(), &Default::default());
        let address = format!("unix:{}", b.runtime.path().join("migration.sock").display());
        let there = native::receive(&plan, Mode::PreCopy, &address).unwrap();
        let limits = Limits {
            bandwidth: BytesPerSecond::megabits(10_000),
            downtime: Duration::from_secs(2),
        };
        native::send(here.qmp(), Mode::PreCopy, limits, &address).unwrap();
        let over = || migration::is_over(&native::progress(here.qmp()).unwrap().status);
        wait_until(over, "QEMU does not end its migration");
        let end = native::progress(here.qmp()).unwrap();
        assert_eq!(end.status, "completed");
        assert!(end.sent.get() > 0 && end.rounds > 0, "{end:?}");
        wait_growth(&b.serial_log("bare"));
        here.quit().unwrap();
        there.quit().unwrap();
        a.assert_empty();
    });
}
