//! Receiving a guest's beacon.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use punctual_guest_protocol::{Beacon, Workload, beacon};

use super::arrivals::Arrivals;
use crate::Lab;

/// Ten minutes of a beacon, in 24 MB.
const REMEMBERED: usize = 600_000;
/// Datagrams wait here while this process does not run: four seconds of a beacon.
const BUFFER: usize = 4 << 20;
/// How often the receiver looks whether it shall end.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// No datagram waits longer to be read; a greater age means that the machine's clock was set.
const OLDEST: Duration = Duration::from_secs(5);

/// Receives the beacon of one guest on a thread of its own, until it is dropped.
///
/// Arrivals are timed by the kernel, on the monotonic clock: that this process is late does not
/// show as a gap.
#[derive(Debug)]
pub struct BeaconReceiver {
    address: SocketAddrV4,
    shared: Arc<Shared>,
    receiver: Option<JoinHandle<()>>,
}

/// What the beacon told beside its arrivals.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// Which run of the guest is being listened to: the first that was heard.
    pub boot: Option<u64>,
    /// When the beacon of another run was first heard: the guest has been started anew. That run's
    /// beacon does not count as arrivals.
    pub restarted: Option<Instant>,
    /// What the guest did when it was last heard.
    pub workload: Option<Workload>,
    /// How often the guest found a wrong byte in itself.
    pub check_failures: u64,
    /// Datagrams that were no beacon.
    pub foreign: u64,
    /// Why nothing can be received any more.
    pub failed: Option<String>,
}

#[derive(Debug)]
struct Shared {
    end: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    arrivals: Arrivals,
    signs: Signs,
}

impl BeaconReceiver {
    /// Listens at the client of `lab`; port 0 takes any that is free.
    ///
    /// # Errors
    /// The port is taken, or the lab is gone.
    pub fn listen(lab: &Lab, port: u16) -> io::Result<Self> {
        let client = lab.client();
        let address = client.address;
        Self::on(client.namespace.inside(|| UdpSocket::bind((address, port)))?)
    }

    /// Listens on a socket.
    ///
    /// # Errors
    /// It is no IPv4 socket, or the kernel does not time its datagrams.
    pub fn on(socket: UdpSocket) -> io::Result<Self> {
        let std::net::SocketAddr::V4(address) = socket.local_addr()? else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "beacons come over IPv4"));
        };
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // Without the right to a larger buffer the usual one has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
        socket.set_read_timeout(Some(HEARTBEAT))?;
        let heard = Heard { arrivals: Arrivals::new(REMEMBERED), signs: Signs::default() };
        let shared = Arc::new(Shared { end: AtomicBool::new(false), heard: Mutex::new(heard) });
        let receiver = thread::Builder::new().name("beacon".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || receive(&socket, &shared)
        })?;
        Ok(Self { address, shared, receiver: Some(receiver) })
    }

    /// Where the guest has to send its beacon to.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Asks about the arrivals so far; keep it short, as none is noted meanwhile.
    pub fn arrivals<T>(&self, ask: impl FnOnce(&Arrivals) -> T) -> T {
        ask(&self.shared.heard().arrivals)
    }

    /// What the beacon told beside its arrivals.
    #[must_use]
    pub fn signs(&self) -> Signs {
        self.shared.heard().signs.clone()
    }

    /// Waits until a new datagram has come after this call, for `patience` at most. Tells whether
    /// one has.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let begin = Instant::now();
        let came = || {
            self.arrivals(|arrivals| arrivals.newest().is_some_and(|arrival| arrival.at > begin))
        };
        while !came() {
            if begin.elapsed() > patience {
                return false;
            }
            thread::sleep(beacon::PERIOD);
        }
        true
    }
}

