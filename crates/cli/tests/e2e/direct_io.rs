//! Disks with `cache=none`: what a disk writes into a guest's memory past all page tables arrives
//! at the other host, whenever it comes.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use punctual_guest_protocol::options::ReadMode;
use punctual_guest_protocol::{Options, Workload};
use punctual_images::write_disk;
use punctual_lab::scene::GuestDisk;

use crate::skip::skip;
use crate::stage::{GIGABIT, Stage, guest, until};

const DISK: u64 = 64 << 20;
const SEED: u64 = 23;
/// Past the page cache; the same on every architecture that QEMU's guests of this test run on.
const O_DIRECT: i32 = 0o40000;

fn reads_through_moves(test: &str, aio: &str) {
    // A real file system: the one where things are built.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("disk.raw");
    write_disk(&path, DISK, SEED).unwrap();
    if let Err(error) = open_directly(&path) {
        return skip(&format!("no direct I/O in {}: {error}", directory.path().display()));
    }
    let Some(stage) = Stage::set(test, GIGABIT) else { return };
    let options = Options {
        workload: Workload::Reader,
        rate: 20_000,
        seed: SEED,
        read: ReadMode::Direct,
        ..Options::default()
    };
    let mut spec = guest(options);
    spec.disk = Some(GuestDisk { path, cache: "none".to_owned(), aio: aio.to_owned() });
    let mut guest = stage.start(&spec);
    let (mut from, mut to) = ("a", "b");
    for _ in 0..6 {
        let before = guest.status().disk_bytes_checked;
        let report = stage.migrate("web", from, to, &["--downtime", "300ms"]);
        assert!(guest.status().disk_bytes_checked > before, "{report}");
        guest.expect_well();
        (from, to) = (to, from);
    }
    let before = guest.status().disk_bytes_checked;
    until("the disk is read once more", || guest.status().disk_bytes_checked > before + DISK);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

fn open_directly(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).custom_flags(O_DIRECT).open(path)
}

#[test]
fn by_native_requests() {
    reads_through_moves("native", "native");
}

#[test]
fn by_io_uring() {
    reads_through_moves("uring", "io_uring");
}
