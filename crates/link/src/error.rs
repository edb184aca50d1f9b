use std::io;
use std::time::Duration;

use punctual_wire::{
    FrameError, HelloError, Kind, MessageError, NoCommonVersion, pages::RawPagesError,
};
use thiserror::Error;

/// What went wrong between this host and another. The link is of no use afterwards.
#[derive(Debug, Error)]
#[error("link with {peer}: {fault}")]
pub struct LinkError {
    /// The address of the other host.
    pub peer: String,
    /// What went wrong.
    #[source]
    pub fault: LinkFault,
}

/// What can go wrong on a link.
#[derive(Debug, Error)]
pub enum LinkFault {
    /// The address has no meaning, or its name is not known.
    #[error("the address cannot be resolved: {0}; write HOST:PORT")]
    Resolve(#[source] io::Error),
    /// Nobody answers there.
    #[error(
        "no connection within {within:?}: {cause}; check that `punctual host` listens there and that no firewall is in between"
    )]
    Connect {
        /// The time that was given.
        within: Duration,
        /// What the last address tried gave.
        #[source]
        cause: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen: {0}; choose an address of this host and a port that is free")]
    Listen(#[source] io::Error),
    /// The other host ended the connection where a frame could have begun.
    #[error("the other host closed the connection")]
    Closed,
    /// The other host ended the connection in the middle of a frame.
    #[error("the connection ended in the middle of a frame: the other host's process has died")]
    CutOff,
    /// The other host is connected but has sent nothing for this long.
    #[error("nothing came for {0:?}: the other host hangs or is overloaded")]
    Silent(Duration),
    /// The other host is connected but has taken nothing for this long.
    #[error("the other host has taken nothing for {0:?}: it hangs, or its memory is too slow")]
    Stalled(Duration),
    /// The network no longer carries anything there.
    #[error("the network no longer reaches the other host: {0}")]
    Lost(#[source] io::Error),
    /// This side closed the link, see [`Closer`](crate::Closer).
    #[error("closed on request")]
    Cancelled,
    /// Something else that the operating system reports.
    #[error("{action}: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What came of it.
        #[source]
        cause: io::Error,
    },
    /// The memory to be sent could not be read.
    #[error("reading the memory's file at offset {offset}: {cause}")]
    Memory {
        /// The place in the file.
        offset: u64,
        /// What came of it.
        #[source]
        cause: io::Error,
    },
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What came is no message, or what was to be sent is too long for one.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// What came announces no pages of this machine.
    #[error(transparent)]
    RawPages(#[from] RawPagesError),
    /// The first frame is no Hello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The hosts are of versions that do not understand each other.
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    /// A frame of a kind that has no place here.
    #[error("a {found:?} frame came, where {expected:?} was expected")]
    Unexpected {
        /// What came.
        found: Kind,
        /// What could have come.
        expected: Kind,
    },
    /// The caller of this crate did not take all pages before it asked for the next frame.
    #[error("{0} bytes of raw pages were not taken before the next frame")]
    NotTaken(u64),
}

impl LinkFault {
    /// Whether the same may go well at another time, with nothing changed on either host.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Closed
            | Self::CutOff
            | Self::Silent(_)
            | Self::Stalled(_)
            | Self::Lost(_) => true,
            Self::Resolve(_)
            | Self::Listen(_)
            | Self::Cancelled
            | Self::Io { .. }
            | Self::Memory { .. }
            | Self::Frame(_)
            | Self::Message(_)
            | Self::RawPages(_)
            | Self::Hello(_)
            | Self::Version(_)
            | Self::Unexpected { .. }
            | Self::NotTaken(_) => false,
        }
    }
}
