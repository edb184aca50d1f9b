use std::time::Duration;

use super::context::Context;
use super::event::{Event, Why};
use super::phases::{State, Transition};

/// The machine is being made to run on here. Whatever else comes is late and does not matter.
#[derive(Debug, Clone)]
pub(super) struct Aborting {
    pub(super) why: Why,
}

impl Aborting {
    pub(super) fn step(self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let resume_failed = match event {
            Event::Resumed => {
                context.course.running(at);
                None
            }
            Event::MachineFailed(reason) => Some(reason),
            _ => return Transition::To(State::Aborting(self), vec![]),
        };
        let farewell = self.why.is_to_be_told();
        Transition::Stay { why: self.why, resume_failed, farewell }
    }
}
