//! Machines whose memory nobody but QEMU can reach: QEMU's own migration, by the same commands.

use punctual_guest_protocol::options::Network;
use punctual_guest_protocol::{Options, Workload};
use punctual_images::{BASE_ARGUMENTS, QemuChoice};
use punctual_lab::Subnet;
use punctual_lab::client::BeaconReceiver;
use punctual_lab::scene::Guest;
use serde_json::{Value, json};

use crate::by_hand::ByHand;
use crate::skip::find;
use crate::stage::{GIGABIT, Stage, guest_of};
use crate::told::{DONE, FAILED};
use crate::watched::Watched;

const TAP: &str = "hand0";
/// A link on which a copy takes some seconds.
const SLOW: u64 = 200;

/// A machine in memory of QEMU's own, and the client's eyes on it.
struct Private {
    stage: Stage,
    by_hand: ByHand,
    guest: Watched,
}

impl Private {
    /// Starts one on host `a`, without KVM under QEMU 10: 7.2 loses writes there.
    fn start(test: &str, megabits: u64, options: Options) -> Option<Self> {
        let qemu = find(QemuChoice::Ten)?;
        let stage = Stage::set(test, megabits)?;
        let lab = stage.scene().lab();
        lab.tap("a", TAP).unwrap();
        let address = lab.state().subnet.guest(0).unwrap();
        let beacon = BeaconReceiver::listen(lab, 0).unwrap();
        let options = Options {
            ip: Some(Network { address, prefix: Subnet::PREFIX }),
            beacon: Some(beacon.address()),
            ..options
        };
        let (kernel, initrd) =
            (punctual_images::kernel().unwrap(), punctual_images::initramfs().unwrap());
        let append = format!("{BASE_ARGUMENTS} {options}");
        let netdev = format!("tap,id=net0,ifname={TAP},script=no,downscript=no");
        let serial = format!("file:{}", stage.scratch().join("serial").display());
        let (kernel, initrd) = (kernel.to_str().unwrap(), initrd.to_str().unwrap());
        let mut arguments = vec!["-accel", "tcg", "-cpu", "qemu64", "-m", "256M"];
        arguments
            .extend(["-kernel", kernel, "-initrd", initrd, "-append", &append, "-serial", &serial]);
        arguments.extend(["-netdev", &netdev, "-device", "virtio-net-pci,netdev=net0,romfile="]);
        let by_hand = ByHand::start(&stage, "a", "web", &qemu, &arguments);
        by_hand.adopt(&stage);
        let guest = Guest { name: "web".to_owned(), address, beacon };
        let guest = Watched::new(stage.scene(), guest);
        Some(Self { stage, by_hand, guest })
    }

    /// Moves it, and expects that it succeeds.
    #[track_caller]
    fn migrate(&mut self, from: &str, to: &str, more: &[&str]) -> Value {
        let words = ["migrate", "web", "--to", to, "--downtime", "500ms", "--json"];
        let report = self.stage.run(from, &[&words[..], more].concat()).expect(DONE).json();
        assert_eq!(
            (&report["outcome"], &report["engine"]),
            (&json!("completed"), &json!("native"))
        );
        self.stage.expect_at("web", to);
        self.guest.expect_well();
        report
    }

    /// Has it moved to host `b` and back, and takes everything down. Whatever happened before has
    /// left nothing behind.
    #[track_caller]
    fn end(mut self, more: &[&str]) {
        self.migrate("a", "b", more);
        assert!(!self.by_hand.is_running());
        // Whoever started that QEMU has made it, and keeps it.
        self.stage.scene().lab().remove_tap("a", TAP).unwrap();
        self.stage.expect_bare("a");
        self.migrate("b", "a", more);
        self.stage.expect_bare("b");
        drop(self.guest);
        self.stage.strike();
    }
}

fn busy(rate: u64) -> Options {
    Options { workload: Workload::Uniform, set: 64 << 20, rate, ..Options::default() }
}

