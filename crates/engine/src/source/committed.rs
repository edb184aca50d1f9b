//! Behind the commit: no state here has an effect, so nothing here can let the machine run.

use std::time::Duration;

use punctual_units::Pages;
use punctual_wire::DestinationMessage;

use super::context::Context;
use super::event::Event;
use crate::course::Ended;
use crate::report::{Ending, Holder, Report};

/// The destination lets the machine run within milliseconds; whoever waits longer is told that it
/// was not heard of.
const RUNNING: Duration = Duration::from_secs(15);

/// The machine belongs to the destination, which has still to say that it runs.
#[derive(Debug, Clone)]
pub struct Committed {
    context: Box<Context>,
    since: Duration,
    link_lost: Option<String>,
}

/// The end of an attempt after which the machine is the destination's.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The report.
    pub report: Report,
    /// Whether the destination said that the machine runs. If not, what is left at the source is
    /// to be kept until it does: it cannot run, but it can be looked at.
    pub seen_running: bool,
    /// How many pages the destination lacks yet.
    pub left: Pages,
}

/// Nobody can tell whether the commit was recorded. The machine stays paused until the log has been
/// read again.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// The report.
    pub report: Report,
}

impl Committed {
    pub(super) fn begin(context: Context, at: Duration, link_lost: Option<String>) -> Self {
        Self { context: Box::new(context), since: at, link_lost }
    }

    /// Takes in what happened `at` this time since the beginning.
    ///
    /// # Errors
    /// Not an error: the attempt has ended.
    pub fn step(mut self, at: Duration, event: Event) -> Result<Self, Box<Moved>> {
        self.context.note(at, &event);
        match event {
            Event::Heard(DestinationMessage::Running { .. }) => {
                self.context.course.running(at);
                Err(self.ended(at, None))
            }
            Event::Heard(DestinationMessage::Failed { reason }) => {
                Err(self.ended(at, Some(reason)))
            }
            Event::LinkLost(reason) => Err(self.ended(at, Some(reason))),
            _ if self.link_lost.is_some() => {
                let reason = self.link_lost.take();
                Err(self.ended(at, reason))
            }
            _ if at.saturating_sub(self.since) > RUNNING => {
                Err(self.ended(at, Some("it did not answer".to_owned())))
            }
            _ => Ok(self),
        }
    }

    fn ended(self, at: Duration, trouble: Option<String>) -> Box<Moved> {
        let Context { course, offer, request, left, .. } = *self.context;
        let seen_running = trouble.is_none();
        let (outcome, reason) = match trouble {
            None => (Ending::Completed, String::new()),
            Some(trouble) => (
                Ending::Failed,
                format!(
                    "the machine belongs to host `{}`, which has not said that it runs: {trouble}; \
                     look at it there",
                    request.to
                ),
            ),
        };
        let ended =
            Ended { outcome, owner: Holder::Destination, promise: None, reason, codes: vec![] };
        let report = course.report(at, &offer, &request, ended);
        Box::new(Moved { report, seen_running, left })
    }
}

impl Unknown {
    pub(super) fn begin(context: Context, at: Duration, reason: String) -> Self {
        let Context { course, offer, request, .. } = context;
        let reason = format!("the machine stays paused: {reason}");
        let (outcome, owner) = (Ending::Failed, Holder::Unknown);
        let ended = Ended { outcome, owner, promise: None, reason, codes: vec![] };
        Self { report: course.report(at, &offer, &request, ended) }
    }
}
