//! Reading what a guest streams over TCP, and checking all of it.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use punctual_guest_protocol::STREAM_PORT;
use punctual_guest_protocol::frame::{BadFrame, HEADER_LENGTH, Header};
use thiserror::Error;

use super::arrivals::Arrivals;
use super::control::connect;
use crate::Lab;

/// Half an hour of frames.
const REMEMBERED: usize = 45_000;
/// How often the reader looks whether it shall end.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Reads a guest's stream on a thread of its own, until it is dropped or the stream ends.
///
/// Each frame that is whole is an arrival, its number the frame's, its work the bytes so far: a
/// stall of the stream is a gap between arrivals.
#[derive(Debug)]
pub struct StreamReader {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamEnd {
    /// The guest closed it, in the middle of a frame or after one.
    #[error("the guest closed the stream")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// What came is no frame, or not as it was sent.
    #[error("the stream is damaged: {0}")]
    Damaged(#[from] BadFrame),
    /// A frame is missing or came again, which TCP does not do.
    #[error("frame {expected} was due, and {found} came")]
    OutOfOrder {
        /// Number of the frame after the last.
        expected: u64,
        /// Number of the one that came.
        found: u64,
    },
}

#[derive(Debug)]
struct Shared {
    end: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    arrivals: Arrivals,
    end: Option<StreamEnd>,
}

impl StreamReader {
    /// Connects from the client of `lab` to a guest's stream, trying again for `patience` while
    /// the guest does not answer.
    ///
    /// # Errors
    /// The guest does not answer, or the lab is gone.
    pub fn open(lab: &Lab, guest: Ipv4Addr, patience: Duration) -> io::Result<Self> {
        let address = (guest, STREAM_PORT).into();
        Self::on(lab.client().namespace.inside(|| connect(address, patience))?)
    }

    /// Reads a connection.
    ///
    /// # Errors
    /// The connection or the thread cannot be set up.
    pub fn on(connection: TcpStream) -> io::Result<Self> {
        connection.set_read_timeout(Some(HEARTBEAT))?;
        let seen = Mutex::new(Seen { arrivals: Arrivals::new(REMEMBERED), end: None });
        let shared = Arc::new(Shared { end: AtomicBool::new(false), seen });
        let reader = thread::Builder::new().name("stream".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || read(connection, &shared)
        })?;
        Ok(Self { shared, reader: Some(reader) })
    }

    /// Asks about the frames so far; keep it short, as none is read meanwhile.
    pub fn arrivals<T>(&self, ask: impl FnOnce(&Arrivals) -> T) -> T {
        ask(&self.shared.seen().arrivals)
    }

    /// How the stream ended; `None` while it goes on. A guest that is silent has not ended it: it
    /// shows as a gap.
    #[must_use]
    pub fn end(&self) -> Option<StreamEnd> {
        self.shared.seen().end.clone()
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A panic there has been reported there.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(mut connection: TcpStream, shared: &Shared) {
    let mut bytes = 0;
    let mut payload = Vec::new();
    for expected in 0.. {
        match read_frame(&mut connection, shared, expected, &mut payload) {
            Ok(Some(length)) => {
                bytes += length as u64;
                shared.seen().arrivals.note(expected, Instant::now(), bytes);
            }
            Ok(None) => return,
            Err(end) => {
                shared.seen().end = Some(end);
                return;
            }
        }
    }
}

/// The length of the next frame, which must be number `expected`; `None` if the reader shall end.
fn read_frame(
    connection: &mut TcpStream,
    shared: &Shared,
    expected: u64,
    payload: &mut Vec<u8>,
) -> Result<Option<usize>, StreamEnd> {
    let mut header = [0; HEADER_LENGTH];
    if !fill(connection, shared, &mut header)? {
        return Ok(None);
    }
    let header = Header::from_bytes(&header)?;
    if header.sequence != expected {
        return Err(StreamEnd::OutOfOrder { expected, found: header.sequence });
    }
    payload.resize(header.length, 0);
    if !fill(connection, shared, payload)? {
        return Ok(None);
    }
    header.check(payload)?;
    Ok(Some(HEADER_LENGTH + header.length))
}

/// Whether the buffer was filled, rather than the reader told to end.
fn fill(
    connection: &mut TcpStream,
    shared: &Shared,
    mut buffer: &mut [u8],
) -> Result<bool, StreamEnd> {
    while !buffer.is_empty() {
        if shared.end.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match connection.read(buffer) {
            Ok(0) => return Err(StreamEnd::Closed),
            Ok(length) => buffer = &mut buffer[length..],
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Err(StreamEnd::Broken(error.to_string())),
            },
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use punctual_guest_protocol::Pattern;
    use punctual_guest_protocol::frame::encode;

    use super::*;

    fn reader() -> (StreamReader, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (StreamReader::on(client).unwrap(), listener.accept().unwrap().0)
    }

    fn end(reader: &StreamReader) -> StreamEnd {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(end) = reader.end() {
                return end;
            }
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn frame(sequence: u64) -> Vec<u8> {
        encode(Pattern::new(1), sequence, 10_000)
    }

    #[test]
    fn whole_frames_are_arrivals() {
        let (reader, mut guest) = reader();
        (0..5).for_each(|sequence| guest.write_all(&frame(sequence)).unwrap());
        guest.write_all(&frame(5)[..500]).unwrap();
        drop(guest);
        assert_eq!(end(&reader), StreamEnd::Closed);
        let length = frame(0).len() as u64;
        let last = reader.arrivals(|arrivals| *arrivals.newest().unwrap());
        assert_eq!((last.sequence, last.work), (4, 5 * length));
    }

    #[test]
    fn damage_is_told_from_disorder() {
        let (reader, mut guest) = self::reader();
        let mut damaged = frame(0);
        damaged[5000] ^= 1;
        guest.write_all(&damaged).unwrap();
        assert!(matches!(end(&reader), StreamEnd::Damaged(BadFrame::Checksum { .. })));

        let (reader, mut guest) = self::reader();
        guest.write_all(&frame(0)).unwrap();
        guest.write_all(&frame(2)).unwrap();
        assert_eq!(end(&reader), StreamEnd::OutOfOrder { expected: 1, found: 2 });
    }

    #[test]
    fn a_silent_stream_has_not_ended() {
        let (reader, mut guest) = reader();
        guest.write_all(&frame(0)).unwrap();
        assert_eq!(reader.end(), None);
        drop(reader);
    }
}
