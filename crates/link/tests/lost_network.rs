//! A network that stops carrying anything, without a word to either side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use punctual_link::{Link, LinkFault, Listener, Timeouts};
use punctual_wire::SourceMessage;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace joined to this one by a cable, gone when dropped.
struct Elsewhere {
    name: String,
    here: String,
    there: String,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {}", said.trim())) }
}

impl Elsewhere {
    fn new() -> Result<Self, String> {
        let process = std::process::id();
        // Four addresses for each process, of the range for benchmarks of networks (RFC 2544).
        let [_, _, third, fourth] = ((process % (1 << 14)) << 2).to_be_bytes();
        let address = |host: u8| format!("198.18.{third}.{}", fourth + host);
        let name = format!("plink{process}");
        let this = Self { here: address(1), there: address(2), name };
        let name = &this.name;
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name} type veth peer name cable netns {name}"))?;
        ip(&format!("addr add {}/30 dev {name}", this.here))?;
        ip(&format!("link set {name} up"))?;
        ip(&format!("-n {name} addr add {}/30 dev cable", this.there))?;
        ip(&format!("-n {name} link set cable up"))?;
        Ok(this)
    }

    /// Pulls the cable out at the far end.
    fn cut(&self) {
        ip(&format!("-n {} link set cable down", self.name)).unwrap();
    }

    /// Moves this thread there.
    fn enter(&self) {
        let file = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )
        .unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Also where it was never made. The cable goes with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

#[test]
fn a_lost_network_ends_a_wait_and_a_transfer() {
    let elsewhere = match Elsewhere::new() {
        Ok(elsewhere) => elsewhere,
        Err(reason) => return println!("SKIP: no network namespace can be made: {reason}"),
    };
    // Longer than what the loss of the network may take to show.
    let patient = Duration::from_secs(60);
    let timeouts = Timeouts {
        connect: Duration::from_secs(10),
        silence: patient,
        stall: patient,
        lost: Duration::from_secs(1),
    };
    let far = thread::scope(|scope| {
        let far = scope.spawn(|| {
            elsewhere.enter();
            Listener::bind(&format!("{}:0", elsewhere.there)).unwrap()
        });
        far.join().unwrap()
    });
    thread::scope(|scope| {
        let accepting =
            scope.spawn(|| [0, 1].map(|_| far.accept().unwrap().greet(&timeouts).unwrap()));
        let waiting = Link::connect(far.address(), &timeouts).unwrap();
        let sending = Link::connect(far.address(), &timeouts).unwrap();
        let _kept_open = accepting.join().unwrap();
        elsewhere.cut();

        let error = waiting.split().1.receive_message::<SourceMessage>().unwrap_err();
        assert!(matches!(error.fault, LinkFault::Lost(_)), "waiting: {error}");
        assert!(error.fault.may_pass());

        let (mut sender, _receiver) = sending.split();
        let message = SourceMessage::DeviceState(vec![0; 200 << 10]);
        let error = (0..1000).find_map(|_| sender.send(&message).err()).unwrap();
        assert!(matches!(error.fault, LinkFault::Lost(_)), "sending: {error}");
    });
}
