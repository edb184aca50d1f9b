//! A small client of QMP, QEMU's control protocol (QEMU's `docs/interop/qmp-spec`).
//!
//! It is lenient: fields and events that it does not know are let pass, so one client serves
//! QEMU 7.2 and 10. Every wait has a deadline.
//!
//! ```text
//!  execute ──line──► QEMU ──line──► reader thread ──► inbox: replies by id, a ring of events
//!     └──────────────── waits on the inbox, with a deadline ◄──────────┘
//! ```

mod error;
mod event;
mod inbox;
mod socket;

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use error::{CommandError, QmpError};
pub use event::{Event, Mark};
use inbox::Inbox;

/// How long QEMU may take to greet. It does so at once, unless another client has the monitor.
const GREETING: Duration = Duration::from_secs(2);
/// How long an ordinary command may take. QEMU answers in well under a millisecond, unless its
/// main loop is busy with a slow disk.
const ANSWER: Duration = Duration::from_secs(20);

/// A connection to the QMP monitor of one QEMU.
///
/// It may be shared by threads: commands go one after another, waits for events do not hinder
/// them.
#[derive(Debug)]
pub struct Qmp {
    path: PathBuf,
    peer: u32,
    writer: Mutex<UnixStream>,
    next: AtomicU64,
    inbox: Arc<Inbox>,
    reader: Option<JoinHandle<()>>,
}

impl Qmp {
    /// Connects to the monitor behind the socket at `path` and agrees on its capabilities.
    ///
    /// # Errors
    /// Nobody listens there, it does not speak QMP, or another program holds the monitor.
    pub fn connect(path: &Path) -> Result<Self, QmpError> {
        let stream = socket::connect(path)?;
        let peer = socket::peer(&stream).map_err(|cause| QmpError::connect(path, cause))?;
        let writer = stream.try_clone().map_err(|cause| QmpError::connect(path, cause))?;
        let inbox = Arc::new(Inbox::default());
        let reader =
            inbox::read_into(&inbox, stream).map_err(|cause| QmpError::connect(path, cause))?;
        let qmp = Self {
            path: path.to_owned(),
            peer,
            writer: Mutex::new(writer),
            next: AtomicU64::new(0),
            inbox,
            reader: Some(reader),
        };
        qmp.inbox.greeting(Instant::now() + GREETING, path)?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process that made the socket: QEMU itself, unless a manager passed it in.
    #[must_use]
    pub fn peer(&self) -> u32 {
        self.peer
    }

    /// Runs a command and returns its answer.
    ///
    /// # Errors
    /// QEMU says no ([`QmpError::Command`]), does not answer within 20 s, or is gone.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, &[], ANSWER)
    }

    /// Runs a command and reads its answer as a `T`.
    ///
    /// # Errors
    /// As [`Qmp::execute`], or the answer is no `T`.
    pub fn query<T: DeserializeOwned>(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<T, QmpError> {
        let answer = self.execute(command, arguments)?;
        serde_json::from_value(answer)
            .map_err(|cause| QmpError::Answer { command: command.to_owned(), cause })
    }

    /// Reads a property of an object of QEMU's object model; `None` if there is no such.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn property(&self, path: &str, property: &str) -> Result<Option<Value>, QmpError> {
        match self.execute("qom-get", json!({ "path": path, "property": property })) {
            Ok(value) => Ok(Some(value)),
            Err(QmpError::Command(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives QEMU a descriptor under a name, for `fd:NAME` addresses.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn pass_fd(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        self.send("getfd", json!({ "fdname": name }), &[fd], ANSWER).map(drop)
    }

    /// Sends a command without waiting for its answer. QEMU carries out commands in the order in
    /// which they were sent.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn begin(
        self: &Arc<Self>,
        command: &'static str,
        arguments: Value,
    ) -> Result<Begun, QmpError> {
        let id = self.write(command, arguments, &[])?;
        Ok(Begun { qmp: Arc::clone(self), command, id })
    }

    fn send(
        &self,
        command: &str,
        arguments: Value,
        fds: &[BorrowedFd<'_>],
        timeout: Duration,
    ) -> Result<Value, QmpError> {
        let id = self.write(command, arguments, fds)?;
        self.answer(command, id, timeout)
    }

    /// Writes a command; returns the number that its answer will have.
    fn write(
        &self,
        command: &str,
        arguments: Value,
        fds: &[BorrowedFd<'_>],
    ) -> Result<u64, QmpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        tracing::trace!(command, id, "qmp");
        // A poisoned lock guards a socket alone, on which a line is written whole or not.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        socket::send(&writer, line.as_bytes(), fds).map_err(|cause| QmpError::Lost {
            command: command.to_owned(),
            cause: cause.to_string(),
        })?;
        Ok(id)
    }

    fn answer(&self, command: &str, id: u64, timeout: Duration) -> Result<Value, QmpError> {
        match self.inbox.reply(id, Instant::now() + timeout) {
            inbox::Reply::Answer(value) => Ok(value),
            inbox::Reply::Refused { class, description } => {
                Err(CommandError { command: command.to_owned(), class, description }.into())
            }
            inbox::Reply::Closed(cause) => {
                Err(QmpError::Lost { command: command.to_owned(), cause })
            }
            inbox::Reply::Late => {
                Err(QmpError::Timeout { what: format!("the command `{command}`"), after: timeout })
            }
        }
    }

    /// The present end of the stream of events: [`Qmp::wait_event`] sees those that come later.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.inbox.mark()
    }

    /// Waits for the first event behind `mark` that `wanted` accepts. Events stay in place, so
    /// several can wait for the same one.
    ///
    /// # Errors
    /// None came before `deadline`, or QEMU is gone. `what` names the event in the error.
    pub fn wait_event(
        &self,
        mark: Mark,
        deadline: Instant,
        what: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, QmpError> {
        let began = Instant::now();
        match self.inbox.event(mark, deadline, wanted) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(QmpError::Timeout { what: what.to_owned(), after: began.elapsed() }),
            Err(cause) => Err(QmpError::Lost { command: what.to_owned(), cause }),
        }
    }

    /// The first event behind `mark` that `wanted` accepts, if it has come already.
    #[must_use]
    pub fn seen_event(&self, mark: Mark, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        self.inbox.event(mark, Instant::now(), wanted).ok().flatten()
    }
}

/// A command that was sent and may not have been carried out yet.
#[derive(Debug)]
#[must_use = "whether QEMU refused it is in its answer"]
pub struct Begun {
    qmp: Arc<Qmp>,
    command: &'static str,
    id: u64,
}

impl Begun {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn answer(self) -> Result<Value, QmpError> {
        self.qmp.answer(self.command, self.id, ANSWER)
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends the reader. Fails only if QEMU has closed before, which ends it too.
        let _ = writer.shutdown(std::net::Shutdown::Both);
        drop(writer);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests;
