//! The way between two hosts: real sockets over loopback, which can be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use punctual_engine::Connection;
use punctual_engine::post_copy::Dial;
use punctual_link::{Closer, Link, LinkFault, Listener, Receiver, Timeouts};
use punctual_units::{MemoryLayout, PageRange, PageSet};
use punctual_wire::pages::Encoder;
use punctual_wire::{DestinationMessage, MigrationId, PageLine, PageRuns, Serve, SourceMessage};

pub(crate) const MOVE: MigrationId = MigrationId(77);

/// The destination's host: takes in connections and hands those on that say what they are for.
pub(crate) struct Road {
    listener: Arc<Listener>,
    there: Arc<There>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct There {
    /// Where lines go; while there is nobody they are closed.
    to: Mutex<Option<mpsc::Sender<(PageLine, Connection)>>>,
    closers: Mutex<Vec<(PageLine, Closer)>>,
    /// Connections are closed as they come.
    refusing: AtomicBool,
}

impl Road {
    pub(crate) fn new() -> Self {
        let listener = Arc::new(Listener::bind("127.0.0.1:0").unwrap());
        let there = Arc::new(There::default());
        let thread = {
            let (listener, there) = (Arc::clone(&listener), Arc::clone(&there));
            thread::spawn(move || {
                while let Ok(arrival) = listener.accept() {
                    // One that was cut while it greeted.
                    let Ok(link) = arrival.greet(&Timeouts::default()) else { continue };
                    there.take(link.into());
                }
            })
        };
        Self { listener, there, thread: Some(thread) }
    }

    /// What a source dials.
    pub(crate) fn dial(&self) -> Dial {
        let address = self.listener.address().to_owned();
        Arc::new(move || Link::connect(&address, &Timeouts::default()).map(Connection::from))
    }

    /// The lines from now on.
    pub(crate) fn lines(&self) -> mpsc::Receiver<(PageLine, Connection)> {
        let (sender, receiver) = mpsc::channel();
        *self.there.to.lock().unwrap() = Some(sender);
        receiver
    }

    /// Cuts all connections of a line that there are.
    pub(crate) fn cut(&self, which: impl Fn(PageLine) -> bool) {
        self.there.closers.lock().unwrap().retain(|(line, closer)| {
            if which(*line) {
                closer.close();
            }
            !which(*line)
        });
    }

    /// Whether connections are closed as they come.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.there.refusing.store(refusing, Ordering::SeqCst);
    }
}

impl There {
    fn take(&self, mut connection: Connection) {
        if self.refusing.load(Ordering::SeqCst) {
            return;
        }
        let Ok(SourceMessage::Serve(Serve { migration, line })) =
            connection.receiver.receive_message()
        else {
            return;
        };
        assert_eq!(migration, MOVE);
        self.closers.lock().unwrap().push((line, connection.closer.clone()));
        if let Some(to) = &*self.to.lock().unwrap() {
            // Nobody may be there any more.
            let _ = to.send((line, connection));
        }
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.listener.close();
        self.cut(|_| true);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A connection over loopback: the source's end and the destination's.
pub(crate) fn connect() -> (Connection, Connection) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.address().to_owned();
    let here = thread::spawn(move || Link::connect(&address, &Timeouts::default()).unwrap());
    let there = listener.accept().unwrap().greet(&Timeouts::default()).unwrap();
    (here.join().unwrap().into(), there.into())
}

/// The two lines that a source opens, in any order: faults, push.
pub(crate) fn both(lines: &mpsc::Receiver<(PageLine, Connection)>) -> (Connection, Connection) {
    let (mut faults, mut push) = (None, None);
    while faults.is_none() || push.is_none() {
        match lines.recv_timeout(Duration::from_secs(10)).unwrap() {
            (PageLine::Faults, connection) => faults = Some(connection),
            (PageLine::Push, connection) => push = Some(connection),
        }
    }
    (faults.unwrap(), push.unwrap())
}

/// The next message of a destination.
pub(crate) fn heard(connection: &mut Connection) -> DestinationMessage {
    connection.receiver.set_silence(Duration::from_secs(10)).unwrap();
    connection.receiver.receive_message().unwrap()
}

/// Waits until the other side has closed the connection, leaving out what it says before.
pub(crate) fn closed(receiver: &mut Receiver, layout: &MemoryLayout) {
    receiver.set_silence(Duration::from_secs(10)).unwrap();
    loop {
        match receiver.receive::<SourceMessage>(layout) {
            Ok(_) => {}
            Err(error) => {
                let closed = matches!(error.fault, LinkFault::Closed | LinkFault::CutOff);
                assert!(closed, "{error}");
                return;
            }
        }
    }
}

/// All pages of a set, as one says that they are lacking.
pub(crate) fn lacking(pages: &PageSet) -> Vec<DestinationMessage> {
    let mut pieces = PageRuns::pieces(pages);
    let last = DestinationMessage::Lacking { pages: pieces.pop().unwrap_or_default(), last: true };
    let pieces = pieces.into_iter().map(|pages| DestinationMessage::Lacking { pages, last: false });
    pieces.chain([last]).collect()
}

/// Sends pages as a source does, `content` of each.
pub(crate) fn send(
    connection: &mut Connection,
    layout: &MemoryLayout,
    pages: PageRange,
    content: &[u8],
) {
    let mut encoder = Encoder::without_history(layout.clone());
    let read = |pages: PageRange, into: &mut [u8]| {
        into.copy_from_slice(&content.repeat(pages.len().get() as usize));
        Ok(())
    };
    encoder.encode([pages], read, |payload| connection.sender.send_packed(payload)).unwrap();
}
