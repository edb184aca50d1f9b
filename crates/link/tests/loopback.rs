//! A link between two threads of one process, over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use punctual_link::{Incoming, Link, LinkFault, Listener, Receiver, Sender, Timeouts, probe};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PageRange, Pages, Region};
use punctual_wire::pages::Encoder;
use punctual_wire::{DestinationMessage, Kind, SourceMessage};

const PAGE: usize = 4096;

fn layout() -> MemoryLayout {
    let region = Region { name: "ram0".to_owned(), size: Bytes::mib(64) };
    MemoryLayout::new(vec![region]).unwrap()
}

fn encoder() -> Encoder {
    Encoder::new(layout(), [9; 32], Bytes::mib(1))
}

fn pair() -> (Link, Link) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let timeouts = Timeouts::default();
    thread::scope(|scope| {
        let source = scope.spawn(|| Link::connect(listener.address(), &timeouts).unwrap());
        let destination = listener.accept().unwrap().greet(&timeouts).unwrap();
        (source.join().unwrap(), destination)
    })
}

/// A sender and the receiver at its other end; the other halves are kept alive.
struct OneWay {
    sender: Sender,
    receiver: Receiver,
    _others: (Receiver, Sender),
}

fn one_way() -> OneWay {
    let (source, destination) = pair();
    let (sender, other_receiver) = source.split();
    let (other_sender, receiver) = destination.split();
    OneWay { sender, receiver, _others: (other_receiver, other_sender) }
}

fn ram_file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 3) as u8 ^ (at >> 12) as u8).collect()
}

#[test]
fn messages_go_both_ways() {
    let (source, destination) = pair();
    let (mut to_destination, mut from_destination) = source.split();
    let (mut to_source, mut from_source) = destination.split();
    for message in [SourceMessage::RoundEnd { round: 3 }, SourceMessage::Commit] {
        to_destination.send(&message).unwrap();
        assert_eq!(from_source.receive_message::<SourceMessage>().unwrap(), message);
    }
    to_source.send(&DestinationMessage::Prepared).unwrap();
    let answer: DestinationMessage = from_destination.receive_message().unwrap();
    assert_eq!(answer, DestinationMessage::Prepared);
    assert_eq!(to_destination.sent().total(), from_source.received());
    assert_eq!(to_source.sent().total(), from_destination.received());
}

#[test]
fn pages_and_messages_share_a_link() {
    let OneWay { sender, mut receiver, _others } = one_way();
    let memory = pattern(1000 * PAGE);
    let file = ram_file(&memory);
    let sender = Mutex::new(sender);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut encoder = encoder();
            for start in (0..1000).step_by(100) {
                let raw = encoder.raw(PageRange::new(start, start + 100)).unwrap();
                let offset = Pages::new(start).bytes();
                sender.lock().unwrap().send_raw(raw, file.as_fd(), offset).unwrap();
                sender.lock().unwrap().send_packed(&[start as u8; 700]).unwrap();
            }
            sender.lock().unwrap().send(&SourceMessage::Commit).unwrap();
        });
        scope.spawn(|| {
            for piece in 0..50_u8 {
                let message = SourceMessage::DeviceState(vec![piece; 1000]);
                sender.lock().unwrap().send(&message).unwrap();
            }
        });

        let mut arrived = vec![0; memory.len()];
        let (mut packed, mut pieces, mut commit) = (0, 0, false);
        while !commit || pieces < 50 {
            match receiver.receive::<SourceMessage>(&layout()).unwrap() {
                Incoming::RawPages(pages) => {
                    let start = pages.pages().start.0 as usize * PAGE;
                    pages.take_into(&mut arrived[start..start + 100 * PAGE]).unwrap();
                }
                Incoming::Packed(payload) => {
                    assert_eq!(payload, [(packed * 100) as u8; 700]);
                    packed += 1;
                }
                Incoming::Message(SourceMessage::DeviceState(bytes)) => {
                    assert_eq!(bytes, [pieces; 1000]);
                    pieces += 1;
                }
                Incoming::Message(message) => commit = message == SourceMessage::Commit,
            }
        }
        assert_eq!(packed, 10);
        assert!(arrived == memory);
    });
    let sent = sender.lock().unwrap().sent();
    assert_eq!(sent.raw_pages, Pages::new(1000));
    assert_eq!(sent.total(), receiver.received());
}

#[test]
fn a_file_without_sendfile_is_copied() {
    // This process's own memory as a file: it can be read at an offset, and not be spliced from.
    let memory = pattern(100 * PAGE);
    let file = match File::open("/proc/self/mem") {
        Ok(file) => file,
        Err(error) => return println!("SKIP: /proc/self/mem: {error}"),
    };
    assert_eq!(arrived_from(file, memory.as_ptr().addr() as u64), memory);
}

#[test]
fn a_file_that_keeps_no_offset_is_sent() {
    let file = match File::open("/dev/zero") {
        Ok(file) => file,
        Err(error) => return println!("SKIP: /dev/zero: {error}"),
    };
    assert_eq!(arrived_from(file, 0), vec![0; 100 * PAGE]);
}

/// What arrives of 100 pages sent from this place of a file.
fn arrived_from(file: File, offset: u64) -> Vec<u8> {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    let raw = encoder().raw(PageRange::new(0, 100)).unwrap();
    let sending = thread::spawn(move || sender.send_raw(raw, file.as_fd(), Bytes::new(offset)));
    let mut arrived = vec![1; 100 * PAGE];
    match receiver.receive::<SourceMessage>(&layout()).unwrap() {
        Incoming::RawPages(pages) => pages.take_into(&mut arrived).unwrap(),
        other => panic!("{other:?}"),
    }
    sending.join().unwrap().unwrap();
    arrived
}

