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
/// Where it is dropped, what comes is taken all the same, and thrown away: QEMUs before 8.1 that fail
/// while they save let the guest run without its disks, and die of its next write to one.
pub(super) struct Saved {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Cursor<Vec<u8>>,
}

impl Saved {
    /// Reads on a thread of its own, until QEMU closes the stream of the migration that began
    /// after `mark`.
    pub(super) fn read_from(stream: UnixStream, qmp: &Arc<Qmp>, mark: Mark) -> io::Result<Self> {
        let (sender, chunks) = channel();
        // The stream may outlast whoever speaks to QEMU.
        let qmp = Arc::downgrade(qmp);
        std::thread::Builder::new().name("device-state".to_owned()).spawn(move || {
            let read = forward(stream, &sender);
            let end = read.and_then(|()| match qmp.upgrade() {
                Some(qmp) => verdict(&qmp, mark),
                None => Err(io::Error::other("the machine was let go while it was being saved")),
            });
            if let Err(error) = end {
                // Nobody listens where the handover was given up.
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(Self { chunks, current: Cursor::default() })
    }
}

/// Takes all that comes, whether somebody listens or not.
fn forward(mut stream: UnixStream, chunks: &Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if length == 0 {
            return Ok(());
        }
        // Nobody listens where the handover was given up.
        let _ = chunks.send(Ok(buffer[..length].to_vec()));
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
            match self.chunks.recv() {
                Ok(chunk) => self.current = Cursor::new(chunk?),
                Err(_) => return Ok(0),
            }
        }
    }
}
