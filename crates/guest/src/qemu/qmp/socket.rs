use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg, sockopt,
};

use super::QmpError;

/// How long QEMU may leave a command unread.
const WRITE: Duration = Duration::from_secs(5);

/// Connects without waiting: where the queue of a monitor is full, somebody else is served.
pub(super) fn connect(path: &Path) -> Result<UnixStream, QmpError> {
    let fail = |cause: Errno| QmpError::connect(path, cause.into());
    let address = SocketAddrUnix::new(path).map_err(fail)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(fail)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::AGAIN) => return Err(QmpError::Busy(path.to_owned())),
        Err(cause) => return Err(fail(cause)),
    }
    let stream = UnixStream::from(socket);
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_write_timeout(Some(WRITE)))
        .map_err(|cause| QmpError::connect(path, cause))?;
    Ok(stream)
}

/// The process that listened on the socket.
pub(super) fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(sockopt::socket_peercred(stream)?.pid.as_raw_nonzero().get().unsigned_abs())
}

/// Sends a line whole, the descriptors along with its first byte.
pub(super) fn send(stream: &UnixStream, line: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("one descriptor at a time"));
    }
    let sent = loop {
        match sendmsg(stream.as_fd(), &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut stream = stream;
    io::Write::write_all(&mut stream, &line[sent..])
}
