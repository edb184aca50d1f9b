//! The client of a lab and a guest's ports, across its namespaces. Needs root, else skipped aloud.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use punctual_guest_protocol::{Beacon, CONTROL_PORT, Pattern, STREAM_PORT, Workload, frame};
use punctual_lab::client::{BeaconReceiver, Control, StreamEnd, StreamReader};
use punctual_units::BytesPerSecond;

use support::{TestLab, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a guest does, done by threads in host `a` at an address of their own.
#[test]
fn a_guest_is_heard_and_asked_from_the_client() {
    let Some(lab) = TestLab::up("client", Some(BytesPerSecond::megabits(1000))) else { return };
    let guest = lab.state().subnet.guest(0).unwrap();
    let mut ip = Command::new("ip");
    ip.args(["address", "add", &format!("{guest}/24"), "dev", "br0"]);
    assert!(lab.exec("a", ip).unwrap().success());
    let host = lab.namespace("a").unwrap();

    let streams = host.inside(|| TcpListener::bind((guest, STREAM_PORT))).unwrap();
    let streamer = thread::spawn(move || {
        let mut client = streams.accept().unwrap().0;
        for sequence in 0..3 {
            client.write_all(&frame::encode(Pattern::new(1), sequence, 100_000)).unwrap();
        }
    });
    let stream = StreamReader::open(&lab, guest, PATIENCE).unwrap();
    until("the stream ends", || stream.end().is_some());
    assert_eq!(stream.end(), Some(StreamEnd::Closed));
    assert_eq!(stream.arrivals(|frames| frames.newest().unwrap().sequence), 2);
    streamer.join().unwrap();

    let controls = host.inside(|| TcpListener::bind((guest, CONTROL_PORT))).unwrap();
    let controlled = thread::spawn(move || {
        let mut client = BufReader::new(controls.accept().unwrap().0);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        client.get_mut().write_all(b"{\"reply\":\"done\"}\n").unwrap();
        line
    });
    Control::open(&lab, guest, PATIENCE).unwrap().rate(7).unwrap();
    assert_eq!(controlled.join().unwrap(), "{\"cmd\":\"rate\",\"rate\":7}\n");

    let begin = Instant::now();
    let beacons = BeaconReceiver::listen(&lab, 0).unwrap();
    let socket = host.inside(|| UdpSocket::bind((guest, 0))).unwrap();
    for sequence in [0, 1, 3] {
        let (slot, guest_time, work) = (sequence, Duration::ZERO, sequence);
        let (check_failures, boot, workload) = (0, 1, Workload::Zipf);
        let beacon = Beacon { sequence, slot, guest_time, work, check_failures, boot, workload };
        socket.send_to(&beacon.to_bytes(), beacons.address()).unwrap();
    }
    until("the beacon is heard", || beacons.arrivals(|arrivals| arrivals.len() == 3));
    let reception = beacons.arrivals(|arrivals| arrivals.reception(begin..Instant::now()));
    assert_eq!(reception.unwrap().lost, 1);
    assert_eq!(beacons.signs().workload, Some(Workload::Zipf));
}
