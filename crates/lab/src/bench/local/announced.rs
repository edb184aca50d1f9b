//! When a client of a lab hears that a machine runs elsewhere: QEMU announces a machine's addresses
//! (RARP) as soon as it lets the guest run, and needs nothing of the guest for that.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::Lab;
use crate::client::receive_one;

/// The type of such frames, as it stands on the wire (RFC 903).
const RARP: u16 = 0x8035;

/// Hears announcements at the client of a lab, on whatever interface. They wait in the kernel,
/// which has timed them, until they are asked for.
#[derive(Debug)]
pub(super) struct Announcements(OwnedFd);

impl Announcements {
    /// Listens from now on.
    ///
    /// # Errors
    /// The lab is gone, or this process may not receive packets.
    pub(super) fn listen(lab: &Lab) -> io::Result<Self> {
        let protocol = NonZeroU32::new(u32::from(RARP.to_be())).map(Protocol::from_raw);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = lab.client().namespace.inside(|| {
            Ok(socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol)?)
        })?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self(socket))
    }

    /// When those came that came since this was last asked, within 5 s.
    pub(super) fn take(&self) -> Vec<Instant> {
        let mut frame = [0; 64];
        let frames = std::iter::from_fn(|| receive_one(&self.0, &mut frame).ok());
        frames.map(|(_, at)| at).collect()
    }
}
