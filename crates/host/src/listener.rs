//! Whoever asked for something that takes a while, and wants to hear how it goes on.

use punctual_engine::Cancel;
use tokio::sync::watch;

/// Tells how something goes on. Dropping it ends that early.
#[derive(Debug)]
pub(crate) struct Listener<T> {
    events: watch::Receiver<Option<T>>,
    cancel: Cancel,
}

/// The other end: tells a listener the newest event. What was told last is always heard.
#[derive(Debug)]
pub(crate) struct Teller<T>(watch::Sender<Option<T>>);

/// The two ends for something that `cancel` ends.
pub(crate) fn listen<T>(cancel: Cancel) -> (Teller<T>, Listener<T>) {
    let (tell, events) = watch::channel(None);
    (Teller(tell), Listener { events, cancel })
}

impl<T> Teller<T> {
    /// Tells an event. One that was told before and not yet heard is not heard any more.
    pub(crate) fn tell(&self, event: T) {
        self.0.send_replace(Some(event));
    }
}

impl<T: Clone> Listener<T> {
    /// The newest event that has not been heard; `None` once the last has been.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.events.changed().await.ok()?;
        self.events.borrow_and_update().clone()
    }
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
