//! The Linux guest, booted under TCG: it does its workloads, sends its beacon, streams, and finds
//! every byte that is changed behind its back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use punctual_guest_protocol::control::{CheckReport, Place, Reply, Request, Status};
use punctual_guest_protocol::options::Network;
use punctual_guest_protocol::{Beacon, CONTROL_PORT, Options, STREAM_PORT, Workload, frame};
use punctual_images::{BASE_ARGUMENTS, initramfs, kernel, write_disk};

use crate::machine::{Machine, alone, flip, ip, poll};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const BEACON_PORT: u16 = 6000;

struct Guest {
    machine: Machine,
    beacons: UdpSocket,
    control: BufReader<TcpStream>,
}

impl Guest {
    /// Boots a guest and waits until it is ready.
    fn boot(options: &Options, disk: Option<&Path>) -> Self {
        ip("link set lo up");
        ip("tuntap add tap0 mode tap");
        ip(&format!("addr add {HOST}/24 dev tap0"));
        ip("link set tap0 up");
        let beacons = UdpSocket::bind((HOST, BEACON_PORT)).unwrap();
        beacons.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let options = Options {
            ip: Some(Network { address: GUEST, prefix: 24 }),
            beacon: Some(SocketAddrV4::new(HOST, BEACON_PORT)),
            ..options.clone()
        };
        let mut arguments = vec![
            "-kernel".to_owned(),
            kernel().unwrap().display().to_string(),
            "-initrd".to_owned(),
            initramfs().unwrap().display().to_string(),
            "-append".to_owned(),
            format!("{BASE_ARGUMENTS} {options}"),
        ];
        let mut add = |words: &str| arguments.extend(words.split(' ').map(str::to_owned));
        add("-netdev tap,id=net0,ifname=tap0,script=no,downscript=no");
        add("-device virtio-net-pci,netdev=net0,romfile=");
        if let Some(disk) = disk {
            add(&format!("-drive id=disk0,if=none,format=raw,file={}", disk.display()));
            add("-device virtio-blk-pci,drive=disk0");
        }
        let mut machine = Machine::start("tcg", 256, &arguments);
        let control = poll("the guest's control port", || {
            machine.expect_running();
            let port = (GUEST, CONTROL_PORT).into();
            TcpStream::connect_timeout(&port, Duration::from_secs(1)).ok()
        });
        control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { machine, beacons, control: BufReader::new(control) }
    }

    fn ask(&mut self, request: &Request) -> Reply {
        let mut line = serde_json::to_string(request).unwrap();
        line.push('\n');
        self.control.get_mut().write_all(line.as_bytes()).unwrap();
        line.clear();
        self.control.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    fn status(&mut self) -> Status {
        match self.ask(&Request::Status) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn check(&mut self) -> CheckReport {
        match self.ask(&Request::Check) {
            Reply::Check(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn switch(&mut self, name: Workload) {
        let request = Request::Workload { name, rate: None, set: None };
        assert_eq!(self.ask(&request), Reply::Done, "{name}");
    }

    fn beacon(&self) -> Beacon {
        let mut datagram = [0; 1500];
        let length = self.beacons.recv(&mut datagram).unwrap();
        Beacon::from_bytes(&datagram[..length]).unwrap()
    }
}

const SMALL: Options = Options {
    ip: None,
    beacon: None,
    workload: Workload::Uniform,
    fill: 16 << 20,
    set: 8 << 20,
    rate: 2000,
    catch_up: Duration::from_millis(50),
    seed: 11,
    read: punctual_guest_protocol::options::ReadMode::Both,
    read_size: 1 << 18,
    stream: 100_000,
};

#[test]
fn a_byte_changed_from_outside_is_found() {
    alone(|| {
        let mut guest = Guest::boot(&SMALL, None);
        let before = guest.check();
        assert_eq!(before, CheckReport { ok: true, pages_checked: 6144, wrong: None });

        guest.switch(Workload::Idle);
        let Reply::Page { address } = guest.ask(&Request::Locate { page: 100 }) else {
            panic!("page 100 cannot be located");
        };
        let expected = guest.machine.flip(address + 5);
        let report = guest.check();
        let wrong = report.wrong.expect("the flipped byte is found");
        assert_eq!((wrong.place, wrong.page, wrong.offset), (Place::Set, 100, 5));
        assert_eq!((wrong.expected, wrong.found), (expected, expected ^ 1));
        assert_eq!(wrong.address, Some(address + 5));
        assert_eq!((report.ok, report.pages_checked), (false, 100));

        poll("a beacon that tells of the failure", || {
            (guest.beacon().check_failures == 1).then_some(())
        });
        assert_eq!(guest.status().first_failure, Some(wrong));
        assert!(guest.machine.console().contains("CHECK FAILED: Set page 100"));
        guest.machine.flip(address + 5);
        assert!(guest.check().ok);
    });
}

#[test]
fn every_workload_works_and_stays_sound() {
    alone(|| {
        let mut guest = Guest::boot(&SMALL, None);
        let first = guest.beacon();
        for workload in Workload::ALL {
            if matches!(workload, Workload::Idle | Workload::Reader) {
                continue;
            }
            guest.switch(workload);
            let work = guest.status().work;
            poll("work", || (guest.status().work > work + 100).then_some(()));
            assert_eq!(guest.check().wrong, None, "{workload}");
        }
        let missing_disk = Request::Workload { name: Workload::Reader, rate: None, set: None };
        let Reply::Error { message } = guest.ask(&missing_disk) else { panic!("there is no disk") };
        assert!(message.contains("virtio-blk-pci"), "{message}");
        assert_eq!(guest.status().check_failures, 0);
        assert_eq!(guest.beacon().boot, first.boot);
    });
}

#[test]
fn frames_arrive_whole_and_in_order() {
    alone(|| {
        let mut guest = Guest::boot(&Options { workload: Workload::Stream, ..SMALL }, None);
        let mut stream = TcpStream::connect((GUEST, STREAM_PORT)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for sequence in 0..30 {
            let mut header = [0; frame::HEADER_LENGTH];
            stream.read_exact(&mut header).unwrap();
            let header = frame::Header::from_bytes(&header).unwrap();
            let mut payload = vec![0; header.length];
            stream.read_exact(&mut payload).unwrap();
            header.check(&payload).unwrap();
            assert_eq!(header.sequence, sequence);
            assert_eq!(header.length + frame::HEADER_LENGTH, 4000);
        }
        assert_eq!(guest.status().stream_clients, 1);
        drop(stream);
        poll("the client's leave", || (guest.status().stream_clients == 0).then_some(()));
    });
}

#[test]
fn the_disk_is_read_and_checked() {
    alone(|| {
        let files = tempfile::tempdir().unwrap();
        let disk = files.path().join("disk.raw");
        let size = 8 << 20;
        write_disk(&disk, size, SMALL.seed).unwrap();
        let options = Options { workload: Workload::Reader, rate: 8192, fill: 0, ..SMALL };
        let mut guest = Guest::boot(&options, Some(&disk));
        poll("three passes over the disk", || {
            (guest.status().disk_bytes_checked > 3 * size).then_some(())
        });
        assert_eq!(guest.check().wrong, None);

        let expected = flip(&disk, 777 * 4096 + 9);
        let wrong = poll("the changed byte", || guest.status().first_failure);
        assert_eq!((wrong.place, wrong.page, wrong.offset), (Place::Disk, 777, 9));
        assert_eq!((wrong.expected, wrong.found), (expected, expected ^ 1));
    });
}
