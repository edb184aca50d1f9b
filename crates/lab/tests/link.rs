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

use support::{TestLab, name, skip};

/// What a link let through.
#[derive(Debug)]
struct Through {
    /// In the whole time.
    all: Bytes,
    time: Duration,
    /// The most in one of its parts.
    best: BytesPerSecond,
}

impl Through {
    /// Nobody got more than the link has, and somebody could get nearly all of it.
    fn is_a_link_of(&self, stated: BytesPerSecond) -> bool {
        // What HTB's burst gives beyond the rate, once.
        let most = stated.bytes_in(self.time + Duration::from_millis(10));
        self.all < most && self.best >= nearly(stated)
    }
}

/// Headers take 5 %, and a busy machine some.
fn nearly(rate: BytesPerSecond) -> BytesPerSecond {
    BytesPerSecond::new(rate.get() * 85 / 100)
}

/// A TCP stream between two places, until a part of it had a rate of `enough`: other programs may
/// need the processors meanwhile.
fn stream(lab: &Lab, from: &str, to: &str, enough: BytesPerSecond) -> Through {
    const PART: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);
    let address = lab.host(to).map_or(lab.client().address, |host| host.address);
    let listen = || TcpListener::bind((address, 0));
    let listener = lab.namespace(to).unwrap().inside(listen).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect(address);
    let begin = Instant::now();
    let mut sender = lab.namespace(from).unwrap().inside(connect).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    std::thread::scope(|scope| {
        // Until the receiver closes.
        scope.spawn(move || while sender.write_all(&[0; 1 << 16]).is_ok() {});
        let (mut all, mut best, mut buffer) = (0, BytesPerSecond::ZERO, vec![0; 1 << 18]);
        while best < enough && begin.elapsed() < PATIENCE {
            let (part, mut bytes) = (Instant::now(), 0);
            while part.elapsed() < PART {
                bytes += receiver.read(&mut buffer).unwrap() as u64;
            }
            all += bytes;
            best = best.max(Bytes::new(bytes).per(part.elapsed()).unwrap());
        }
        drop(receiver);
        Through { all: Bytes::new(all), time: begin.elapsed(), best }
    })
}

#[test]
fn a_link_has_the_rate_that_was_stated() {
    for megabits in [100, 1000] {
        let rate = BytesPerSecond::megabits(megabits);
        let Some(lab) = TestLab::up(&format!("rate{megabits}"), Some(rate)) else { return };
        for (from, to) in [("a", "b"), ("b", "a"), ("a", "client"), ("client", "b")] {
            let through = stream(&lab, from, to, nearly(rate));
            assert!(through.is_a_link_of(rate), "{from} to {to} at {rate}: {through:?}");
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
    for (from, to, rate) in [("a", "b", fast), ("a", "client", slow), ("client", "b", slow)] {
        let through = stream(&lab, from, to, nearly(rate));
        assert!(through.is_a_link_of(rate), "{from} to {to} at {rate}: {through:?}");
    }
}

#[test]
fn a_link_in_use_gets_another_rate() {
    let rate = BytesPerSecond::megabits;
    for (test, sharing) in [("one", Sharing::OneQueue), ("guests", Sharing::GuestsFirst)] {
        let spec = LabSpec { sharing, ..LabSpec::two_hosts(name(test), Some(rate(100))) };
        let Some(lab) = TestLab::of(&spec) else { return };
        for rate in [rate(1000), rate(50), rate(300)] {
            lab.set_rates(rate).unwrap();
            let through = stream(&lab, "a", "b", nearly(rate));
            assert!(through.is_a_link_of(rate), "{sharing:?}, {rate}: {through:?}");
            let noted = Lab::open(&lab.state().name).unwrap().state().hosts[1].rate;
            assert_eq!(noted, Some(rate));
        }
    }
}

#[test]
fn a_link_without_a_rate_gets_none_later() {
    let Some(lab) = TestLab::up("unshaped", None) else { return };
    let error = lab.set_rates(BytesPerSecond::megabits(100)).unwrap_err().to_string();
    assert!(error.contains("link of host a"), "{error}");
    let error = lab.set_rates(BytesPerSecond::new(10)).unwrap_err().to_string();
    assert!(error.contains("80 bit/s"), "{error}");
}

#[test]
fn a_link_without_a_rate_is_not_slowed() {
    let Some(lab) = TestLab::up("free", None) else { return };
    // Some 10 Gbit/s; that it is beyond any rate that a lab could be given by mistake is enough.
    let fast = BytesPerSecond::megabits(1500);
    let through = stream(&lab, "a", "b", fast);
    assert!(through.best >= fast, "{through:?}");
}

#[test]
fn iperf_measures_what_a_link_lets_through() {
    let rate = BytesPerSecond::megabits(500);
    let Some(lab) = TestLab::up("iperf", Some(rate)) else { return };
    if Command::new("iperf3").arg("--version").output().is_err() {
        skip("iperf3 is not installed");
        return;
    }
    let measured = bandwidth::measure(&lab, "a", "b", Duration::from_secs(1)).unwrap();
    assert!(measured.rate <= rate && measured.bytes > Bytes::ZERO, "{measured:?}");
    let error = bandwidth::measure(&lab, "a", "nowhere", Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("has no host `nowhere`"), "{error}");
}

/// A guest's beacon, sent from an address that is not the host's own, beside a full link.
fn beside_a_stream(lab: &Lab, rate: BytesPerSecond) {
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
        let through = stream(lab, "a", "b", nearly(rate));
        let reception = receiver.arrivals(|arrivals| arrivals.reception(begin..Instant::now()));
        ended.store(true, Ordering::Relaxed);
        let reception = reception.unwrap();
        println!("beside {}: {reception:?}", through.best);
        assert_eq!(reception.duplicated, 0);
        let lost = reception.lost as f64 / (reception.received + reception.lost) as f64;
        assert!(lost < 0.05, "{reception:?}");
    });
}

#[test]
fn a_beacon_gets_through_beside_a_full_link() {
    let rate = BytesPerSecond::megabits(1000);
    let Some(lab) = TestLab::up("beside", Some(rate)) else { return };
    beside_a_stream(&lab, rate);
}

#[test]
fn guests_can_go_first() {
    let rate = BytesPerSecond::megabits(100);
    let sharing = Sharing::GuestsFirst;
    let spec = LabSpec { sharing, ..LabSpec::two_hosts(name("first"), Some(rate)) };
    let Some(lab) = TestLab::of(&spec) else { return };
    beside_a_stream(&lab, rate);
}
