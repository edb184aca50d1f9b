//! Every way in which a link can break ends in an error that says which, and never in a wait for
//! ever.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use punctual_link::{Link, LinkError, LinkFault, Listener, Timeouts};
use punctual_wire::{Header, Kind, SourceMessage, Version, Versions};

fn quick() -> Timeouts {
    Timeouts {
        connect: Duration::from_millis(300),
        silence: Duration::from_millis(200),
        stall: Duration::from_millis(200),
        lost: Duration::from_secs(1),
    }
}

/// A link whose other end is in the hands of the test, the handshake done.
fn raw_peer() -> (Link, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::scope(|scope| {
        let link = scope.spawn(|| Link::connect(&address, &quick()).unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream, Versions::SPOKEN);
        (link.join().unwrap(), stream)
    })
}

/// The other side's part of the handshake, by hand.
fn greet(stream: &mut TcpStream, versions: Versions) {
    let hello = versions.to_hello();
    let header = Header::write(Version::HANDSHAKE, Kind::Hello, &hello).unwrap();
    stream.write_all(&[&header[..], &hello].concat()).unwrap();
    let mut theirs = [0; 24];
    stream.read_exact(&mut theirs).unwrap();
}

/// What a link makes of these bytes.
fn received(bytes: &[u8]) -> LinkFault {
    let (link, mut stream) = raw_peer();
    stream.write_all(bytes).unwrap();
    link.split().1.receive_message::<SourceMessage>().unwrap_err().fault
}

fn commit() -> Vec<u8> {
    let mut payload = Vec::new();
    punctual_wire::encode(&SourceMessage::Commit, &mut payload).unwrap();
    let header = Header::write(Version(2), Kind::Source, &payload).unwrap();
    [&header[..], &payload].concat()
}

/// What comes of connecting to something that answers with `answer`.
fn connected_to(answer: impl FnOnce(TcpStream) + Send) -> LinkError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::scope(|scope| {
        scope.spawn(|| answer(listener.accept().unwrap().0));
        Link::connect(&address, &quick()).unwrap_err()
    })
}

#[test]
fn nobody_listens() {
    // Bound and not listening: the port stays free for nobody else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Link::connect(&address, &quick()).unwrap_err();
    assert!(matches!(error.fault, LinkFault::Connect { .. }), "{error}");
    assert!(error.fault.may_pass());
    assert!(error.to_string().contains("punctual host"), "{error}");
}

#[test]
fn an_address_that_is_none() {
    let error = Link::connect("no port", &quick()).unwrap_err();
    assert!(matches!(error.fault, LinkFault::Resolve(_)), "{error}");
    let error = Listener::bind("192.0.2.1:7070").unwrap_err();
    assert!(matches!(error.fault, LinkFault::Listen(_)), "{error}");
}

#[test]
fn a_port_that_is_taken() {
    let first = Listener::bind("127.0.0.1:0").unwrap();
    let error = Listener::bind(first.address()).unwrap_err();
    assert!(error.to_string().contains("a port that is free"), "{error}");
}

#[test]
fn something_else_answers() {
    let error = connected_to(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    });
    assert!(error.to_string().contains("something other than Punctual"), "{error}");
}

#[test]
fn who_answers_says_nothing() {
    let error = connected_to(|mut stream| {
        // Until the other side gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(matches!(error.fault, LinkFault::Silent(_)), "{error}");
}

#[test]
fn no_version_in_common() {
    let error = connected_to(|mut stream| {
        greet(&mut stream, Versions::new(Version(8), Version(9)).unwrap());
    });
    assert!(matches!(error.fault, LinkFault::Version(_)), "{error}");
    assert!(error.to_string().contains("install a newer Punctual on this host"), "{error}");
}

#[test]
fn frames_that_are_none() {
    let good = commit();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        received(&bytes).to_string()
    };
    assert!(changed(0, b'X').contains("something other than Punctual"));
    assert!(changed(4, 7).contains("version 7"));
    assert!(changed(6, 77).contains("kind 77"));
    assert!(changed(11, 0x10).contains("longer than"));
    assert!(changed(12, good[12] ^ 1).contains("changed on the way"));
    assert!(changed(20, good[20] ^ 1).contains("changed on the way"));
}

#[test]
fn the_peer_closes_between_frames() {
    let (link, mut stream) = raw_peer();
    stream.write_all(&commit()).unwrap();
    drop(stream);
    let (_sender, mut receiver) = link.split();
    assert_eq!(receiver.receive_message::<SourceMessage>().unwrap(), SourceMessage::Commit);
    let error = receiver.receive_message::<SourceMessage>().unwrap_err();
    assert!(matches!(error.fault, LinkFault::Closed), "{error}");
}

#[test]
fn the_peer_dies_inside_a_frame() {
    for length in [1, 19, 20] {
        let (link, mut stream) = raw_peer();
        stream.write_all(&commit()[..length]).unwrap();
        drop(stream);
        let error = link.split().1.receive_message::<SourceMessage>().unwrap_err();
        assert!(matches!(error.fault, LinkFault::CutOff), "{length} bytes: {error}");
    }
}

#[test]
fn the_peer_falls_silent() {
    let (link, _stream) = raw_peer();
    let error = link.split().1.receive_message::<SourceMessage>().unwrap_err();
    assert!(matches!(error.fault, LinkFault::Silent(time) if time == quick().silence), "{error}");

    let (link, mut stream) = raw_peer();
    stream.write_all(&commit()[..10]).unwrap();
    let error = link.split().1.receive_message::<SourceMessage>().unwrap_err();
    assert!(matches!(error.fault, LinkFault::Silent(_)), "inside a frame: {error}");
}

#[test]
fn the_peer_stops_reading() {
    let (link, _stream) = raw_peer();
    let (mut sender, _receiver) = link.split();
    let message = SourceMessage::DeviceState(vec![0; 200 << 10]);
    // The socket buffers of both sides are far smaller.
    let error = (0..1000).find_map(|_| sender.send(&message).err()).unwrap();
    assert!(matches!(error.fault, LinkFault::Stalled(_) | LinkFault::Lost(_)), "{error}");
}

#[test]
fn a_closer_ends_a_wait_from_another_thread() {
    let (link, _stream) = raw_peer();
    let closer = link.closer();
    let (mut sender, mut receiver) = link.split();
    receiver.set_silence(Duration::from_secs(60)).unwrap();
    let waiting = thread::spawn(move || receiver.receive_message::<SourceMessage>().unwrap_err());
    closer.close();
    let error = waiting.join().unwrap();
    assert!(matches!(error.fault, LinkFault::Cancelled), "{error}");
    let error = sender.send(&SourceMessage::Commit).unwrap_err();
    assert!(matches!(error.fault, LinkFault::Cancelled), "{error}");
}

#[test]
fn a_listener_can_be_closed() {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| listener.accept().unwrap_err());
        listener.close();
        let error = waiting.join().unwrap();
        assert!(matches!(error.fault, LinkFault::Cancelled), "{error}");
    });
}
