use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::*;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn until(load: &Load, what: impl Fn(&LoadSeen) -> bool) -> LoadSeen {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = load.seen();
        if what(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads a request over HTTP to its empty line.
fn request(server: &mut BufReader<TcpStream>) -> String {
    let mut lines = server.by_ref().lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    first
}

#[test]
fn a_stream_is_read_until_it_breaks() {
    let (client, server) = pair();
    let load = Load::on(vec![client], Demand::Stream).unwrap();
    let mut server = BufReader::new(server);
    assert_eq!(request(&mut server), "GET /clip HTTP/1.0");
    let begun = Instant::now();
    server.get_mut().write_all(b"HTTP/1.0 200 OK\r\nContent-Type: video\r\n\r\n12345").unwrap();
    until(&load, |seen| seen.bytes == 5);
    server.get_mut().write_all(b"678").unwrap();
    let seen = until(&load, |seen| seen.bytes == 8);
    assert_eq!((seen.arrivals, seen.ended), (2, vec![]));
    assert!(load.longest_silences(&(begun..Instant::now()))[0].is_some());
    drop(server);
    let seen = until(&load, |seen| !seen.ended.is_empty());
    assert_eq!(seen.ended, ["the server closed the connection"]);
}

#[test]
fn files_are_asked_for_one_after_the_other() {
    let (client, server) = pair();
    let load = Load::on(vec![client], Demand::Files).unwrap();
    let mut server = BufReader::new(server);
    for _ in 0..2 {
        assert!(request(&mut server).ends_with(" HTTP/1.1"));
        server.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").unwrap();
    }
    until(&load, |seen| (seen.bytes, seen.arrivals) == (6, 2));
    request(&mut server);
    server.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
    let seen = until(&load, |seen| !seen.ended.is_empty());
    assert_eq!(seen.ended, ["the server answers `HTTP/1.1 404 Not Found`"]);
}

#[test]
fn keys_are_written_and_read() {
    let mut commands = Vec::new();
    keys::command(&mut commands, &[b"SET", b"key:1", b"a\r\nb"]);
    assert_eq!(commands, b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$4\r\na\r\nb\r\n");
    let mut replies = BufReader::new(&b"+OK\r\n$-1\r\n$4\r\na\r\nb\r\n-ERR no\r\n"[..]);
    let lengths = [(); 3].map(|()| keys::read_reply(&mut replies).unwrap());
    assert_eq!(lengths, [0, 0, 4]);
    assert_eq!(keys::read_reply(&mut replies).unwrap_err().to_string(), "redis answers `-ERR no`");
}

#[test]
fn a_load_ends_while_the_server_is_silent() {
    let (client, _server) = pair();
    drop(Load::on(vec![client], Demand::Keys).unwrap());
}

#[test]
fn low_numbers_are_drawn_more_often() {
    let mut random = Random(7);
    let low = (0..1000).filter(|_| random.low(100) < 50).count();
    // Three quarters are expected; a draw of a thousand strays by less than five deviations.
    assert!((680..820).contains(&low), "{low}");
}
