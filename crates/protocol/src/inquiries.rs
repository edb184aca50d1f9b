//! Questions about attempts, each on a connection of its own.

use crate::cores::{Answer, Input};
use crate::model::Model;
use crate::rules::Deviation;
use crate::tasks::{Task, Written};
use crate::world::{Asking, Inquiry, Role, Standing, Thread, World};

impl Model {
    /// What a source answers; mirrors `punctual_host::arrivals`, `Host::outcome`, and
    /// `punctual_engine::journal::outcome`.
    pub(crate) fn outcome(&self, world: &World, attempt: u8) -> Answer {
        let asked = &world.attempts[usize::from(attempt)];
        let host = &world.hosts[usize::from(asked.from)];
        if asked.committed == Written::Yes && !asked.forgotten {
            return Answer::Committed;
        }
        let leaves = |thread: &Thread| thread.role == Role::Leaving && thread.attempt == attempt;
        let by_thread =
            host.threads.iter().any(leaves) && !self.rules.have(Deviation::AnswersTooEarly);
        let by_record = match host.record {
            Some(Standing::Undecided(undecided)) => undecided == attempt,
            Some(Standing::Leaving(leaving)) => {
                leaving == attempt
                    && !self.rules.have(Deviation::UndecidedOnlyByItsRecord)
                    && !self.rules.have(Deviation::AnswersTooEarly)
            }
            _ => false,
        };
        let unknown = asked.forgotten && !self.rules.have(Deviation::PresumesAborted);
        if by_thread || by_record || unknown { Answer::Undecided } else { Answer::Aborted }
    }

    /// A source hears a question and answers it; mirrors `punctual_host::arrivals::hear`.
    pub(crate) fn serve(&self, world: &mut World, attempt: u8, stray: bool) {
        let answer = self.outcome(world, attempt);
        let asked = world.attempt(attempt);
        let source = asked.from;
        if stray {
            asked.stray = false;
        } else {
            asked.inquiry = Inquiry::Answered(answer);
        }
        if answer != Answer::Committed {
            return;
        }
        let owed = asked.owing == Written::Yes
            && asked.surrendered != Written::Yes
            && !self.rules.have(Deviation::ClearsWhatIsOwed);
        let host = world.host(source);
        let departed = host.record == Some(Standing::Departed(attempt)) && !owed
            || host.record == Some(Standing::Serving(attempt))
                && self.rules.have(Deviation::ClearsWhatIsServed);
        if departed {
            if !self.rules.have(Deviation::ClearsTwice) {
                host.record = Some(Standing::Ending);
            }
            let todo = vec![Task::Remove, Task::RemoveRecord];
            host.threads.push(Thread::of(Role::Clearing, attempt, todo));
        }
    }

    /// What reminds a source that its machine runs; mirrors `punctual_host::arrivals::remind`.
    pub(crate) fn reminder(&self, attempt: u8) -> Thread {
        let times = if self.rules.have(Deviation::RemindersComeTooEarly) { 1 } else { 2 };
        Thread::of(Role::Reminding, attempt, vec![Task::Ask; times])
    }

    /// Whether a thread is to ask now. A reminder asks once more, so much later that a source that
    /// waited for word has given up waiting.
    pub(crate) fn asks(&self, world: &World, thread: &Thread) -> bool {
        let last = thread.role == Role::Reminding
            && thread.todo.len() == 1
            && !self.rules.have(Deviation::RemindersComeTooEarly);
        let source = world.attempts[usize::from(thread.attempt)].from;
        let source = &world.hosts[usize::from(source)];
        let follows = |thread: &Thread| thread.todo.first() == Some(&Task::Follow);
        let waits = source.record == Some(Standing::Leaving(thread.attempt))
            && !source.threads.iter().any(follows);
        match thread.todo.first() {
            Some(task) => *task == Task::Ask && !(last && waits),
            None => thread.is_idle() && thread.asking == Asking::Due,
        }
    }

    /// A thread asks; nobody answers where the source is down.
    pub(crate) fn ask(&self, world: &mut World, host: u8, thread: usize) {
        let attempt = world.thread(host, thread).attempt;
        world.thread(host, thread).asking = Asking::Waiting;
        if self.is_local() {
            return self.ask_here(world, host, thread);
        }
        let source = world.attempt(attempt).from;
        let heard = world.serves(source);
        world.attempt(attempt).inquiry = if heard { Inquiry::Asked } else { Inquiry::Lost };
    }

    /// A thread takes the answer, or learns that there is none.
    pub(crate) fn answered(&mut self, world: &mut World, host: u8, thread: usize) {
        let attempt = world.thread(host, thread).attempt;
        let inquiry = std::mem::replace(&mut world.attempt(attempt).inquiry, Inquiry::Idle);
        let answer = match inquiry {
            Inquiry::Answered(answer) => Some(answer),
            _ => None,
        };
        let asker = world.thread(host, thread);
        asker.asking = Asking::No;
        match (asker.role, answer) {
            (Role::Arriving, _) => self.feed(world, host, thread, Input::Answered(answer)),
            (Role::Reminding, Some(_)) => drop(asker.todo.pop()),
            (Role::Reminding, None) => {}
            // As `punctual_host::recovery::ask`.
            (_, Some(Answer::Committed)) => {
                let tasks = self.keep(world, host, attempt, Some(Task::RecordRunning));
                world.thread(host, thread).todo = tasks;
            }
            (_, Some(Answer::Aborted)) => asker.todo = super::recovery::give_up(),
            (_, Some(Answer::Undecided) | None) => {}
        }
    }

    /// An inquiry comes to nothing, though the question may still come some time.
    pub(crate) fn lose_inquiry(&self, world: &mut World, attempt: u8) {
        let asked = world.attempt(attempt);
        asked.stray |= asked.inquiry == Inquiry::Asked;
        asked.inquiry = Inquiry::Lost;
    }
}
