//! The stream between the two hypervisors of a machine, through the daemons of both hosts: one port
//! a host, the version agreed on, and no port of a hypervisor's own in the network.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use punctual_engine::Connection;
use punctual_link::{LinkError, Tunnel};
use punctual_wire::MigrationId;

use crate::host::Host;

/// How much is carried at once, in bytes.
const PIECE: usize = 256 << 10;

/// Serves the far end of a tunnel, until both hypervisors have said all.
pub(crate) fn serve(
    host: &Host,
    link: Connection,
    migration: MigrationId,
) -> Result<(), LinkError> {
    let Some(hypervisor) = host.hypervisor.take_stream(migration) else {
        tracing::warn!(?migration, "a tunnel is opened for a machine that nobody waits for here");
        return Ok(());
    };
    let tunnel = Tunnel::of(link.sender, link.receiver)?;
    match carry(tunnel, hypervisor, &Arc::default(), |_| {}) {
        // A pump does not panic; if one did, the machine's process would find its stream ended.
        Ok(pumps) => pumps.into_iter().for_each(|pump| drop(pump.join())),
        Err(error) => tracing::warn!(?migration, %error, "a tunnel cannot be served"),
    }
    Ok(())
}

/// Carries what a hypervisor says through a tunnel, and what comes out of it to the hypervisor, in
/// two threads, until both directions have ended. Counts the bytes that go in as `sent`.
///
/// Where they go in no longer, it says so (`broken`), and takes what the hypervisor says all the same:
/// one that saves a machine is to come to the end of it (see `run_on` of its machine in `punctual-guest`).
pub(super) fn carry(
    tunnel: Tunnel,
    hypervisor: UnixStream,
    sent: &Arc<AtomicU64>,
    broken: impl FnOnce(&io::Error) + Send + 'static,
) -> io::Result<[JoinHandle<()>; 2]> {
    let (tunnel, sent) = (Arc::new(tunnel), Arc::clone(sent));
    let (out, into) = (tunnel.stream()?, tunnel.stream()?);
    let (from, to) = (hypervisor.try_clone()?, hypervisor);
    let far = Arc::clone(&tunnel);
    let outward = thread::Builder::new().name("tunnel-out".to_owned()).spawn(move || {
        match pump(&from, out, &sent) {
            Ok(()) => far.end_sending(),
            Err(error) => {
                broken(&error);
                far.closer().close();
                // It fails where the hypervisor is gone.
                let _ = io::copy(&mut &from, &mut io::sink());
            }
        }
    })?;
    let inward = thread::Builder::new().name("tunnel-in".to_owned()).spawn(move || {
        if let Err(error) = pump(into, &to, &AtomicU64::new(0)) {
            tracing::debug!(%error, "the stream between two hypervisors has broken");
            tunnel.closer().close();
        }
        // It fails where the hypervisor has closed its end already.
        let _ = to.shutdown(Shutdown::Write);
    })?;
    Ok([outward, inward])
}

fn pump(mut from: impl Read, mut to: impl Write, carried: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                carried.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use punctual_link::{Link, Listener, Timeouts};

    use super::*;

    fn tunnels() -> (Tunnel, Tunnel) {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let timeouts = Timeouts::default();
        let tunnel = |link: Link| {
            let (sender, receiver) = link.split();
            Tunnel::of(sender, receiver).unwrap()
        };
        thread::scope(|scope| {
            let near = scope.spawn(|| Link::connect(listener.address(), &timeouts).unwrap());
            let far = listener.accept().unwrap().greet(&timeouts).unwrap();
            (tunnel(near.join().unwrap()), tunnel(far))
        })
    }

    /// Two ends as hypervisors have them, with tunnels between.
    struct Joined {
        one: UnixStream,
        other: UnixStream,
        sent: Arc<AtomicU64>,
        /// Why what `one` says reaches nobody.
        told: Receiver<io::ErrorKind>,
        pumps: Vec<JoinHandle<()>>,
    }

    fn joined() -> Joined {
        let (near, far) = tunnels();
        let (one, inner_one) = UnixStream::pair().unwrap();
        let (other, inner_other) = UnixStream::pair().unwrap();
        let sent = Arc::default();
        let (tell, told) = channel();
        let broken = move |error: &io::Error| tell.send(error.kind()).unwrap();
        let mut pumps = Vec::from(carry(near, inner_one, &sent, broken).unwrap());
        pumps.extend(carry(far, inner_other, &Arc::default(), |_| {}).unwrap());
        Joined { one, other, sent, told, pumps }
    }

    #[test]
    fn both_directions_at_once_and_an_end_of_each() {
        let Joined { mut one, mut other, sent, told, pumps } = joined();
        let much: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                (&one).write_all(&much).unwrap();
                one.shutdown(Shutdown::Write).unwrap();
            });
            let mut answer = &other;
            scope.spawn(move || answer.write_all(b"all is well").unwrap());
            let mut came = Vec::new();
            (&other).read_to_end(&mut came).unwrap();
            assert!(came == much);
        });
        other.write_all(b", still").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        let mut answered = String::new();
        one.read_to_string(&mut answered).unwrap();
        assert_eq!(answered, "all is well, still");
        assert_eq!(sent.load(Ordering::Relaxed), much.len() as u64);
        pumps.into_iter().for_each(|pump| pump.join().unwrap());
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn what_reaches_nobody_is_said_and_taken_to_its_end() {
        let Joined { mut one, other, told, pumps, .. } = joined();
        drop(other);
        let mut pieces = 0;
        while told.try_recv().is_err() {
            one.write_all(&[0; 65536]).unwrap();
            pieces += 1;
            assert!(pieces < 10_000, "the first pieces are still taken on the way, not all");
        }
        for _ in 0..1000 {
            one.write_all(&[0; 65536]).unwrap();
        }
        one.shutdown(Shutdown::Write).unwrap();
        pumps.into_iter().for_each(|pump| pump.join().unwrap());
    }
}