impl Drop for BeaconReceiver {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(receiver) = self.receiver.take() {
            // A panic there has been reported there.
            let _ = receiver.join();
        }
    }
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn note(&mut self, datagram: &[u8], at: Instant) {
        let Ok(beacon) = Beacon::from_bytes(datagram) else {
            self.signs.foreign += 1;
            return;
        };
        if *self.signs.boot.get_or_insert(beacon.boot) != beacon.boot {
            self.signs.restarted.get_or_insert(at);
            return;
        }
        self.signs.workload = Some(beacon.workload);
        self.signs.check_failures = self.signs.check_failures.max(beacon.check_failures);
        self.arrivals.note(beacon.sequence, at, beacon.work);
    }
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    // One byte more than a beacon: what is longer is none.
    let mut datagram = [0; beacon::LENGTH + 1];
    while !shared.end.load(Ordering::Relaxed) {
        match receive_one(socket, &mut datagram) {
            Ok((length, at)) => shared.heard().note(&datagram[..length], at),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => {
                    shared.heard().signs.failed = Some(error.to_string());
                    return;
                }
            },
        }
    }
}

/// Receives a datagram from a socket on which the kernel times them, and when it came.
pub(crate) fn receive_one(
    socket: &impl AsRawFd,
    datagram: &mut [u8],
) -> io::Result<(usize, Instant)> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut buffers = [IoSliceMut::new(datagram)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    let stamp = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    Ok((message.bytes, arrived(stamp)))
}

/// The moment of a kernel's receive stamp, which is of the clock that can be set, on the monotonic
/// clock: by the age that it has now.
fn arrived(stamp: Option<Duration>) -> Instant {
    let now = Instant::now();
    let age = stamp.and_then(|stamp| SystemTime::now().duration_since(UNIX_EPOCH + stamp).ok());
    age.filter(|age| *age < OLDEST).and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn listen() -> (BeaconReceiver, UdpSocket) {
        let receiver =
            BeaconReceiver::on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        let guest = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        guest.connect(receiver.address()).unwrap();
        (receiver, guest)
    }

    fn beacon(sequence: u64, boot: u64) -> [u8; beacon::LENGTH] {
        let (slot, guest_time) = (sequence, Duration::ZERO);
        let (work, check_failures, workload) = (sequence * 2, 0, Workload::Idle);
        Beacon { sequence, slot, guest_time, work, check_failures, boot, workload }.to_bytes()
    }

    fn until(receiver: &BeaconReceiver, ready: impl Fn(&Heard) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready(&receiver.shared.heard()) {
            assert!(Instant::now() < deadline, "{:?}", receiver.signs());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn arrivals_are_timed_by_the_kernel() {
        let (receiver, guest) = listen();
        let lock = receiver.shared.heard();
        let before = Instant::now();
        guest.send(&beacon(5, 1)).unwrap();
        let after = Instant::now();
        // The receiver cannot note it now: it is late, and the arrival shall not be.
        thread::sleep(Duration::from_millis(30));
        drop(lock);
        until(&receiver, |heard| heard.arrivals.len() == 1);
        let at = receiver.arrivals(|arrivals| arrivals.newest().unwrap().at);
        let slack = Duration::from_millis(5);
        assert!(before - slack < at && at < after + slack);
    }

    #[test]
    fn a_stamp_that_cannot_be_is_not_believed() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let hour = Duration::from_secs(3600);
        for stamp in [None, Some(wall + hour), Some(wall - hour)] {
            assert!(arrived(stamp).elapsed() < hour / 2);
        }
    }

    #[test]
    fn a_guest_that_was_started_anew_is_not_taken_for_the_first() {
        let (receiver, guest) = listen();
        guest.send(&beacon(1000, 1)).unwrap();
        guest.send(&beacon(1001, 2)).unwrap();
        guest.send(b"something else").unwrap();
        guest.send(&beacon(1002, 1)).unwrap();
        until(&receiver, |heard| heard.arrivals.len() == 2);
        let signs = receiver.signs();
        assert_eq!((signs.boot, signs.foreign), (Some(1), 1));
        assert!(signs.restarted.is_some());
        let works =
            receiver.arrivals(|arrivals| arrivals.iter().map(|a| a.work).collect::<Vec<_>>());
        assert_eq!(works, [2000, 2004]);
    }

    #[test]
    fn waiting_ends() {
        let (receiver, guest) = listen();
        assert!(!receiver.wait(Duration::from_millis(1)));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for sequence in (0..).take_while(|_| !ended.load(Ordering::Relaxed)) {
                    guest.send(&beacon(sequence, 1)).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            assert!(receiver.wait(Duration::from_secs(20)));
            ended.store(true, Ordering::Relaxed);
        });
    }
}
