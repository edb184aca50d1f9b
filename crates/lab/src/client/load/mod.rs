//! Connections that keep a server busy, as its clients would, and what came over them.

mod files;
mod keys;
mod patient;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::patient::Patient;
use super::arrivals::Arrivals;
use super::control::connect;
use super::reception::Window;
use crate::Lab;

/// Ten minutes of what one connection of a stream brings.
const REMEMBERED: usize = 60_000;
/// A server that takes longer to accept a connection does not run.
const PATIENCE: Duration = Duration::from_secs(10);

/// What clients want of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// One endless answer over HTTP: `/clip`. It is read as it comes, and forgotten.
    Stream,
    /// Files over HTTP, `/0` to `/499`, the low numbers more often; 20 a second for each connection.
    Files,
    /// Keys of redis: 50 times a second for each connection ten commands at once, a quarter of
    /// them writes of 100 to 4000 bytes.
    Keys,
}

/// Connections that load a server, each served by a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What came over all connections of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadSeen {
    /// Bytes from the server.
    pub bytes: u64,
    /// How often something came: an answer, or a piece of a stream.
    pub arrivals: u64,
    /// Why connections have ended: none should while the server runs.
    pub ended: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    end: AtomicBool,
    connections: Vec<Mutex<Connection>>,
}

/// What came over one connection: each arrival's work is the bytes so far.
#[derive(Debug)]
struct Connection {
    arrivals: Arrivals,
    count: u64,
    bytes: u64,
    ended: Option<String>,
}

impl Load {
    /// Connects from the client of `lab`, so many times, and begins.
    ///
    /// # Errors
    /// The server does not answer, or the lab is gone.
    pub fn start(
        lab: &Lab,
        server: SocketAddr,
        demand: Demand,
        connections: usize,
    ) -> io::Result<Self> {
        let client = &lab.client().namespace;
        let open = |_| client.inside(|| connect(server, PATIENCE));
        Self::on((0..connections).map(open).collect::<io::Result<_>>()?, demand)
    }

    /// Begins on connections that are there.
    ///
    /// # Errors
    /// A connection or a thread cannot be set up.
    pub fn on(connections: Vec<std::net::TcpStream>, demand: Demand) -> io::Result<Self> {
        let end = AtomicBool::new(false);
        let seen = connections.iter().map(|_| Mutex::new(Connection::new())).collect();
        let shared = Arc::new(Shared { end, connections: seen });
        let mut load = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (number, connection) in connections.into_iter().enumerate() {
            let patient = Patient::new(connection, Arc::clone(&shared))?;
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("load-{number}"));
            load.threads
                .push(thread.spawn(move || shared.use_connection(number, patient, demand))?);
        }
        Ok(load)
    }

    /// What has come so far.
    #[must_use]
    pub fn seen(&self) -> LoadSeen {
        let mut seen = LoadSeen::default();
        for number in 0..self.shared.connections.len() {
            let connection = self.shared.connection(number);
            seen.bytes += connection.bytes;
            seen.arrivals += connection.count;
            seen.ended.extend(connection.ended.clone());
        }
        seen
    }

    /// For each connection the longest time without an arrival, a part of which is in `window`;
    /// `None` where that is no longer remembered.
    #[must_use]
    pub fn longest_silences(&self, window: &Window) -> Vec<Option<Duration>> {
        let silence = |number| {
            let reception = self.shared.connection(number).arrivals.reception(window.clone());
            reception.map(|reception| reception.largest.length())
        };
        (0..self.shared.connections.len()).map(silence).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn use_connection(&self, number: usize, patient: Patient, demand: Demand) {
        let arrived = |bytes| self.connection(number).note(bytes);
        let seed = number as u64;
        let result = match demand {
            Demand::Stream => stream::read(patient, arrived),
            Demand::Files => files::ask(patient, seed, arrived),
            Demand::Keys => keys::ask(patient, seed, arrived),
        };
        if let Err(error) = result
            && !self.is_ending()
        {
            self.connection(number).ended = Some(error.to_string());
        }
    }

    fn is_ending(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    fn connection(&self, number: usize) -> MutexGuard<'_, Connection> {
        self.connections[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn new() -> Self {
        Self { arrivals: Arrivals::new(REMEMBERED), count: 0, bytes: 0, ended: None }
    }

    fn note(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.arrivals.note(self.count, Instant::now(), self.bytes);
        self.count += 1;
    }
}

/// Random numbers that are the same in each run: Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators" (2014).
struct Random(u64);

impl Random {
    /// A number from 0 up to, not including, `end`; low ones more often: the lower of two drawn.
    fn low(&mut self, end: u64) -> u64 {
        self.below(end).min(self.below(end))
    }

    /// A number from 0 up to, not including, `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[cfg(test)]
mod tests;
