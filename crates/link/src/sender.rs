use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use punctual_units::{Bytes, BytesPerSecond, Pages};
use punctual_wire::pages::RawPages;
use punctual_wire::{HEADER_LENGTH, Header, Kind, Message, Version, Versions, encode};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::socket::{Socket, Way};
use crate::{LinkError, LinkFault};

/// The half of a link that sends.
///
/// Each method sends one whole frame. Where several threads send (device state between pages), they
/// share it behind a mutex and keep their frames small.
#[derive(Debug)]
pub struct Sender {
    socket: Arc<Socket>,
    version: Version,
    /// Where messages are encoded, behind room for their header.
    frame: Vec<u8>,
    sent: Sent,
}

/// What a [`Sender`] has sent since the handshake, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Bytes of messages.
    pub messages: Bytes,
    /// Bytes of pages sent raw.
    pub raw: Bytes,
    /// How many pages these were.
    pub raw_pages: Pages,
    /// Bytes of packed pages.
    pub packed: Bytes,
}

impl Sent {
    /// The bytes of everything; the same number as the other side's
    /// [`Receiver::received`](crate::Receiver::received) once all has arrived.
    #[must_use]
    pub fn total(self) -> Bytes {
        self.messages + self.raw + self.packed
    }
}

impl Sender {
    pub(crate) fn new(socket: Arc<Socket>, version: Version) -> Self {
        Self { socket, version, frame: Vec::new(), sent: Sent::default() }
    }

    /// Sends the first frame, which comes before everything that is counted.
    pub(crate) fn greet(socket: &Arc<Socket>, spoken: Versions) -> Result<(), LinkError> {
        let this = Self::new(Arc::clone(socket), Version::HANDSHAKE);
        let hello = spoken.to_hello();
        let header = this.header(Kind::Hello, &hello)?;
        this.write(&[&header[..], &hello].concat(), SendFlags::empty())
    }

