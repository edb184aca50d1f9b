//! The stream of device state between QEMU and this process.

use std::io::{self, Cursor, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::migration;
use super::qmp::{Mark, Qmp};

/// Enough for all device state of an ordinary machine, so that QEMU never waits for a reader.
const BUFFER: usize = 8 << 20;
/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// Between the end of the stream and QEMU's word on it.
const VERDICT: Duration = Duration::from_secs(10);

/// Two ends of a stream with large buffers.
pub(super) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, qemus) = UnixStream::pair()?;
    for end in [&ours, &qemus] {
        enlarge(end.as_fd())?;
    }
    Ok((ours, qemus))
}

/// Beyond the system's limit if this process may, up to it otherwise.
fn enlarge(end: BorrowedFd<'_>) -> io::Result<()> {
    if sockopt::set_socket_send_buffer_size_force(end, BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(end, BUFFER)?;
    }
    Ok(())
}

/// What QEMU saves, taken from it as fast as it comes, since it waits where nobody reads.
///
/// The end of the stream is proof that QEMU has saved everything: where it failed after the last
/// byte, and so will run the machine itself, reading ends with an error.
///
/// Dropping it before its end has QEMU's migration fail.
pub(super) struct Saved {
    /// `None` only while it is dropped.
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    current: Cursor<Vec<u8>>,
    stream: UnixStream,
}

impl Saved {
    /// Reads on a thread of its own, until QEMU closes the stream of the migration that began
    /// after `mark`.
    pub(super) fn read_from(stream: UnixStream, qmp: Arc<Qmp>, mark: Mark) -> io::Result<Self> {
        let (sender, chunks) = channel();
        let ours = stream.try_clone()?;
        std::thread::Builder::new().name("device-state".to_owned()).spawn(move || {
            let end = match forward(stream, &sender) {
                Ok(End::Closed) => verdict(&qmp, mark),
                Ok(End::Abandoned) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = end {
                // Nobody listens where the handover was given up.
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(Self { chunks: Some(chunks), current: Cursor::default(), stream: ours })
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.chunks = None;
        // Wakes the thread; fails only where QEMU has closed the stream, which does so too.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Why there is no more to read.
enum End {
    /// QEMU closed the stream.
    Closed,
    /// Nobody listens.
    Abandoned,
}

fn forward(mut stream: UnixStream, chunks: &Sender<io::Result<Vec<u8>>>) -> io::Result<End> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // An empty chunk, at the end, asks whether somebody listens.
        if chunks.send(Ok(buffer[..length].to_vec())).is_err() {
            return Ok(End::Abandoned);
        }
        if length == 0 {
            return Ok(End::Closed);
        }
    }
}

/// Waits for QEMU's word on a migration whose stream has ended.
fn verdict(qmp: &Qmp, mark: Mark) -> io::Result<()> {
    let over = |event: &super::qmp::Event| migration::reached(event, &[]);
    let event = qmp.wait_event(mark, Instant::now() + VERDICT, "end its migration", over);
    match event.map_err(io::Error::other)?.migration_status() {
        Some("completed") => Ok(()),
        status => Err(io::Error::other(format!(
            "QEMU did not save the device state ({}): {}",
            status.unwrap_or("no status"),
            migration::failure(qmp)
        ))),
    }
}

impl Read for Saved {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.chunks.as_ref().map(Receiver::recv) {
                Some(Ok(chunk)) => self.current = Cursor::new(chunk?),
                _ => return Ok(0),
            }
        }
    }
}
