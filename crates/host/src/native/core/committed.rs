//! Behind the commit: no state here has an effect, so nothing here can let the machine run.

use std::time::Duration;

use punctual_wire::DestinationMessage;

use super::{Event, Marks};

/// How long to wait for the word that the machine runs there.
const RUNNING: Duration = Duration::from_secs(15);

/// The machine belongs to the destination, which has still to say that it runs.
#[derive(Debug, Clone)]
pub(in crate::native) struct Committed {
    marks: Marks,
    since: Duration,
    link_lost: Option<String>,
}

/// The end of an attempt after which the machine is the destination's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::native) struct Moved {
    pub(in crate::native) marks: Marks,
    /// Why the destination was not heard to run it; `None` if it was.
    pub(in crate::native) trouble: Option<String>,
}

impl Committed {
    pub(super) fn begin(marks: Marks, at: Duration, link_lost: Option<String>) -> Self {
        Self { marks, since: at, link_lost }
    }

    /// Takes in what happened `at` this time since the beginning.
    ///
    /// # Errors
    /// Not an error: the attempt has ended.
    pub(in crate::native) fn step(
        mut self,
        at: Duration,
        event: Event,
    ) -> Result<Self, Box<Moved>> {
        let trouble = match event {
            Event::Heard(DestinationMessage::Running { .. }) => {
                self.marks.running = Some(at);
                return Err(Box::new(Moved { marks: self.marks, trouble: None }));
            }
            Event::Heard(DestinationMessage::Failed { reason }) | Event::LinkLost(reason) => reason,
            _ => match self.link_lost.take() {
                Some(reason) => reason,
                None if at.saturating_sub(self.since) > RUNNING => "it did not answer".to_owned(),
                None => return Ok(self),
            },
        };
        Err(Box::new(Moved { marks: self.marks, trouble: Some(trouble) }))
    }
}
