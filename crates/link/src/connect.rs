use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use punctual_units::BytesPerSecond;
use punctual_wire::Versions;
use rustix::net::Shutdown;

use crate::socket::Socket;
use crate::{LinkError, LinkFault, Receiver, Sender};

/// How long things may take before they end in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, and for the other side's answer to the handshake.
    pub connect: Duration,
    /// Between two arrivals, while something is being waited for: also how long the other side may
    /// work on something without a word, see [`Receiver::set_silence`].
    pub silence: Duration,
    /// Until the other side takes some of what is being sent.
    pub stall: Duration,
    /// Until a network that carries nothing any more is found out, at least 1 s.
    pub lost: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            lost: Duration::from_secs(10),
        }
    }
}

/// A connection between two hosts that have agreed on a version.
#[derive(Debug)]
pub struct Link {
    sender: Sender,
    receiver: Receiver,
    socket: Arc<Socket>,
}

/// Ends a link from any thread.
#[derive(Debug, Clone)]
pub struct Closer(Arc<Socket>);

impl Closer {
    pub(crate) fn of(socket: Arc<Socket>) -> Self {
        Self(socket)
    }

    /// Ends the link: what waits on it, on either side, returns at once with an error, which is
    /// [`LinkFault::Cancelled`] on this side.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Link {
    /// Connects to a host, `HOST:PORT`. Blocks for at most twice [`Timeouts::connect`], and for as
    /// long as the system takes to look up a name.
    ///
    /// # Errors
    /// Nobody answers there in time, or something else than Punctual, or a version of it with
    /// which this one has none in common.
    pub fn connect(address: &str, timeouts: &Timeouts) -> Result<Self, LinkError> {
        let failed = |fault| LinkError { peer: address.to_owned(), fault };
        let addresses = address.to_socket_addrs().map_err(LinkFault::Resolve).map_err(failed)?;
        let deadline = Instant::now() + timeouts.connect;
        let mut cause = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            let connected = match left {
                Duration::ZERO => break,
                left => TcpStream::connect_timeout(&address, left),
            };
            match connected {
                Ok(stream) => return Self::greet(stream, address, timeouts, Versions::SPOKEN),
                Err(error) => cause = error,
            }
        }
        Err(failed(LinkFault::Connect { within: timeouts.connect, cause }))
    }

    /// Tells the other side which versions this one speaks, and agrees on one.
    pub(crate) fn greet(
        stream: TcpStream,
        peer: SocketAddr,
        timeouts: &Timeouts,
        spoken: Versions,
    ) -> Result<Self, LinkError> {
        let socket = Arc::new(Socket::new(stream, peer, timeouts)?);
        socket.set_silence(timeouts.connect)?;
        Sender::greet(&socket, spoken)?;
        let theirs = Receiver::greet(&socket)?;
        let version = spoken.agree(theirs).map_err(|error| socket.fault(error))?;
        socket.set_silence(timeouts.silence)?;
        let sender = Sender::new(Arc::clone(&socket), version);
        let receiver = Receiver::new(Arc::clone(&socket), version);
        Ok(Self { sender, receiver, socket })
    }

    /// The two ends of a connection within this host, for two parties in one process.
    ///
    /// # Errors
    /// The host has no loopback interface that is up.
    pub fn pair(timeouts: &Timeouts) -> Result<(Self, Self), LinkError> {
        let begun = local_connection().map_err(|cause| {
            let fault = LinkFault::Io { action: "connect to itself", cause };
            LinkError { peer: "this host".to_owned(), fault }
        });
        let ((near, near_peer), (far, far_peer)) = begun?;
        std::thread::scope(|scope| {
            let far = scope.spawn(|| Self::greet(far, far_peer, timeouts, Versions::SPOKEN));
            let near = Self::greet(near, near_peer, timeouts, Versions::SPOKEN)?;
            Ok((near, far.join().expect("to greet does not panic")?))
        })
    }

    /// The address of the other side.
    #[must_use]
    pub fn peer(&self) -> &str {
        self.socket.peer()
    }

    /// A handle that ends the link. It outlives the link, and does nothing then.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.socket))
    }

    /// Sends no faster than `rate` from now on, or as fast as can be.
    ///
    /// The kernel paces the whole connection, headers and retransmissions included, evenly.
    ///
    /// # Errors
    /// The kernel does not do this.
    pub fn pace(&self, rate: Option<BytesPerSecond>) -> Result<(), LinkError> {
        self.socket.pace(rate)
    }

    /// The two halves, for two threads. The connection ends when both are gone.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// Two ends of a connection, each with the address of the other.
type Ends = ((TcpStream, SocketAddr), (TcpStream, SocketAddr));

fn local_connection() -> io::Result<Ends> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let there = listener.local_addr()?;
    let near = TcpStream::connect(there)?;
    let here = near.local_addr()?;
    loop {
        // Somebody else of this host may have found the port.
        let (far, peer) = listener.accept()?;
        if peer == here {
            return Ok(((near, there), (far, here)));
        }
    }
}

/// Where other hosts connect to.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: String,
    closed: AtomicBool,
}

/// A connection that has come in and has not said anything yet.
#[derive(Debug)]
pub struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Listener {
    /// Listens on an address of this host, `ADDRESS:PORT`; port 0 takes any that is free.
    ///
    /// # Errors
    /// The address is not one of this host's, or the port is in use.
    pub fn bind(address: &str) -> Result<Self, LinkError> {
        let failed = |cause| {
            let fault = LinkFault::Listen(cause);
            LinkError { peer: address.to_owned(), fault }
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        Ok(Self { listener, address, closed: AtomicBool::new(false) })
    }

    /// The address that is listened on, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the next connection, without a limit: [`Listener::close`] ends it.
    ///
    /// # Errors
    /// The listener has been closed ([`LinkFault::Cancelled`]), or this process has too many files
    /// open.
    pub fn accept(&self) -> Result<Arrival, LinkError> {
        loop {
            let accepted = self.listener.accept();
            let fault = match accepted {
                _ if self.closed.load(Ordering::SeqCst) => LinkFault::Cancelled,
                Ok((stream, peer)) => return Ok(Arrival { stream, peer }),
                // It went away again before it was accepted.
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(cause) => LinkFault::Io { action: "accept a connection", cause },
            };
            return Err(LinkError { peer: self.address.clone(), fault });
        }
    }

    /// Stops listening; whoever waits in [`Listener::accept`] returns.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // It fails where it has been done before.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
    }
}

impl Arrival {
    /// The address of who connected.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Agrees on a version. Blocks for as long as [`Timeouts::connect`], so it is not for the
    /// thread that accepts.
    ///
    /// # Errors
    /// What connected says nothing, is not Punctual, or a version of it with which this one has
    /// none in common.
    pub fn greet(self, timeouts: &Timeouts) -> Result<Link, LinkError> {
        Link::greet(self.stream, self.peer, timeouts, Versions::SPOKEN)
    }
}
