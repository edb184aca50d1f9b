//! How a line is kept: opened, and opened again when it was lost, until the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use punctual_link::LinkError;
use punctual_wire::{MigrationId, PageLine, Serve, SourceMessage};

use super::shared::Shared;
use crate::Connection;
use crate::driver::told;
use crate::post_copy::{Dial, SILENCE, start};

/// Before a lost line is dialled for the first time, ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// ... and, doubling, each time that fails, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A line that was there for so long was no failure.
const PROVEN: Duration = Duration::from_secs(1);

/// Opens a line and says what it is for.
pub(super) fn greet(
    dial: &Dial,
    migration: MigrationId,
    line: PageLine,
) -> Result<Connection, LinkError> {
    let mut connection = dial()?;
    connection.receiver.set_silence(SILENCE)?;
    connection.sender.send(&SourceMessage::Serve(Serve { migration, line }))?;
    Ok(connection)
}

/// Serves over a line, again and again, until it is over. `serve` returns why the line is of no use
/// any more.
pub(super) fn keep(
    shared: &Arc<Shared>,
    line: PageLine,
    first: Option<Connection>,
    mut serve: impl FnMut(Connection) -> String,
) {
    let mut patience = Patience { pause: Duration::ZERO, dials: 0 };
    let mut next = first;
    loop {
        let connection = next.take().or_else(|| redial(shared, line, &mut patience));
        let Some(connection) = connection else { return };
        if !shared.connected(line, connection.closer.clone()) {
            return;
        }
        let (begin, closer) = (Instant::now(), connection.closer.clone());
        let why = serve(connection);
        closer.close();
        shared.lost(line, &why);
        if begin.elapsed() >= PROVEN {
            patience.pause = Duration::ZERO;
        }
        patience.failed();
    }
}

/// How long to wait before the next attempt.
struct Patience {
    pause: Duration,
    /// Which dial has failed so far: another is tried at once.
    dials: u32,
}

impl Patience {
    fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// Waits; `false`: it is over.
    fn wait(&mut self, shared: &Shared) -> bool {
        let until = Instant::now() + self.pause;
        let mut inner = shared.lock();
        while !inner.over && inner.dials == self.dials && Instant::now() < until {
            inner = shared.pause(inner, Some(until));
        }
        if inner.dials != self.dials {
            *self = Self { pause: Duration::ZERO, dials: inner.dials };
        }
        !inner.over
    }
}

/// Dials until somebody answers; `None`: it is over.
fn redial(shared: &Arc<Shared>, line: PageLine, patience: &mut Patience) -> Option<Connection> {
    while patience.wait(shared) {
        match dial_once(shared, line, patience.dials)? {
            Dialled::Answered(connection) => return Some(connection),
            Dialled::Failed(error) => {
                shared.lock().lines.still_lost(line, told(&error));
                patience.failed();
            }
            Dialled::Gone => patience.failed(),
            Dialled::Replaced => {}
        }
    }
    None
}

enum Dialled {
    Answered(Connection),
    Failed(LinkError),
    Replaced,
    /// Whoever dialled has ended without an answer.
    Gone,
}

/// Dials on a thread of its own, which is left to itself when nobody needs its answer any more:
/// connecting cannot be interrupted. It touches nothing of the machine, and ends with the attempt.
fn dial_once(shared: &Arc<Shared>, line: PageLine, dials: u32) -> Option<Dialled> {
    let answer = Arc::new(Mutex::new(None));
    let dial = Arc::clone(&shared.lock().dial);
    let migration = shared.task.migration;
    let thread = {
        let (answer, shared) = (Arc::clone(&answer), Arc::downgrade(shared));
        start("page-dial", move || {
            let result = greet(&dial, migration, line);
            if let Some(shared) = shared.upgrade() {
                // Under the lock that is waited with, so that the answer is not missed.
                let _inner = shared.lock();
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                shared.notify();
            }
        })
    };
    let mut inner = shared.lock();
    loop {
        if inner.over {
            return None;
        }
        // Its lock is not held while this waits.
        let answered = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match answered {
            Some(Ok(connection)) => return Some(Dialled::Answered(connection)),
            Some(Err(error)) => return Some(Dialled::Failed(error)),
            None if inner.dials != dials => return Some(Dialled::Replaced),
            // It has panicked: the next attempt is made behind a pause like behind any failure.
            None if thread.is_finished() => return Some(Dialled::Gone),
            None => inner = shared.pause(inner, Some(Instant::now() + LONGEST_PAUSE)),
        }
    }
}
