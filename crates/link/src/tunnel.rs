use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use crate::socket::Socket;
use crate::{Closer, LinkError, LinkFault, Receiver, Sender};

/// A link whose messages are over: a stream of bytes in either direction, which others understand.
///
/// No silence ends it, only a network that carries nothing any more
/// ([`Timeouts::lost`](crate::Timeouts::lost)), or its [`Closer`].
#[derive(Debug)]
pub struct Tunnel {
    socket: Arc<Socket>,
}

impl Tunnel {
    /// Makes one of the two halves of a link. What is sent and received before is complete.
    ///
    /// # Errors
    /// Bytes of pages have not been taken from the link, or it is broken.
    pub fn of(sender: Sender, receiver: Receiver) -> Result<Self, LinkError> {
        drop(sender);
        let socket = receiver.into_socket()?;
        let without_limit = || {
            socket.stream().set_read_timeout(None)?;
            socket.stream().set_write_timeout(None)
        };
        without_limit()
            .map_err(|cause| socket.fault(LinkFault::Io { action: "set up the tunnel", cause }))?;
        Ok(Self { socket })
    }

    /// What ends it from any thread.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer::of(Arc::clone(&self.socket))
    }

    /// The stream, for one more thread that reads or writes.
    ///
    /// # Errors
    /// This process has too many files open.
    pub fn stream(&self) -> io::Result<TcpStream> {
        self.socket.stream().try_clone()
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        // It fails where the connection has ended already.
        let _ = self.socket.stream().shutdown(Shutdown::Write);
    }
}
