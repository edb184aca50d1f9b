//! A real server, moved while its clients are served. Left out, aloud, where `make streaming` has
//! not run.

use punctual_images::{QemuChoice, streaming};
use punctual_lab::scene::{ServerSpec, Service};

use crate::skip::{find, skip};
use crate::stage::{GIGABIT, Stage, until};

/// More than is on the way, or in any queue, while the machine moves.
const GOES_ON: u64 = 2_000_000;

#[test]
fn a_stream_goes_on() {
    let Ok(image) = streaming().inspect_err(skip) else { return };
    let Some(stage) = Stage::set("streaming", GIGABIT) else { return };
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let spec = ServerSpec::new(Service::Vlc, qemu);
    let server = stage.scene().start_server("a", &spec, &image).unwrap();
    let load = stage.scene().load(&server, 3).unwrap();
    until("the stream comes", || load.seen().bytes > 0);
    stage.migrate("vlc", "a", "b", &["--downtime", "300ms"]);
    let moved = load.seen().bytes;
    until("the stream goes on", || load.seen().bytes > moved + GOES_ON);
    assert_eq!(load.seen().ended, Vec::<String>::new());
    drop(load);
    stage.strike();
}
