//! Somebody in the middle who now and then turns a bit around.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::scene::PORT;
use crate::{Lab, Namespace};

/// Where it listens, on each host; what comes there goes on to the daemon of that host.
pub(super) const NOISY_PORT: u16 = PORT + 1;
/// Passed on at once.
const PIECE: usize = 256 << 10;
/// How often a listener looks whether it shall end.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Passes on what comes to a host's second port, until it is dropped. Connections that stand then
/// go on until either side ends them.
#[derive(Debug)]
pub(super) struct Proxy {
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    end: AtomicBool,
    /// Whether a bit is to be turned in what comes next.
    armed: AtomicBool,
    namespace: Namespace,
    daemon: SocketAddr,
}

impl Proxy {
    pub(super) fn start(lab: &Lab, host: &str) -> io::Result<Self> {
        let host = lab.host(host).map_err(io::Error::other)?;
        let address: Ipv4Addr = host.address;
        let listener = host.namespace.inside(|| TcpListener::bind((address, NOISY_PORT)))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            end: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            namespace: host.namespace.clone(),
            daemon: (address, PORT).into(),
        });
        let listening = Arc::clone(&shared);
        let listener = thread::Builder::new()
            .name("noisy".to_owned())
            .spawn(move || listen(&listener, &listening))?;
        Ok(Self { shared, listener: Some(listener) })
    }

    /// Turns one bit of what comes next.
    pub(super) fn turn_a_bit(&self) {
        self.shared.armed.store(true, Ordering::Relaxed);
    }

    /// Turns none, if none came.
    pub(super) fn disarm(&self) {
        self.shared.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // A panic there has been reported there.
            let _ = listener.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.end.load(Ordering::Relaxed) {
        match listener.accept() {
            // A connection that cannot be passed on is closed: the caller notices.
            Ok((caller, _)) => drop(pass_on(caller, shared)),
            Err(_) => thread::sleep(HEARTBEAT),
        }
    }
}

fn pass_on(caller: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    caller.set_nonblocking(false)?;
    let daemon = shared.namespace.inside(|| TcpStream::connect(shared.daemon))?;
    for stream in [&caller, &daemon] {
        stream.set_nodelay(true)?;
    }
    let (back_from, back_to) = (daemon.try_clone()?, caller.try_clone()?);
    thread::spawn(move || copy(back_from, back_to, |_| ()));
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        copy(caller, daemon, |piece| {
            if shared.armed.swap(false, Ordering::Relaxed) {
                piece[piece.len() / 2] ^= 1;
            }
        });
    });
    Ok(())
}

/// Passes on all that comes, until either end is closed.
fn copy(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8])) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        change(&mut piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // Whoever is gone already need not be told.
    let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
}
