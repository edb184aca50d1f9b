use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Shared;

/// How often it is looked whether the load shall end.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A connection that waits for the server as long as it takes (it may be on the move), but not
/// longer than the load lasts.
pub(super) struct Patient {
    connection: TcpStream,
    shared: Arc<Shared>,
    /// When the next turn is due.
    next: Instant,
}

impl Patient {
    pub(super) fn new(connection: TcpStream, shared: Arc<Shared>) -> io::Result<Self> {
        connection.set_read_timeout(Some(HEARTBEAT))?;
        connection.set_nodelay(true)?;
        Ok(Self { connection, shared, next: Instant::now() })
    }

    /// Waits for the next turn of a pace; a turn that was missed is left out.
    pub(super) fn pace(&mut self, period: Duration) -> io::Result<()> {
        self.next = (self.next + period).max(Instant::now());
        loop {
            if self.shared.is_ending() {
                return Err(ending());
            }
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(HEARTBEAT));
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.shared.is_ending() {
                return Err(ending());
            }
            match self.connection.read(buffer) {
                Ok(0) => {
                    let what = "the server closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

fn ending() -> io::Error {
    io::Error::other("the load ends")
}
