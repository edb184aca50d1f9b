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
    let mut pause = Duration::ZERO;
    let mut next = first;
    loop {
        let connection = next.take().or_else(|| redial(shared, line, &mut pause));
        let Some(connection) = connection else { return };
        if !shared.connected(line, connection.closer.clone()) {
            return;
        }
        let (begin, closer) = (Instant::now(), connection.closer.clone());
        let why = serve(connection);
        closer.close();
        shared.lost(line, &why);
        if begin.elapsed() >= PROVEN {
            pause = Duration::ZERO;
        }
        pause = longer(pause);
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Dials until somebody answers; `None`: it is over.
fn redial(shared: &Arc<Shared>, line: PageLine, pause: &mut Duration) -> Option<Connection> {
    loop {
        let dials = wait(shared, *pause)?;
        match dial_once(shared, line, dials)? {
            Dialled::Answered(connection) => return Some(connection),
            Dialled::Failed(error) => {
                shared.lock().lines.still_lost(line, told(&error));
                *pause = longer(*pause);
            }
            // At once, with another.
            Dialled::Replaced => *pause = Duration::ZERO,
        }
    }
}

/// Waits before the next attempt, unless the dial is replaced meanwhile. Returns which it is.
fn wait(shared: &Shared, pause: Duration) -> Option<u32> {
    let until = Instant::now() + pause;
    let mut inner = shared.lock();
    let dials = inner.dials;
    while !inner.over && inner.dials == dials && Instant::now() < until {
        inner = shared.pause(inner, Some(until));
    }
    (!inner.over).then_some(inner.dials)
}

enum Dialled {
    Answered(Connection),
    Failed(LinkError),
    Replaced,
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
        match answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Ok(connection)) => return Some(Dialled::Answered(connection)),
            Some(Err(error)) => return Some(Dialled::Failed(error)),
            None if inner.dials != dials => return Some(Dialled::Replaced),
            None if thread.is_finished() => return Some(Dialled::Replaced),
            None => inner = shared.pause(inner, None),
        }
    }
}