#[test]
fn pages_can_be_given_and_taken_by_the_caller() {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    let memory = pattern(300 * PAGE);
    let mut arrived = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let raw = encoder().raw(PageRange::new(5, 305)).unwrap();
            let give = |socket: BorrowedFd<'_>, done: Bytes, left: Bytes| {
                let from = done.get() as usize;
                let piece = &memory[from..from + left.get().min(10_000) as usize];
                Ok(rustix::net::send(socket, piece, rustix::net::SendFlags::empty())?)
            };
            sender.send_raw_with(raw, give).unwrap();
        });
        match receiver.receive::<SourceMessage>(&layout()).unwrap() {
            Incoming::RawPages(pages) => {
                assert_eq!(pages.pages(), PageRange::new(5, 305));
                let mut piece = [0; 7000];
                let take = |socket: BorrowedFd<'_>, _, left: Bytes| {
                    let piece = &mut piece[..left.get().min(7000) as usize];
                    let (_, taken) =
                        rustix::net::recv(socket, &mut *piece, rustix::net::RecvFlags::empty())?;
                    arrived.extend_from_slice(&piece[..taken]);
                    Ok(taken)
                };
                pages.take_with(take).unwrap();
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(arrived == memory);
    assert_eq!(sender.sent().total(), receiver.received());
}

#[test]
fn a_file_that_is_too_short_is_named() {
    let OneWay { mut sender, .. } = one_way();
    let file = ram_file(&[1; PAGE]);
    let raw = encoder().raw(PageRange::new(0, 2)).unwrap();
    let error = sender.send_raw(raw, file.as_fd(), Bytes::ZERO).unwrap_err();
    assert!(matches!(error.fault, LinkFault::Memory { offset: 4096, .. }), "{error}");
}

#[test]
fn raw_pages_must_be_taken() {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    let file = ram_file(&[1; PAGE]);
    let raw = encoder().raw(PageRange::new(0, 1)).unwrap();
    sender.send_raw(raw, file.as_fd(), Bytes::ZERO).unwrap();
    assert!(matches!(receiver.receive::<SourceMessage>(&layout()), Ok(Incoming::RawPages(_))));
    let error = receiver.receive::<SourceMessage>(&layout()).unwrap_err();
    assert!(matches!(error.fault, LinkFault::NotTaken(4096)), "{error}");
}

#[test]
fn what_has_no_place_is_refused() {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    sender.send(&DestinationMessage::Prepared).unwrap();
    let error = receiver.receive::<SourceMessage>(&layout()).unwrap_err();
    assert!(matches!(error.fault, LinkFault::Unexpected { found: Kind::Destination, .. }));

    sender.send_packed(&[0]).unwrap();
    let error = receiver.receive_message::<SourceMessage>().unwrap_err();
    assert!(matches!(error.fault, LinkFault::Unexpected { found: Kind::PackedPages, .. }));

    let elsewhere = Region { name: "ram0".to_owned(), size: Pages::new(10).bytes() };
    let small = MemoryLayout::new(vec![elsewhere]).unwrap();
    let file = ram_file(&pattern(11 * PAGE));
    let raw = encoder().raw(PageRange::new(0, 11)).unwrap();
    sender.send_raw(raw, file.as_fd(), Bytes::ZERO).unwrap();
    let error = receiver.receive::<SourceMessage>(&small).unwrap_err();
    assert!(matches!(error.fault, LinkFault::RawPages(_)), "{error}");
}

#[test]
fn a_message_that_is_too_long_is_refused_and_harms_nothing() {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    let error = sender.send(&SourceMessage::DeviceState(vec![0; 300 << 10])).unwrap_err();
    assert!(error.to_string().contains("send it in pieces"), "{error}");
    sender.send(&SourceMessage::Commit).unwrap();
    assert_eq!(receiver.receive_message::<SourceMessage>().unwrap(), SourceMessage::Commit);
}

#[test]
fn the_queue_is_empty_once_all_has_arrived() {
    let OneWay { mut sender, mut receiver, _others } = one_way();
    sender.send(&SourceMessage::Commit).unwrap();
    receiver.receive_message::<SourceMessage>().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while sender.unacknowledged().unwrap() > Bytes::ZERO {
        assert!(std::time::Instant::now() < deadline, "never acknowledged");
        thread::yield_now();
    }
    assert_eq!(sender.unsent().unwrap(), Bytes::ZERO);
    let way = sender.way().unwrap();
    assert!(Duration::ZERO < way.least_round_trip && way.least_round_trip <= way.round_trip);
    assert!(way.segment >= Bytes::new(500), "{way:?}");
}

#[test]
fn a_probe_of_a_paced_link_tells_a_rate() {
    let (source, destination) = pair();
    source.pace(Some(BytesPerSecond::megabits(200))).unwrap();
    let (mut sender, _keep) = source.split();
    let (_keep_too, mut receiver) = destination.split();
    let sending = thread::spawn(move || {
        probe::send(&mut sender, None).unwrap();
        sender
    });
    let mut meter = probe::Meter::default();
    while let SourceMessage::Probe(padding) = receiver.receive_message().unwrap() {
        meter.arrived(&padding);
    }
    sending.join().unwrap();
    // How near it is to the rate depends on when this thread gets a processor.
    assert!(meter.rate().is_some());
}
