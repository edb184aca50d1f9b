//! How long a word takes to the other host and back while nothing else is on the link.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::summary::Spread;
use crate::Lab;

/// How many echoes are timed.
const ECHOES: usize = 200;
/// What is sent to and fro: as much as a request for a page, about.
const WORD: usize = 32;
/// An echo that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// The times of 200 echoes over TCP between the programs of two hosts, over the shaped link that
/// moves use too, in milliseconds. Blocks for as long as they take.
pub(super) fn measure(lab: &Lab, from: &str, to: &str) -> io::Result<Option<Spread>> {
    let namespace = |host| lab.namespace(host).map_err(io::Error::other);
    let address = lab.host(to).map_err(io::Error::other)?.address;
    let listener = namespace(to)?.inside(|| TcpListener::bind((address, 0)))?;
    let port = listener.local_addr()?.port();
    thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&listener));
        let times = namespace(from)?
            .inside(|| TcpStream::connect_timeout(&(address, port).into(), PATIENCE))
            .and_then(time);
        // Where nobody connected, this ends the other side's waiting.
        if times.is_err() {
            let _ = namespace(to)?.inside(|| TcpStream::connect((address, port)));
        }
        let echoed = echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let times = times?;
        echoed?;
        Ok(Spread::of(times.iter().map(|time| time.as_secs_f64() * 1e3)))
    })
}

fn echo(listener: &TcpListener) -> io::Result<()> {
    let mut connection = prepared(listener.accept()?.0)?;
    let mut word = [0; WORD];
    loop {
        match connection.read_exact(&mut word) {
            Ok(()) => connection.write_all(&word)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn time(connection: TcpStream) -> io::Result<Vec<Duration>> {
    let mut connection = prepared(connection)?;
    let mut word = [0; WORD];
    (0..ECHOES)
        .map(|_| {
            let begun = Instant::now();
            connection.write_all(&word)?;
            connection.read_exact(&mut word)?;
            Ok(begun.elapsed())
        })
        .collect()
}

fn prepared(connection: TcpStream) -> io::Result<TcpStream> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn every_echo_is_timed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let times = thread::scope(|scope| {
            let echo = scope.spawn(|| echo(&listener));
            let times = time(TcpStream::connect(address).unwrap()).unwrap();
            echo.join().unwrap().unwrap();
            times
        });
        assert_eq!(times.len(), ECHOES);
        assert!(times.iter().all(|time| !time.is_zero()));
    }
}
