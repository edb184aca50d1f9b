//! The TCP socket below a link: its options, and what its errors mean.

use std::io;
use std::mem::size_of_val;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};

use crate::{LinkError, LinkFault, Timeouts};

/// How much that has not been sent yet may lie in the socket, in bytes.
///
/// What lies there delays what comes next, above all the last pages after the stop. Seen on a veth
/// pair with HTB at 1 Gbit/s: 0.4 MB queued (3 ms) at 945 Mbit/s of payload; without this limit
/// 2.3 MB (19 ms) and no more throughput; with half of it 893 Mbit/s. What is on its way is not
/// counted, so that long links are filled all the same.
const NOT_SENT: libc::c_int = 256 << 10;

/// The way to the other host's kernel and back, as TCP has it from what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The least time that it took on this connection.
    pub least_round_trip: Duration,
    /// The time that it takes now, smoothed, queues included.
    pub round_trip: Duration,
    /// The most bytes that travel in one piece. The other host may acknowledge every second piece
    /// only, and a single one some 40 ms late.
    pub segment: Bytes,
}

/// One end of a connection, shared by everything that uses it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    peer: String,
    closed: AtomicBool,
    /// In microseconds, for errors.
    silence: AtomicU64,
    stall: Duration,
}

impl Socket {
    /// Takes over a connected stream.
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        timeouts: &Timeouts,
    ) -> Result<Self, LinkError> {
        let socket = Self {
            stream,
            peer: peer.to_string(),
            closed: AtomicBool::new(false),
            silence: AtomicU64::new(0),
            stall: timeouts.stall,
        };
        socket.configure(timeouts).map_err(|cause| socket.io("set up the socket", cause))?;
        Ok(socket)
    }

    fn configure(&self, timeouts: &Timeouts) -> io::Result<()> {
        use rustix::net::sockopt;
        let stream = &self.stream;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        self.wait_for_at_most(timeouts.silence)?;
        stream.set_write_timeout(Some(timeouts.stall))?;
        // A lost network shows in what is sent and not acknowledged, and, where nothing is sent,
        // in keepalive probes: every quarter of the time, so that several can get lost.
        let lost = timeouts.lost.max(Duration::from_secs(1));
        let interval = (lost / 4).max(Duration::from_secs(1));
        sockopt::set_tcp_user_timeout(stream, u32::try_from(lost.as_millis()).unwrap_or(u32::MAX))?;
        sockopt::set_tcp_keepidle(stream, interval)?;
        sockopt::set_tcp_keepintvl(stream, interval)?;
        sockopt::set_tcp_keepcnt(stream, 4)?;
        sockopt::set_socket_keepalive(stream, true)?;
        set_option(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &NOT_SENT)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// Ends the connection; whatever waits on it returns.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // It fails where the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub(crate) fn set_silence(&self, silence: Duration) -> Result<(), LinkError> {
        self.wait_for_at_most(silence).map_err(|cause| self.io("set the time to wait", cause))
    }

    fn wait_for_at_most(&self, silence: Duration) -> io::Result<()> {
        let micros = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
        self.silence.store(micros, Ordering::Relaxed);
        self.stream.set_read_timeout(Some(silence))
    }

    fn silence(&self) -> Duration {
        Duration::from_micros(self.silence.load(Ordering::Relaxed))
    }

    pub(crate) fn pace(&self, rate: Option<BytesPerSecond>) -> Result<(), LinkError> {
        let rate = rate.map_or(u64::MAX, BytesPerSecond::get);
        set_option(self.stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate)
            .map_err(|cause| self.io("limit the rate", cause))
    }

    /// What the kernel has found out about the way to the other host.
    pub(crate) fn way(&self) -> Result<Way, LinkError> {
        // SAFETY: all-zero is a value of this structure of numbers.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `info`; an older one writes fewer.
        let result = unsafe {
            libc::getsockopt(
                self.stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(self.io("ask about the way", io::Error::last_os_error()));
        }
        let micros = |number: u32| Duration::from_micros(u64::from(number));
        Ok(Way {
            least_round_trip: micros(info.tcpi_min_rtt.min(info.tcpi_rtt)),
            round_trip: micros(info.tcpi_rtt),
            segment: Bytes::new(u64::from(info.tcpi_snd_mss)),
        })
    }

    /// What was given to the socket and has not been acknowledged by the other host.
    pub(crate) fn unacknowledged(&self) -> Result<Bytes, LinkError> {
        /// Not in the libc crate; `linux/sockios.h`.
        const SIOCOUTQ: libc::Ioctl = 0x5411;
        self.queue(SIOCOUTQ)
    }

    /// What was given to the socket and has not been sent even once.
    pub(crate) fn unsent(&self) -> Result<Bytes, LinkError> {
        const SIOCOUTQNSD: libc::Ioctl = 0x894B;
        self.queue(SIOCOUTQNSD)
    }

    fn queue(&self, request: libc::Ioctl) -> Result<Bytes, LinkError> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: both requests write one int to where their argument points.
        let result = unsafe { libc::ioctl(self.stream.as_raw_fd(), request, &raw mut bytes) };
        if result < 0 {
            return Err(self.io("ask for the length of the queue", io::Error::last_os_error()));
        }
        Ok(Bytes::new(u64::try_from(bytes).unwrap_or(0)))
    }

    pub(crate) fn fault(&self, fault: impl Into<LinkFault>) -> LinkError {
        let closed = self.closed.load(Ordering::SeqCst);
        let fault = if closed { LinkFault::Cancelled } else { fault.into() };
        LinkError { peer: self.peer.clone(), fault }
    }

    /// What an error of a system call means that received.
    pub(crate) fn receiving(&self, cause: io::Error) -> LinkError {
        match cause.kind() {
            io::ErrorKind::WouldBlock => self.fault(LinkFault::Silent(self.silence())),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                self.fault(LinkFault::CutOff)
            }
            _ => self.io("receive", cause),
        }
    }

    /// What an error of a system call means that sent.
    pub(crate) fn sending(&self, cause: io::Error) -> LinkError {
        match cause.kind() {
            io::ErrorKind::WouldBlock => self.fault(LinkFault::Stalled(self.stall)),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                self.fault(LinkFault::CutOff)
            }
            _ => self.io("send", cause),
        }
    }

    fn io(&self, action: &'static str, cause: io::Error) -> LinkError {
        match cause.kind() {
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => self.fault(LinkFault::Lost(cause)),
            _ => self.fault(LinkFault::Io { action, cause }),
        }
    }
}

/// Sets an option that neither std nor rustix has.
fn set_option<T: Copy>(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes from `value`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket, level, name, (&raw const *value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
