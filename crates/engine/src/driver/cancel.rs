use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The wish to end a move. It is heard within some 20 ms; behind the commit it comes too late and
/// changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nobody wishes so yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wishes it, from any thread.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has wished it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
