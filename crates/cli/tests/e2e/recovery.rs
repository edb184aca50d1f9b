//! Pages follow a machine whose host is found at another address meanwhile.

use std::process::Command;

use punctual_guest_protocol::{Options, Workload};
use punctual_lab::Obstruction;
use punctual_lab::scene::PORT;

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::DONE;

/// A link on which pages follow for a while.
const SLOW: u64 = 40;

#[test]
fn a_machine_that_lacks_pages_is_found_at_another_address() {
    let Some(mut stage) = Stage::set("elsewhere", SLOW) else { return };
    let (here, other) = (stage.host("b").address, stage.scene().lab().state().subnet.host(9));
    let mut ip = Command::new("ip");
    ip.args(["address", "add", &format!("{other}/24"), "dev", "br0"]);
    assert!(stage.scene().lab().exec("b", ip).unwrap().success());
    // In place of where it is told to listen.
    let everywhere = format!("--listen 0.0.0.0:{PORT} --advertise {here}:{PORT}");
    stage.restart_with("b", &format!("shift 5\nset -- host --name b {everywhere} \"$@\""));
    let busy = Options { workload: Workload::HotCold, rate: 20_000, ..Options::default() };
    let mut guest = stage.start(&guest(busy));
    stage.run("a", &["recover", "web"]).expect_refusal(&["nothing of it follows from here"]);

    let words = ["migrate", "web", "--to", "b", "--mode", "post-copy", "--look", "0", "--json"];
    let migration = stage.begin("a", &[&words[..], &["--downtime", "1s", "--verify"]].concat());
    stage.wait_for_state("b", "web", "depending");
    let lab = stage.scene().lab();
    lab.obstruct("a", "b", Obstruction::Cut).unwrap();
    stage.set_link(GIGABIT);
    let state = stage.run("b", &["show", "web", "--json"]).expect(DONE).json();
    assert_eq!(state["state"], "depending", "{state}");
    stage.run("a", &["recover", "web", "--to", &format!("{other}:{PORT}")]).expect(DONE);
    let report = migration.end().expect(DONE).json();
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["ram_digest_equal"], true, "{report}");
    println!("{}", report["measured"]);
    assert!(report["measured"]["post_copy"]["recoveries"].as_u64().unwrap() > 0, "{report}");
    stage.expect_at("web", "b");
    stage.expect_bare("a");
    guest.expect_well();
    drop(guest);
    stage.strike();
}