#[test]
fn a_machine_in_private_memory_there_and_back() {
    let Some(mut private) = Private::start("native", GIGABIT, busy(500)) else { return };
    let stage = &private.stage;
    let details = stage.run("a", &["show", "web", "--json"]).expect(DONE).json();
    assert_eq!((&details["engine"], &details["obstacles"]), (&json!("native"), &json!([])));
    let told = stage.run("a", &["show", "web"]).expect(DONE).out;
    assert!(told.contains("native: QEMU's own") && told.contains("private to QEMU"), "{told}");

    let migrate = ["migrate", "web", "--to", "b"];
    let refused = |more: &[&str], words: &[&str]| {
        stage.run("a", &[&migrate[..], more].concat()).expect_refusal(words);
    };
    refused(&["--engine", "external"], &["is private to QEMU", "memory-backend-file,share=on"]);
    refused(&["--verify"], &["no moment at which both digests", "without --verify"]);
    refused(&["--mode", "post-copy"], &["whose post-copy", "--on-miss throttle"]);
    refused(&["--bandwidth", "100Gbit"], &["the link moves", "ask for at most"]);
    let rehearsed = stage.run("a", &[&migrate[..], &["--dry-run"]].concat()).expect(DONE).out;
    for word in ["moved by QEMU's own migration", "not traced (low confidence)", "-incoming"] {
        assert!(rehearsed.contains(word), "`{word}` is not in: {rehearsed}");
    }
    stage.expect_nothing("b");

    let report = private.migrate("a", "b", &["--bandwidth", "500Mbit"]);
    assert_eq!(report["owner"], "destination", "{report}");
    let measured = &report["measured"];
    let number = |value: &Value| value.as_f64().unwrap();
    // Each page of 256 MiB goes at least once, most of them as zero pages; the set is not zero.
    assert!(number(&measured["pages_sent"]) >= 65_536.0, "{report}");
    assert!(number(&measured["wire_bytes"]) >= f64::from(64 << 20), "{report}");
    let parts: f64 = measured["phases"].as_object().unwrap().values().map(number).sum();
    assert!((parts - number(&measured["downtime_ms"])).abs() < 1.0, "{report}");
    assert_ne!(report["samples"], json!([]));
    private.migrate("b", "a", &["--engine", "native", "--look", "0"]);
    private.stage.expect_bare("b");
    // The tap of its own is the daemon's at this host, too, since it came back.
    drop(private.guest);
    private.stage.scene().lab().remove_tap("a", TAP).unwrap();
    private.stage.strike();
}

/// One that Punctual could move itself, whose memory goes into a file there, too.
#[test]
fn any_machine_is_moved_by_qemu_where_that_is_asked_for() {
    let Some(qemu) = find(QemuChoice::Ten) else { return };
    let Some(stage) = Stage::set("native-any", GIGABIT) else { return };
    let mut guest = stage.start(&guest_of(&qemu, busy(500)));
    let details = stage.run("a", &["show", "web", "--json"]).expect(DONE).json();
    assert_eq!(details["engine"], "external");
    let words = ["migrate", "web", "--to", "b", "--downtime", "500ms", "--engine", "native"];
    let report = stage.run("a", &[&words[..], &["--json"]].concat()).expect(DONE).json();
    assert_eq!((&report["outcome"], &report["engine"]), (&json!("completed"), &json!("native")));
    guest.expect_well();
    stage.expect_bare("a");
    let back = stage.migrate("web", "b", "a", &["--downtime", "500ms"]);
    assert_eq!(back["engine"], "external");
    guest.expect_well();
    stage.expect_bare("b");
    drop(guest);
    stage.strike();
}

#[test]
fn a_guest_that_writes_faster_than_the_link_is_refused_given_up_and_moved_when_it_rests() {
    let Some(mut private) = Private::start("native-busy", SLOW, busy(20_000)) else { return };
    let migrate = ["migrate", "web", "--to", "b"];
    let told = private.stage.run("a", &migrate);
    told.expect_refusal(&["of memory in a second", "--on-miss throttle"]);
    let all = [&migrate[..], &["--look", "0", "--within", "10s"]].concat();
    let told = private.stage.run("a", &all).expect(FAILED);
    assert!(told.err.contains("while the guest writes"), "{}", told.err);
    private.stage.expect_at("web", "a");
    private.guest.expect_well();
    private.stage.expect_bare("b");
    private.guest.set(Workload::Uniform, 100);
    private.end(&["--look", "0"]);
}

#[test]
fn the_destinations_daemon_dies_while_memory_is_copied() {
    let Some(mut private) = Private::start("native-far", SLOW, busy(500)) else { return };
    let move_it = ["migrate", "web", "--to", "b", "--look", "0"];
    let moving = private.stage.begin("a", &move_it);
    private.stage.wait_for_copying("a", "web");
    private.stage.kill_daemon("b");
    moving.end().expect(FAILED);
    private.stage.expect_at("web", "a");
    private.guest.expect_well();
    private.stage.start_daemon("b");
    private.stage.expect_bare("b");
    private.end(&["--look", "0"]);
}

#[test]
fn the_sources_daemon_dies_while_memory_is_copied() {
    let Some(mut private) = Private::start("native-near", SLOW, busy(500)) else { return };
    let move_it = ["migrate", "web", "--to", "b", "--look", "0"];
    let moving = private.stage.begin("a", &move_it);
    private.stage.wait_for_copying("a", "web");
    private.stage.kill_daemon("a");
    moving.end().expect(FAILED);
    private.guest.expect_well();
    private.stage.start_daemon("a");
    private.stage.expect_at("web", "a");
    private.guest.expect_well();
    private.stage.expect_bare("b");
    private.end(&["--look", "0"]);
}

#[test]
fn a_move_that_is_cancelled_leaves_the_machine_where_it_is() {
    let Some(mut private) = Private::start("native-cancel", SLOW, busy(500)) else { return };
    let moving = private.stage.begin("a", &["migrate", "web", "--to", "b", "--look", "0"]);
    private.stage.wait_for_copying("a", "web");
    private.stage.run("a", &["cancel", "web"]).expect(DONE);
    moving.end().expect(crate::told::CANCELLED);
    private.stage.expect_at("web", "a");
    private.guest.expect_well();
    private.stage.expect_bare("b");
    private.end(&["--look", "0"]);
}
