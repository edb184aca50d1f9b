//! Two hosts in one process: machines, a connection over loopback, logs in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use punctual_engine::post_copy::Dial;
use punctual_engine::report::Policy;
use punctual_engine::{
    Admission, Cancel, Connection, Emigration, Entry, Immigration, Journal, JournalError, Lines,
    Observer, Phase, Progress, Request, SourceHost, Unanswered, emigrate, immigrate, journal,
};
use punctual_guest::fake::Fake;
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_link::{Link, Listener, Timeouts};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PAGE_SIZE, PageIndex, Region};
use punctual_wire::{MigrationId, Offer, Outcome, Refusal, SourceMessage};

pub(crate) const ATTEMPT: MigrationId = MigrationId(77);

/// Two regions, so that runs of pages cross a border.
pub(crate) fn layout(size: Bytes) -> MemoryLayout {
    let half = Bytes::new(size.get() / 2);
    let region = |name: &str| Region { name: name.to_owned(), size: half };
    MemoryLayout::new(vec![region("ram0"), region("dimm1")]).unwrap()
}

pub(crate) fn offer(layout: &MemoryLayout) -> Offer {
    Offer {
        migration: ATTEMPT,
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: "192.0.2.1:7000".to_owned(),
        layout: layout.clone(),
        populated: layout.pages().bytes(),
        description: vec![],
        downtime: Duration::from_secs(2),
        bandwidth: None,
        verify: true,
        dry_run: false,
        post_copy: false,
        engine: punctual_wire::Engine::External,
    }
}

pub(crate) fn request() -> Request {
    Request {
        within: Duration::from_secs(60),
        round_trip: Duration::from_millis(1),
        ..Request::new("b", Policy::HeldBack)
    }
}

/// A connection over loopback: the source's end, and the destination's.
pub(crate) fn connect() -> (Link, Link) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.address().to_owned();
    let connecting = thread::spawn(move || Link::connect(&address, &Timeouts::default()).unwrap());
    let there = listener.accept().unwrap().greet(&Timeouts::default()).unwrap();
    (connecting.join().unwrap(), there)
}

/// What the log does when the commit is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCommit {
    Record,
    Fail,
    /// It is not known, and this is the truth.
    Doubt {
        recorded: bool,
    },
    /// The daemon dies, before or behind the record.
    Crash {
        recorded: bool,
    },
}

/// A log in memory.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) entries: Arc<Mutex<Vec<Entry>>>,
    pub(crate) under_way: Arc<AtomicBool>,
    on_commit: OnCommit,
}

impl Log {
    pub(crate) fn new(on_commit: OnCommit) -> Self {
        let under_way = Arc::new(AtomicBool::new(true));
        Self { entries: Arc::default(), under_way, on_commit }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let entries = self.entries.lock().unwrap();
        journal::outcome(entries.iter(), ATTEMPT, self.under_way.load(Ordering::SeqCst))
    }
}

impl Journal for Log {
    fn record(&self, entry: &Entry) -> Result<(), JournalError> {
        let record = || self.entries.lock().unwrap().push(entry.clone());
        if !matches!(entry, Entry::Committed { .. }) {
            record();
            return Ok(());
        }
        match self.on_commit {
            OnCommit::Record | OnCommit::Doubt { recorded: true } => record(),
            OnCommit::Crash { recorded } => {
                if recorded {
                    record();
                }
                panic!("the daemon dies here, as the test wants");
            }
            OnCommit::Fail | OnCommit::Doubt { recorded: false } => {}
        }
        match self.on_commit {
            OnCommit::Fail => Err(JournalError::NotRecorded("the disk is full".into())),
            OnCommit::Doubt { .. } => Err(JournalError::Unknown("fsync failed".into())),
            _ => Ok(()),
        }
    }
}

/// Does something once when a phase is reached.
pub(crate) struct At<F> {
    phase: Phase,
    then: F,
    done: AtomicBool,
}

impl<F: Fn() + Send + Sync> At<F> {
    pub(crate) fn new(phase: Phase, then: F) -> Self {
        Self { phase, then, done: AtomicBool::new(false) }
    }
}

impl<F: Fn() + Send + Sync> Observer for At<F> {
    fn progress(&self, progress: &Progress) {
        if progress.phase == self.phase && !self.done.swap(true, Ordering::SeqCst) {
            (self.then)();
        }
    }
}

/// What a destination says to an offer.
pub(crate) type Prepare = Box<dyn FnOnce() -> Result<Admission, Vec<Refusal>> + Send>;

pub(crate) fn admit(machine: impl DestinationMachine + 'static) -> Prepare {
    Box::new(move || {
        let start = move || Ok(Box::new(machine) as Box<dyn DestinationMachine>);
        Ok(Admission { command_line: vec!["qemu".to_owned()], start: Box::new(start) })
    })
}