    /// Sends a message. Blocks until the socket has taken it.
    ///
    /// # Errors
    /// The message is longer than a frame may be (nothing has been sent then), or the link is
    /// broken.
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), LinkError> {
        self.frame.clear();
        self.frame.resize(HEADER_LENGTH, 0);
        encode(message, &mut self.frame).map_err(|error| self.socket.fault(error))?;
        let header = self.header(M::KIND, &self.frame[HEADER_LENGTH..])?;
        self.frame[..HEADER_LENGTH].copy_from_slice(&header);
        self.write(&self.frame, SendFlags::empty())?;
        self.sent.messages += bytes(self.frame.len());
        Ok(())
    }

    /// Sends the payload of a frame of packed pages, as
    /// [`Encoder::encode`](punctual_wire::pages::Encoder::encode) delivers it.
    ///
    /// # Errors
    /// The payload is longer than a frame may be, or the link is broken.
    pub fn send_packed(&mut self, payload: &[u8]) -> Result<(), LinkError> {
        let header = self.header(Kind::PackedPages, payload)?;
        self.write(&header, SendFlags::MORE)?;
        self.write(payload, SendFlags::empty())?;
        self.sent.packed += bytes(HEADER_LENGTH + payload.len());
        Ok(())
    }

    /// Sends pages as they are, from `offset` bytes into the memory's file `file` on.
    ///
    /// The pages are read while they are sent: one that is written meanwhile arrives in part old,
    /// in part new, and must be found written and sent again.
    ///
    /// # Errors
    /// The file ends too early or cannot be read, or the link is broken.
    pub fn send_raw(
        &mut self,
        pages: RawPages,
        file: BorrowedFd<'_>,
        offset: Bytes,
    ) -> Result<(), LinkError> {
        self.announce(pages)?;
        let length = pages.pages().len().bytes();
        self.send_file(file, offset.get(), length.get())?;
        self.count(pages);
        Ok(())
    }

    /// Sends pages as they are, with system calls of the caller's choice: for one who has them
    /// mapped and sends from there. Where the other host is the same machine this takes half the
    /// processor time of [`Sender::send_raw`], see `examples/link_speed.rs`; a network card that
    /// reads memory by itself makes up for that.
    ///
    /// `give` is called with the socket, how many bytes have been given, and how many are left,
    /// until none are. It gives the socket at least one byte and at most those left, in order, and
    /// returns how many. The socket blocks, within the timeouts of the link.
    ///
    /// # Errors
    /// The error of `give`, as an error of the link: [`io::ErrorKind::WouldBlock`] is a timeout.
    /// [`io::ErrorKind::Interrupted`] makes another call instead.
    ///
    /// # Panics
    /// `give` states to have given more than was left.
    pub fn send_raw_with(
        &mut self,
        pages: RawPages,
        mut give: impl FnMut(BorrowedFd<'_>, Bytes, Bytes) -> io::Result<usize>,
    ) -> Result<(), LinkError> {
        self.announce(pages)?;
        let length = pages.pages().len().bytes();
        let mut given = Bytes::ZERO;
        while given < length {
            let left = length - given;
            match give(self.socket.stream().as_fd(), given, left) {
                Ok(0) => return Err(self.socket.sending(io::ErrorKind::WriteZero.into())),
                Ok(more) => {
                    assert!(more as u64 <= left.get(), "more was given than was left");
                    given += bytes(more);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.socket.sending(cause)),
            }
        }
        self.count(pages);
        Ok(())
    }

    /// What has been sent since the handshake.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Sends no faster than `rate` from now on, see [`Link::pace`](crate::Link::pace).
    ///
    /// # Errors
    /// The kernel does not do this.
    pub fn pace(&self, rate: Option<BytesPerSecond>) -> Result<(), LinkError> {
        self.socket.pace(rate)
    }

    /// What is known of the way to the other host.
    ///
    /// # Errors
    /// The link is broken.
    pub fn way(&self) -> Result<Way, LinkError> {
        self.socket.way()
    }

    /// What was given to the socket and has not been acknowledged by the other host's kernel.
    ///
    /// # Errors
    /// The link is broken.
    pub fn unacknowledged(&self) -> Result<Bytes, LinkError> {
        self.socket.unacknowledged()
    }

    /// What was given to the socket and has not left it even once.
    ///
    /// # Errors
    /// The link is broken.
    pub fn unsent(&self) -> Result<Bytes, LinkError> {
        self.socket.unsent()
    }

    /// Sends the frame that tells which pages follow.
    fn announce(&self, pages: RawPages) -> Result<(), LinkError> {
        let payload = pages.to_payload();
        let header = self.header(Kind::RawPages, &payload)?;
        self.write(&header, SendFlags::MORE)?;
        self.write(&payload, SendFlags::MORE)
    }

    fn count(&mut self, pages: RawPages) {
        let pages = pages.pages().len();
        self.sent.raw += bytes(HEADER_LENGTH + RawPages::LENGTH) + pages.bytes();
        self.sent.raw_pages += pages;
    }

    fn header(&self, kind: Kind, payload: &[u8]) -> Result<[u8; HEADER_LENGTH], LinkError> {
        Header::write(self.version, kind, payload).map_err(|error| self.socket.fault(error))
    }

    fn write(&self, mut rest: &[u8], flags: SendFlags) -> Result<(), LinkError> {
        while !rest.is_empty() {
            match rustix::net::send(self.socket.stream(), rest, flags | SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.socket.sending(errno.into())),
            }
        }
        Ok(())
    }

    fn send_file(&self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), LinkError> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            // Not every file moves the offset on: the count is what tells.
            let mut offset = at;
            match rustix::fs::sendfile(self.socket.stream(), file, Some(&mut offset), left) {
                Ok(0) => return Err(self.file_ended(at)),
                Ok(sent) => at += sent as u64,
                Err(Errno::INTR) => {}
                // Not every file system can, hugetlbfs for one, or not at every offset.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::OVERFLOW) => {
                    return self.copy_file(file, at, end);
                }
                Err(errno) => return Err(self.socket.sending(errno.into())),
            }
        }
        Ok(())
    }

    /// What [`Self::send_file`] does, through a buffer.
    fn copy_file(&self, file: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<(), LinkError> {
        const BUFFER: u64 = 256 << 10;
        let memory = |offset, cause| self.socket.fault(LinkFault::Memory { offset, cause });
        let file = file.try_clone_to_owned().map(File::from).map_err(|cause| memory(at, cause))?;
        let mut buffer = vec![0; BUFFER.min(end - at) as usize];
        while at < end {
            let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            match file.read_at(&mut buffer[..wanted], at) {
                Ok(0) => return Err(self.file_ended(at)),
                Ok(read) => {
                    self.write(&buffer[..read], SendFlags::empty())?;
                    at += read as u64;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(memory(at, cause)),
            }
        }
        Ok(())
    }

    fn file_ended(&self, offset: u64) -> LinkError {
        let cause = io::ErrorKind::UnexpectedEof.into();
        self.socket.fault(LinkFault::Memory { offset, cause })
    }
}

fn bytes(length: usize) -> Bytes {
    Bytes::new(length as u64)
}
