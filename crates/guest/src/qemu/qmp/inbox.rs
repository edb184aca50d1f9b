use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use serde_json::Value;

use super::{Event, Mark, QmpError};

/// Events that are kept; older ones are forgotten. QEMU sends some tens during a handover.
const KEPT: usize = 1024;

/// What QEMU has said: one thread fills it, others wait on it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    content: Mutex<Content>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    greeting: Option<Value>,
    replies: HashMap<u64, Value>,
    events: VecDeque<Event>,
    /// How many events were forgotten: the number of the first one kept.
    forgotten: u64,
    /// Why there will be no more.
    closed: Option<String>,
}

/// What became of a command.
pub(super) enum Reply {
    Answer(Value),
    Refused { class: String, description: String },
    Closed(String),
    Late,
}

/// Starts the thread that reads everything QEMU says into `inbox` until the stream ends.
pub(super) fn read_into(inbox: &Arc<Inbox>, stream: UnixStream) -> io::Result<JoinHandle<()>> {
    let inbox = Arc::clone(inbox);
    std::thread::Builder::new().name("qmp".to_owned()).spawn(move || {
        let end = inbox.read_all(stream);
        inbox.change(|content| content.closed = Some(end));
    })
}

impl Inbox {
    /// Reads to the end of the stream and says why it ended.
    fn read_all(&self, stream: UnixStream) -> String {
        for line in BufReader::new(stream).lines() {
            match line {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(value) => self.take(value),
                    // The beginning of another protocol's greeting is what helps to name it.
                    Err(_) => self.take(Value::String(line)),
                },
                Err(cause) => return cause.to_string(),
            }
        }
        "end of stream: QEMU has ended or closed the monitor".to_owned()
    }

    fn take(&self, line: Value) {
        let event = Event::read(&line, Instant::now(), SystemTime::now());
        self.change(|content| {
            if let Some(event) = event {
                tracing::trace!(name = event.name, data = %event.data, "qmp event");
                content.events.push_back(event);
                if content.events.len() > KEPT {
                    content.events.pop_front();
                    content.forgotten += 1;
                }
            } else if let Some(id) = line.get("id").and_then(Value::as_u64) {
                content.replies.insert(id, line);
            } else if content.greeting.is_none() {
                content.greeting = Some(line);
            } else {
                tracing::debug!(%line, "QEMU said what nobody asked for");
            }
        });
    }

    /// The content may be in any state that one whole change leaves, so poison is no harm.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.lock());
        self.arrived.notify_all();
    }

    /// Waits until `look` finds something, the stream ends (`Err`), or the deadline passes (`None`).
    fn wait<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&mut Content) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let mut content = self.lock();
        loop {
            if let Some(found) = look(&mut content) {
                return Ok(Some(found));
            }
            if let Some(cause) = &content.closed {
                return Err(cause.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            content =
                self.arrived.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for QEMU's greeting.
    pub(super) fn greeting(&self, deadline: Instant, path: &Path) -> Result<(), QmpError> {
        match self.wait(deadline, |content| content.greeting.take()) {
            Ok(Some(greeting)) if greeting.get("QMP").is_some() => Ok(()),
            Ok(Some(other)) => {
                let said = other.as_str().map_or_else(|| other.to_string(), ToOwned::to_owned);
                let said = said.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(QmpError::NotQmp { path: path.to_owned(), said })
            }
            Ok(None) => Err(QmpError::Busy(path.to_owned())),
            Err(cause) => Err(QmpError::Lost { command: "greeting".to_owned(), cause }),
        }
    }

    /// Waits for the reply to command `id`.
    pub(super) fn reply(&self, id: u64, deadline: Instant) -> Reply {
        let text = |error: &Value, field| error[field].as_str().unwrap_or("?").to_owned();
        match self.wait(deadline, |content| content.replies.remove(&id)) {
            Ok(Some(mut line)) => match line.get("error") {
                Some(error) => {
                    Reply::Refused { class: text(error, "class"), description: text(error, "desc") }
                }
                None => Reply::Answer(line["return"].take()),
            },
            Ok(None) => Reply::Late,
            Err(cause) => Reply::Closed(cause),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        let content = self.lock();
        Mark(content.forgotten + content.events.len() as u64)
    }

    /// Waits for the first event at or behind `mark` that `wanted` accepts.
    pub(super) fn event(
        &self,
        mark: Mark,
        deadline: Instant,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Option<Event>, String> {
        // Each event is looked at once, however often this wakes.
        let mut next = mark.0;
        self.wait(deadline, |content| {
            let from = usize::try_from(next.saturating_sub(content.forgotten)).unwrap_or(KEPT);
            let found = content.events.iter().skip(from).find(|event| wanted(event)).cloned();
            next = content.forgotten + content.events.len() as u64;
            found
        })
    }
}
