use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use punctual_units::{Bytes, MemoryLayout, PageRange};
use punctual_wire::pages::RawPages;
use punctual_wire::{HEADER_LENGTH, Header, Kind, Message, Version, Versions, decode};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::socket::Socket;
use crate::{LinkError, LinkFault};

/// The half of a link that receives.
///
/// It reads each frame by its length and never ahead, so that the bytes of raw pages stay in the
/// socket until [`PendingPages`] takes them.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<Socket>,
    version: Version,
    /// The payload of the frame at hand; as long as the longest frame so far.
    payload: Vec<u8>,
    received: Bytes,
    /// Bytes of raw pages that are announced and still in the socket.
    pending: u64,
}

/// What came. `M` is what the other side may say.
#[derive(Debug)]
pub enum Incoming<'a, M> {
    /// A message.
    Message(M),
    /// Pages as they are: to be taken from the socket before anything else is received.
    RawPages(PendingPages<'a>),
    /// Packed pages, for [`Decoder::decode`](punctual_wire::pages::Decoder::decode).
    Packed(&'a [u8]),
}

impl Receiver {
    pub(crate) fn new(socket: Arc<Socket>, version: Version) -> Self {
        Self { socket, version, payload: Vec::new(), received: Bytes::ZERO, pending: 0 }
    }

    /// Receives the first frame, which comes before everything that is counted.
    pub(crate) fn greet(socket: &Arc<Socket>) -> Result<Versions, LinkError> {
        let mut this = Self::new(Arc::clone(socket), Version::HANDSHAKE);
        match this.frame()? {
            Kind::Hello => Versions::from_hello(&this.payload).map_err(|error| socket.fault(error)),
            found => Err(socket.fault(LinkFault::Unexpected { found, expected: Kind::Hello })),
        }
    }

    /// Receives a message where no pages can come: at the source, and at the destination before
    /// the machine's memory is known.
    ///
    /// # Errors
    /// Something else came, or the link is broken.
    pub fn receive_message<M: Message>(&mut self) -> Result<M, LinkError> {
        match self.frame()? {
            kind if kind == M::KIND => self.message(),
            found => Err(self.unexpected::<M>(found)),
        }
    }

    /// Receives what comes next, of a machine with this memory.
    ///
    /// # Errors
    /// What came is malformed, or has no place here, or the link is broken.
    pub fn receive<M: Message>(
        &mut self,
        layout: &MemoryLayout,
    ) -> Result<Incoming<'_, M>, LinkError> {
        match self.frame()? {
            kind if kind == M::KIND => self.message().map(Incoming::Message),
            Kind::PackedPages => Ok(Incoming::Packed(&self.payload)),
            Kind::RawPages => {
                let raw = RawPages::from_payload(&self.payload, layout)
                    .map_err(|error| self.socket.fault(error))?;
                self.pending = raw.pages().len().bytes().get();
                Ok(Incoming::RawPages(PendingPages { pages: raw.pages(), receiver: self }))
            }
            found => Err(self.unexpected::<M>(found)),
        }
    }

    /// The bytes received since the handshake, headers included.
    #[must_use]
    pub fn received(&self) -> Bytes {
        self.received
    }

    /// Changes how long the other side may be silent, from what
    /// [`Timeouts::silence`](crate::Timeouts::silence) said.
    ///
    /// # Errors
    /// The link is broken, or the time is zero.
    pub fn set_silence(&mut self, silence: Duration) -> Result<(), LinkError> {
        self.socket.set_silence(silence)
    }

    /// What it received from. It has read no further than the last frame.
    pub(crate) fn into_socket(self) -> Result<Arc<Socket>, LinkError> {
        match self.pending {
            0 => Ok(self.socket),
            pending => Err(self.socket.fault(LinkFault::NotTaken(pending))),
        }
    }

    /// Receives the header and the payload of one frame, and checks them.
    fn frame(&mut self) -> Result<Kind, LinkError> {
        if self.pending > 0 {
            return Err(self.socket.fault(LinkFault::NotTaken(self.pending)));
        }
        let mut header = [0; HEADER_LENGTH];
        if !self.fill(&mut header)? {
            return Err(self.socket.fault(LinkFault::Closed));
        }
        let header =
            Header::read(&header, self.version).map_err(|error| self.socket.fault(error))?;
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(header.length, 0);
        let complete = self.fill(&mut payload);
        self.payload = payload;
        if !complete? && header.length > 0 {
            return Err(self.socket.fault(LinkFault::CutOff));
        }
        header.check(&self.payload).map_err(|error| self.socket.fault(error))?;
        self.received += Bytes::new((HEADER_LENGTH + header.length) as u64);
        Ok(header.kind)
    }

    /// Fills `buffer`; `false` if the other side closed the connection before its first byte.
    fn fill(&self, buffer: &mut [u8]) -> Result<bool, LinkError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match rustix::net::recv(self.socket.stream(), rest, RecvFlags::WAITALL) {
                Ok((_, 0)) if filled == 0 => return Ok(false),
                Ok((_, 0)) => return Err(self.socket.fault(LinkFault::CutOff)),
                Ok((_, received)) => filled += received,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.socket.receiving(errno.into())),
            }
        }
        Ok(true)
    }

    fn message<M: Message>(&self) -> Result<M, LinkError> {
        decode(&self.payload).map_err(|error| self.socket.fault(error))
    }

    fn unexpected<M: Message>(&self, found: Kind) -> LinkError {
        self.socket.fault(LinkFault::Unexpected { found, expected: M::KIND })
    }
}

