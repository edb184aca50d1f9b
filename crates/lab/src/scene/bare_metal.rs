//! The bare-metal guest of a scene, for hosts by whose KVM no Linux boots: what it says on its second
//! serial line comes to the client, each byte as a datagram.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::socket::{setsockopt, sockopt};
use punctual_images::Qemu;
use punctual_units::Bytes;
use toml::{Table, Value};

use super::guest::image;
use super::{Scene, SceneError};
use crate::client::{Arrivals, receive_one};

/// A sweep takes a second; the firmware takes several with some KVMs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ten minutes of ticks, in 24 MB.
const REMEMBERED: usize = 600_000;
/// Datagrams wait here while this process does not run: four seconds of ticks.
const BUFFER: usize = 4 << 20;
/// How often the listener looks whether anybody still wants to know.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A bare-metal guest to be started.
#[derive(Debug, Clone)]
pub struct BareMetalSpec {
    /// The machine's name.
    pub name: String,
    /// Its RAM; the guest knows what its first 64 MiB hold.
    pub memory: Bytes,
    /// The QEMU that runs it.
    pub qemu: Qemu,
    /// `kvm`, `tcg` or `auto`.
    pub accel: String,
}

/// A bare-metal guest that runs, heard by the lab's client.
#[derive(Debug)]
pub struct BareMetal {
    /// The machine's name.
    pub name: String,
    line: Arc<Mutex<Line>>,
}

/// What has come over a serial line.
#[derive(Debug)]
struct Line {
    arrivals: Arrivals,
    bytes: u64,
    sweeps: u64,
    /// `!` and what came after it.
    complaint: String,
}

impl BareMetalSpec {
    /// The machine's specification: devices as the Linux guest has them, and the disk that it
    /// starts from.
    fn to_toml(&self, disk: &str, client: std::net::SocketAddr) -> String {
        let table = |fields: &[(&str, &str)]| -> Table {
            fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).into())).collect()
        };
        let Self { name, memory, qemu, accel } = self;
        let memory = format!("{}KiB", memory.get() >> 10);
        let binary = qemu.binary.to_string_lossy();
        // Any processor that KVM knows will do; the host's is more than some can show.
        let mut spec = table(&[
            ("name", name),
            ("memory", &memory),
            ("accel", accel),
            ("cpu", "qemu64"),
            ("binary", &binary),
        ]);
        let line = ["-serial".to_owned(), format!("udp:{client}")];
        let extra = qemu.arguments.iter().cloned().chain(line).map(Value::String).collect();
        let env = qemu.env.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        let one = |fields: &[(&str, &str)]| Value::Array(vec![Value::Table(table(fields))]);
        spec.insert("extra".to_owned(), Value::Array(extra));
        spec.insert("env".to_owned(), Value::Table(env.collect()));
        spec.insert("disk".to_owned(), one(&[("path", disk), ("device", "ide-hd")]));
        spec.insert("net".to_owned(), one(&[("bridge", crate::names::BRIDGE)]));
        spec.to_string()
    }
}

impl Scene {
    /// Starts a bare-metal guest on a host and waits until it has checked all of its memory once.
    ///
    /// # Errors
    /// It could not be started, or is not heard.
    pub fn start_bare_metal(
        &self,
        host: &str,
        spec: &BareMetalSpec,
    ) -> Result<BareMetal, SceneError> {
        let client = self.lab().client();
        let socket = client.namespace.inside(|| UdpSocket::bind((client.address, 0)))?;
        let address = socket.local_addr()?;
        // On storage that all hosts see, and gone with the lab.
        let directory = &self.lab().host(host)?.run_dir;
        let disk = directory.join(format!("{}.img", spec.name));
        let original = punctual_images::bare_metal().map_err(|error| image(error.into()))?;
        fs::copy(original, &disk)?;
        let guest = BareMetal { name: spec.name.clone(), line: listen(socket)? };
        self.run(host, spec.to_toml(&disk.to_string_lossy(), address))?;
        if guest.hears_sweeps(1) {
            return Ok(guest);
        }
        let console = directory.join("daemon/machines").join(&spec.name).join("serial.log");
        Err(SceneError::Silent {
            guest: spec.name.clone(),
            seconds: PATIENCE.as_secs(),
            console: console.display().to_string(),
        })
    }
}