/// A destination that takes one machine, on a thread of its own.
pub(crate) fn receive(
    link: Link,
    prepare: Prepare,
    source_log: Log,
    lines: Lines,
) -> JoinHandle<Immigration> {
    thread::spawn(move || {
        let mut link = Connection::from(link);
        let Ok(SourceMessage::Offer(offer)) = link.receiver.receive_message() else {
            return Immigration::NothingStarted { reason: "no offer came".to_owned() };
        };
        let log = Log::new(OnCommit::Record);
        let arbiter = |_| -> Result<Outcome, Unanswered> { Ok(source_log.outcome()) };
        immigrate(link, *offer, |_| prepare(), &log, arbiter, lines)
    })
}

/// What opens connections for pages at the source, and where they come out at the destination. The
/// thread behind it ends with the last that can open one.
pub(crate) fn page_lines() -> (Dial, Lines) {
    let listener = Arc::new(Listener::bind("127.0.0.1:0").unwrap());
    let address = listener.address().to_owned();
    let (sender, lines) = mpsc::channel();
    let accepting = Arc::clone(&listener);
    thread::spawn(move || {
        while let Ok(arrival) = accepting.accept() {
            let Ok(link) = arrival.greet(&Timeouts::default()) else { continue };
            let mut link = Connection::from(link);
            if let Ok(SourceMessage::Serve(serve)) = link.receiver.receive_message()
                && sender.send((serve.line, link)).is_err()
            {
                return;
            }
        }
    });
    let closing = Closing(listener);
    let dial = move || {
        let _ = &closing;
        Ok(Connection::from(Link::connect(&address, &Timeouts::default())?))
    };
    (Arc::new(dial), lines)
}

/// Closes a listener when it is dropped.
struct Closing(Arc<Listener>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One move of a machine, and what became of it on either side.
pub(crate) struct Attempt<'a> {
    pub(crate) offer: Offer,
    pub(crate) request: Request,
    pub(crate) log: Log,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: Cancel,
    pub(crate) rate: Option<BytesPerSecond>,
}

impl Attempt<'_> {
    pub(crate) fn new(layout: &MemoryLayout) -> Self {
        Self {
            offer: offer(layout),
            request: request(),
            log: Log::new(OnCommit::Record),
            observer: &(),
            cancel: Cancel::new(),
            rate: None,
        }
    }

    pub(crate) fn run(
        &self,
        machine: Box<dyn SourceMachine>,
        prepare: Prepare,
    ) -> (Emigration, Immigration) {
        self.run_over(connect(), machine, prepare)
    }

    pub(crate) fn run_over(
        &self,
        (here, there): (Link, Link),
        machine: Box<dyn SourceMachine>,
        prepare: Prepare,
    ) -> (Emigration, Immigration) {
        here.pace(self.rate).unwrap();
        let (dial, lines) = page_lines();
        let destination = receive(there, prepare, self.log.clone(), lines);
        let host = SourceHost {
            journal: &self.log,
            observer: self.observer,
            cancel: &self.cancel,
            dial: Some(dial),
        };
        let emigration = emigrate(machine, here, self.offer.clone(), &self.request, host);
        self.log.under_way.store(false, Ordering::SeqCst);
        (emigration, destination.join().unwrap())
    }
}

/// A guest that writes, until it is dropped.
pub(crate) struct Writing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writing {
    /// Writes whole pages of noise, `pages` of them over and over, one each `pause`, or as fast as
    /// can be; in less of its time the guest writes the fewer. What is late on a busy computer is
    /// made up for.
    pub(crate) fn begin(guest: &Fake, pages: u64, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, guest) = (Arc::clone(&stop), guest.clone());
        let thread = thread::spawn(move || {
            let (mut seed, mut owed, mut looked) = (1_u64, Duration::ZERO, Instant::now());
            while !stopped.load(Ordering::SeqCst) {
                owed += looked.elapsed().mul_f64(guest.share().get());
                looked = Instant::now();
                owed = owed.min(pause * u32::try_from(pages).unwrap()).max(pause);
                while owed >= pause && !stopped.load(Ordering::SeqCst) {
                    let page = noise(&mut seed);
                    guest.guest_writes(PageIndex(seed % pages), Bytes::ZERO, &page);
                    owed -= pause;
                }
                thread::sleep(pause.div_f64(guest.share().get()));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A page that nothing can compress.
pub(crate) fn noise(seed: &mut u64) -> Vec<u8> {
    (0..PAGE_SIZE.get() / 8)
        .flat_map(|_| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            seed.to_le_bytes()
        })
        .collect()
}

/// A running machine of which a half is noise, a quarter text and a quarter untouched.
pub(crate) fn running(layout: &MemoryLayout) -> Fake {
    let guest = Fake::running("web", layout.clone()).unwrap();
    let pages = layout.pages().get();
    let mut seed = 42;
    for page in 0..pages / 4 * 3 {
        let content = if page < pages / 2 {
            noise(&mut seed)
        } else {
            format!("page {page} ").repeat(700).into_bytes()[..4096].to_vec()
        };
        assert!(guest.guest_writes(PageIndex(page), Bytes::ZERO, &content));
    }
    guest
}
