//! The thread of the source that sends, in the order of its jobs; and the one that feeds it device
//! state.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use punctual_guest::Ram;
use punctual_link::{Closer, Sender};
use punctual_units::{Bytes, BytesPerSecond};
use punctual_wire::SourceMessage;

use super::ears::Timed;
use super::pages::{PageSender, SendError, probe};
use super::told;
use crate::source::{Batch, Event};

/// How often it is told how much has been sent.
const TELL_EVERY: Duration = Duration::from_millis(20);
/// Device state travels in pieces of this size.
const PIECE: usize = 64 << 10;
/// The destination keeps device state until every page is in place, so there must be an end to it.
/// A machine with a graphics card has some 16 MiB.
pub(super) const MOST_STATE: Bytes = Bytes::mib(64);
/// How long the last words may take before the connection is cut.
const LAST_WORDS: Duration = Duration::from_millis(500);

enum Job {
    Say(SourceMessage),
    Probe(BytesPerSecond),
    Pages(Batch),
    StateEnd(Bytes),
    End,
}

/// The main thread's hold on the sending thread.
pub(super) struct Outlet {
    jobs: mpsc::Sender<Job>,
    /// Once set, pages and device state are dropped; messages are still sent.
    halted: Arc<AtomicBool>,
    closer: Closer,
    thread: Option<JoinHandle<()>>,
}

impl Outlet {
    pub(super) fn open(
        sender: Sender,
        closer: Closer,
        ram: Arc<Ram>,
        asked: Option<BytesPerSecond>,
        events: mpsc::Sender<Timed>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel();
        let halted = Arc::new(AtomicBool::new(false));
        let pages = PageSender::new(ram, asked);
        let worker = Worker { sender, pages, events, halted: Arc::clone(&halted) };
        let thread = Some(thread::spawn(move || worker.run(&queue)));
        Self { jobs, halted, closer, thread }
    }

    pub(super) fn say(&self, message: SourceMessage) {
        self.give(Job::Say(message));
    }

    pub(super) fn probe(&self, rate: BytesPerSecond) {
        self.give(Job::Probe(rate));
    }

    pub(super) fn send(&self, batch: Batch) {
        self.give(Job::Pages(batch));
    }

    /// Reads the device state to its end on a thread of its own, and sends it behind whatever is
    /// being sent. That thread ends with the stream.
    pub(super) fn pump(&self, mut state: Box<dyn Read + Send>, events: mpsc::Sender<Timed>) {
        let jobs = self.jobs.clone();
        thread::spawn(move || {
            let ended = forward(&mut state, &jobs);
            if let Err(reason) = ended {
                // The move may be over; then nobody is left to hear of it.
                let _ = events.send((Instant::now(), Event::MachineFailed(reason)));
            }
        });
    }

    /// Sends no more pages and no more device state.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    /// Waits a moment until everything has been said, and ends the connection.
    pub(super) fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.give(Job::End);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + LAST_WORDS;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.closer.close();
        // It can only have ended by a mistake of its own; the move has its outcome by now.
        let _ = thread.join();
    }

    fn give(&self, job: Job) {
        // The thread ends early only with the link, which is an event of its own.
        let _ = self.jobs.send(job);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.halt();
        self.finish();
    }
}

fn forward(state: &mut dyn Read, jobs: &mpsc::Sender<Job>) -> Result<(), String> {
    let mut bytes = Bytes::ZERO;
    loop {
        let mut piece = vec![0; PIECE];
        let length = match state.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("reading the device state: {error}")),
        };
        if length == 0 {
            let _ = jobs.send(Job::StateEnd(bytes));
            return Ok(());
        }
        bytes += Bytes::new(length as u64);
        if bytes > MOST_STATE {
            return Err(format!(
                "the machine has more than {MOST_STATE} of device state; remove devices with \
                 memory of their own, such as graphics cards"
            ));
        }
        piece.truncate(length);
        if jobs.send(Job::Say(SourceMessage::DeviceState(piece))).is_err() {
            return Ok(());
        }
    }
}

struct Worker {
    sender: Sender,
    pages: PageSender,
    events: mpsc::Sender<Timed>,
    halted: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            if matches!(job, Job::End) {
                return;
            }
            match self.carry_out(job) {
                Ok(None) => {}
                Ok(Some(event)) => self.tell(event),
                Err(SendError::Link(error)) => return self.tell(Event::LinkLost(told(&error))),
                Err(SendError::Ram(error)) => self.tell(Event::MachineFailed(told(&error))),
            }
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more when the move is over.
        let _ = self.events.send((Instant::now(), event));
    }

    fn carry_out(&mut self, job: Job) -> Result<Option<Event>, SendError> {
        let halted = self.halted.load(Ordering::SeqCst);
        match job {
            Job::Say(SourceMessage::DeviceState(_)) | Job::Pages(_) | Job::StateEnd(_)
                if halted => {}
            Job::Say(message) => self.sender.send(&message)?,
            Job::Probe(rate) => probe(&mut self.sender, rate)?,
            Job::Pages(batch) => return self.send(&batch),
            Job::StateEnd(bytes) => {
                let sent = self.sender.sent().total();
                return Ok(Some(Event::StateSent { bytes, sent }));
            }
            Job::End => {}
        }
        Ok(None)
    }

    fn send(&mut self, batch: &Batch) -> Result<Option<Event>, SendError> {
        let (events, halted) = (&self.events, &self.halted);
        let mut told = Instant::now();
        let all = self.pages.send(batch, &mut self.sender, |sender, pages| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let sent = sender.sent().total();
                let _ = events.send((told, Event::Sending { sent, pages }));
            }
            !halted.load(Ordering::SeqCst)
        })?;
        Ok(all.then(|| Event::PagesSent { sent: self.sender.sent().total() }))
    }
}