impl BareMetal {
    /// Asks about what the client heard so far; keep it short, as nothing is noted meanwhile. Each
    /// tick of the guest is an arrival, every millisecond.
    pub fn arrivals<T>(&self, ask: impl FnOnce(&Arrivals) -> T) -> T {
        ask(&heard(&self.line).arrivals)
    }

    /// What is not well, in words, once the guest has checked each page of its memory after this
    /// call; nothing if it is whole. Blocks for up to two sweeps, which take a second each.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        // The first to end has begun before.
        if self.hears_sweeps(2) {
            return None;
        }
        let complaint = heard(&self.line).complaint.clone();
        Some(match complaint.strip_prefix('!') {
            Some(page) => format!("page {} holds what it should not", page.trim_end()),
            None => format!("it has not swept its memory twice in {PATIENCE:?}"),
        })
    }

    /// Waits until so many more sweeps have ended with nothing wrong.
    fn hears_sweeps(&self, more: u64) -> bool {
        let begin = Instant::now();
        let enough = heard(&self.line).sweeps + more;
        while begin.elapsed() < PATIENCE {
            let (wrong, swept) = {
                let line = heard(&self.line);
                (line.complaint.ends_with('\n'), line.sweeps >= enough)
            };
            if wrong || swept {
                return !wrong;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Line {
    fn new() -> Self {
        let arrivals = Arrivals::new(REMEMBERED);
        Self { arrivals, bytes: 0, sweeps: 0, complaint: String::new() }
    }

    fn note(&mut self, byte: u8, at: Instant) {
        if byte == b'!' || !self.complaint.is_empty() {
            self.complaint.push(char::from(byte));
        }
        self.arrivals.note(self.bytes, at, 0);
        self.bytes += 1;
        self.sweeps += u64::from(byte == b'\n');
    }
}

/// Listens on a thread of its own, for as long as the result is kept. The kernel times what comes.
fn listen(socket: UdpSocket) -> io::Result<Arc<Mutex<Line>>> {
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // Without the right to a larger buffer the usual one has to do.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    socket.set_read_timeout(Some(HEARTBEAT))?;
    let line = Arc::new(Mutex::new(Line::new()));
    let noted = Arc::downgrade(&line);
    thread::Builder::new()
        .name("serial line".to_owned())
        .spawn(move || receive(&socket, &noted))?;
    Ok(line)
}

fn receive(socket: &UdpSocket, line: &Weak<Mutex<Line>>) {
    let mut byte = [0];
    while let Some(line) = line.upgrade() {
        match receive_one(socket, &mut byte) {
            Ok((_, at)) => heard(&line).note(byte[0], at),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return,
            },
        }
    }
}

fn heard(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn guest() -> (BareMetal, UdpSocket) {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let qemu = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        qemu.connect(client.local_addr().unwrap()).unwrap();
        (BareMetal { name: "bare".to_owned(), line: listen(client).unwrap() }, qemu)
    }

    fn say(qemu: &UdpSocket, words: &str) {
        words.bytes().for_each(|byte| assert_eq!(qemu.send(&[byte]).unwrap(), 1));
    }

    #[test]
    fn a_guest_that_goes_on_sweeping_is_well() {
        let (guest, qemu) = guest();
        thread::scope(|scope| {
            let asked = scope.spawn(|| guest.complaint());
            while !asked.is_finished() {
                say(&qemu, "..\n");
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(asked.join().unwrap(), None);
        });
        assert!(guest.arrivals(Arrivals::len) >= 6);
    }

    #[test]
    fn a_wrong_page_is_named() {
        let (guest, qemu) = guest();
        say(&qemu, "..\n.!00002345\n");
        let deadline = Instant::now() + PATIENCE;
        while !heard(&guest.line).complaint.ends_with('\n') {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(guest.complaint().unwrap(), "page 00002345 holds what it should not");
    }
}