/// Raw pages that are announced, and whose bytes come next in the socket.
///
/// They must be taken, by [`PendingPages::take_with`] or [`PendingPages::take_into`]; otherwise the
/// next [`Receiver::receive`] ends in an error.
#[derive(Debug)]
#[must_use = "the pages have to be taken from the socket"]
pub struct PendingPages<'a> {
    pages: PageRange,
    receiver: &'a mut Receiver,
}

impl PendingPages<'_> {
    /// Which pages they are, all in one region.
    #[must_use]
    pub fn pages(&self) -> PageRange {
        self.pages
    }

    /// Takes the pages with system calls of the caller's choice, so that they go straight to their
    /// place.
    ///
    /// `take` is called with the socket, how many bytes have been taken, and how many are left,
    /// until none are. It takes at least one byte from the socket and at most those left, and
    /// returns how many it has taken; 0 means that the connection has ended. The socket blocks,
    /// within the timeouts of the link.
    ///
    /// # Errors
    /// The error of `take`, as an error of the link: [`io::ErrorKind::WouldBlock`] is a timeout.
    /// [`io::ErrorKind::Interrupted`] makes another call instead.
    ///
    /// # Panics
    /// `take` states to have taken more than was left.
    pub fn take_with(
        self,
        mut take: impl FnMut(BorrowedFd<'_>, Bytes, Bytes) -> io::Result<usize>,
    ) -> Result<(), LinkError> {
        let receiver = self.receiver;
        let length = receiver.pending;
        while receiver.pending > 0 {
            let left = receiver.pending;
            let stream = receiver.socket.stream().as_fd();
            match take(stream, Bytes::new(length - left), Bytes::new(left)) {
                Ok(0) => return Err(receiver.socket.fault(LinkFault::CutOff)),
                Ok(taken) => {
                    receiver.pending = left.checked_sub(taken as u64).expect("at most those left");
                    receiver.received += Bytes::new(taken as u64);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(receiver.socket.receiving(cause)),
            }
        }
        Ok(())
    }

    /// Takes the pages into a buffer of exactly their size.
    ///
    /// # Errors
    /// The link is broken.
    ///
    /// # Panics
    /// The buffer has another size.
    pub fn take_into(self, buffer: &mut [u8]) -> Result<(), LinkError> {
        assert_eq!(buffer.len() as u64, self.receiver.pending, "a buffer of another size");
        self.take_with(|socket, done, _| {
            let rest = &mut buffer[done.get() as usize..];
            Ok(rustix::net::recv(socket, rest, RecvFlags::WAITALL)?.1)
        })
    }
}
