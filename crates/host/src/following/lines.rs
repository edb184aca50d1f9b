//! Which machine a connection for pages belongs to.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use punctual_engine::Connection;
use punctual_wire::{MigrationId, PageLine, Serve};

/// The attempts of which this host is the destination and by which pages may follow.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    expected: Mutex<BTreeMap<u128, Sender<(PageLine, Connection)>>>,
}

/// Expects connections for pages of one attempt, until it is dropped.
pub(crate) struct Expected {
    lines: Arc<Lines>,
    migration: MigrationId,
}

impl Lines {
    /// Expects connections for pages of an attempt from now on.
    pub(crate) fn expect(
        self: &Arc<Self>,
        migration: MigrationId,
    ) -> (Expected, Receiver<(PageLine, Connection)>) {
        let (sender, receiver) = mpsc::channel();
        self.lock().insert(migration.0, sender);
        (Expected { lines: Arc::clone(self), migration }, receiver)
    }

    /// Hands a connection to whoever expects it; gives it back where nobody does.
    pub(crate) fn deliver(&self, serve: Serve, link: Connection) -> Option<Connection> {
        let expected = self.lock();
        let Some(sender) = expected.get(&serve.migration.0) else { return Some(link) };
        sender.send((serve.line, link)).err().map(|unsent| unsent.0.1)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u128, Sender<(PageLine, Connection)>>> {
        self.expected.lock().expect("no thread panics while it holds the list of lines")
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.lines.lock().remove(&self.migration.0);
    }
}
