//! What the links of a lab let through. Each test needs root and is skipped aloud without.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use punctual_guest_protocol::{Beacon, Workload};
use punctual_lab::client::BeaconReceiver;
use punctual_lab::{HostSpec, Lab, LabSpec, Sharing, bandwidth};
use punctual_units::{Bytes, BytesPerSecond};

use support::{TestLab, name};

/// A TCP stream between two places, received for `time` after it has come into its stride.
fn stream(lab: &Lab, from: &str, to: &str, time: Duration) -> BytesPerSecond {
    let address = match to {
        "client" => lab.client().address,
        host => lab.host(host).unwrap().address,
    };
    let listen = || TcpListener::bind((address, 0));
    let listener = lab.namespace(to).unwrap().inside(listen).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect(address);
    let mut sender = lab.namespace(from).unwrap().inside(connect).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    std::thread::scope(|scope| {
        // Until the receiver closes.
        scope.spawn(move || while sender.write_all(&[0; 1 << 16]).is_ok() {});
        let mut receive = |time: Duration| {
            let (begin, mut buffer, mut bytes) = (Instant::now(), vec![0; 1 << 18], 0);
            while begin.elapsed() < time {
                bytes += receiver.read(&mut buffer).unwrap() as u64;
            }
            Bytes::new(bytes).per(begin.elapsed()).unwrap()
        };
        receive(Duration::from_millis(300));
        let rate = receive(time);
        drop(receiver);
        rate
    })
}

fn is_about(measured: BytesPerSecond, stated: BytesPerSecond) -> bool {
    // Headers take 5 % of full frames.
    let ratio = measured.get() as f64 / stated.get() as f64;
    (0.85..=1.02).contains(&ratio)
}

#[test]
fn a_link_has_the_rate_that_was_stated() {
    for megabits in [100, 1000] {
        let rate = BytesPerSecond::megabits(megabits);
        let Some(lab) = TestLab::up(&format!("rate{megabits}"), Some(rate)) else { return };
        for (from, to) in [("a", "b"), ("b", "a"), ("a", "client"), ("client", "b")] {
            let measured = stream(&lab, from, to, Duration::from_millis(700));
            println!("{from} to {to} at {rate}: {measured}");
            assert!(is_about(measured, rate), "{from} to {to} at {rate}: {measured}");
        }
    }
}

#[test]
fn each_link_has_its_own_rate() {
    let host = |name: &str, rate| HostSpec { name: name.parse().unwrap(), rate };
    let (slow, fast) = (BytesPerSecond::megabits(50), BytesPerSecond::megabits(200));
    let spec = LabSpec {
        hosts: vec![host("a", None), host("b", Some(fast))],
        client_rate: Some(slow),
        ..LabSpec::two_hosts(name("own"), None)
    };
    let Some(lab) = TestLab::of(&spec) else { return };
    let time = Duration::from_millis(500);
    for (from, to, rate) in [("a", "b", fast), ("a", "client", slow), ("client", "b", slow)] {
        let measured = stream(&lab, from, to, time);
        assert!(is_about(measured, rate), "{from} to {to} at {rate}: {measured}");
    }
}

#[test]
fn a_link_without_a_rate_is_not_slowed() {
    let Some(lab) = TestLab::up("free", None) else { return };
    let measured = stream(&lab, "a", "b", Duration::from_millis(500));
    // Some 10 Gbit/s; that it is far from any rate that a lab is given by mistake is enough.
    assert!(measured > BytesPerSecond::megabits(1500), "{measured}");
}

#[test]
fn iperf_measures_what_a_link_lets_through() {
    let rate = BytesPerSecond::megabits(500);
    let Some(lab) = TestLab::up("iperf", Some(rate)) else { return };
    if Command::new("iperf3").arg("--version").output().is_err() {
        println!("SKIP: iperf3 is not installed");
        return;
    }
    let measured = bandwidth::measure(&lab, "a", "b", Duration::from_secs(1)).unwrap();
    assert!(is_about(measured.rate, rate), "{measured:?}");
    let error = bandwidth::measure(&lab, "a", "nowhere", Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("has no host `nowhere`"), "{error}");
}

/// A guest's beacon, sent from an address that is not the host's own, beside a full link.
fn beside_a_stream(lab: &Lab) {
    let guest = lab.state().subnet.guest(0).unwrap();
    let mut ip = Command::new("ip");
    ip.args(["address", "add", &format!("{guest}/24"), "dev", "br0"]);
    assert!(lab.exec("a", ip).unwrap().success());
    let receiver = BeaconReceiver::listen(lab, 0).unwrap();
    let bind = || UdpSocket::bind((guest, 0));
    let socket = lab.namespace("a").unwrap().inside(bind).unwrap();
    socket.connect(receiver.address()).unwrap();

    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in (0..).take_while(|_| !ended.load(Ordering::Relaxed)) {
                let (slot, guest_time) = (sequence, Duration::from_millis(sequence));
                let (work, check_failures, boot) = (sequence, 0, 1);
                let workload = Workload::Idle;
                let beacon =
                    Beacon { sequence, slot, guest_time, work, check_failures, boot, workload };
                socket.send(&beacon.to_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(receiver.wait(Duration::from_secs(20)));
        let begin = Instant::now();
        let rate = stream(lab, "a", "b", Duration::from_millis(700));
        let reception = receiver.arrivals(|arrivals| arrivals.reception(begin..Instant::now()));
        ended.store(true, Ordering::Relaxed);
        let reception = reception.unwrap();
        println!("beside {rate}: {reception:?}");
        assert_eq!((reception.duplicated, reception.reordered), (0, 0));
        assert!(reception.received > 100);
        let lost = reception.lost as f64 / (reception.received + reception.lost) as f64;
        assert!(lost < 0.05, "{reception:?}");
    });
}

#[test]
fn a_beacon_gets_through_beside_a_full_link() {
    let rate = Some(BytesPerSecond::megabits(1000));
    let Some(lab) = TestLab::up("beside", rate) else { return };
    beside_a_stream(&lab);
}

#[test]
fn guests_can_go_first() {
    let rate = Some(BytesPerSecond::megabits(100));
    let sharing = Sharing::GuestsFirst;
    let spec = LabSpec { sharing, ..LabSpec::two_hosts(name("first"), rate) };
    let Some(lab) = TestLab::of(&spec) else { return };
    beside_a_stream(&lab);
}
