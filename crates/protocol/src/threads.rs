//! What a thread makes of what it is told.

use punctual_wire::SourceMessage;

use crate::cores::{Input, Reached};
use crate::following::Stage;
use crate::model::Model;
use crate::rules::Deviation;
use crate::tasks::{Task, Written};
use crate::world::{Asking, Pages, Role, Standing, Thread, World};

impl Model {
    /// Tells a thread's state machine something.
    pub(crate) fn feed(&mut self, world: &mut World, host: u8, thread: usize, input: Input) {
        let Some(core) = world.thread(host, thread).core else { return };
        let unsure = input == Input::LinkLost
            && self.rules.have(Deviation::DiscardsWhenUnsure)
            && self.cores.may_be_committed(core);
        if unsure {
            let todo = vec![Task::Remove, Task::Close, Task::Forget];
            let attempt = world.thread(host, thread).attempt;
            *world.thread(host, thread) = Thread::of(Role::Arriving, attempt, todo);
            return;
        }
        let reaction = self.cores.react(core, input);
        let tasks = reaction.tasks.clone();
        let there = world.host(host).copy.map(|copy| copy.pages);
        let (begun, paged) = match world.thread(host, thread).role {
            Role::Arriving => (false, there.is_some_and(|pages| pages != Pages::Own)),
            _ => {
                let attempt = world.thread(host, thread).attempt;
                (world.attempt(attempt).service.stage != Stage::None, false)
            }
        };
        self.follow(world.thread(host, thread), reaction.reached, tasks, begun || paged);
    }

    /// Gives a thread what follows from a step of its state machine; mirrors the drivers
    /// (`punctual_engine::driver::{source, destination}`) and what their callers do at the end
    /// (`punctual_host::departure::settle`, `punctual_host::arrivals::arrive`).
    ///
    /// Pages `follow` the machine, or may: they are served, or were missing.
    pub(crate) fn follow(
        &mut self,
        thread: &mut Thread,
        reached: Reached,
        tasks: Vec<Task>,
        follow: bool,
    ) {
        for task in tasks {
            self.give(thread, task);
        }
        if self.is_local() && !matches!(reached, Reached::On(_)) {
            *thread = Thread { core: None, answers: vec![], later: vec![], ..thread.clone() };
            thread.asking = Asking::No;
            thread.todo.extend(self.follow_here(reached));
            return;
        }
        let attempt = thread.attempt;
        let resident = Task::Stand(Standing::Resident);
        let ending = match reached {
            Reached::On(core) => {
                thread.core = Some(core);
                return;
            }
            Reached::Moved { seen_running, leaves_pages }
                if follow && self.is_followed(seen_running, leaves_pages) =>
            {
                let serving = Task::Stand(Standing::Serving(attempt));
                vec![Task::Close, serving, Task::Follow]
            }
            Reached::Moved { seen_running: true, .. } => {
                let ended = if follow { Task::RecordSurrendered } else { Task::NoteEnded };
                vec![ended, Task::Close, Task::Remove, Task::RemoveRecord]
            }
            Reached::Moved { seen_running: false, .. } => {
                vec![Task::Close, Task::Stand(Standing::Departed(attempt))]
            }
            Reached::Stayed => vec![Task::NoteEnded, Task::Close, resident],
            Reached::Unknown if self.rules.have(Deviation::ResumesWhenUnknown) => {
                vec![Task::Close, Task::Recover, resident]
            }
            Reached::Unknown => vec![Task::Close, Task::Stand(Standing::Undecided(attempt))],
            Reached::Runs if follow => {
                vec![Task::Close, Task::Stand(Standing::Depending(attempt)), Task::Depend]
            }
            Reached::Runs => vec![Task::Close, Task::AtHome, Task::Remind],
            // It is let be, and its record stays as it is.
            Reached::Stuck => vec![Task::Close],
            Reached::Gone => vec![Task::Close, Task::Forget],
        };
        thread.core = None;
        let is_served = ending.contains(&Task::Follow);
        if follow && thread.role == Role::Leaving && !is_served {
            thread.todo.push(Task::EndService);
        }
        thread.todo.extend(ending);
        thread.answers.clear();
        thread.later.clear();
        thread.asking = Asking::No;
    }

    fn give(&mut self, thread: &mut Thread, task: Task) {
        match task {
            Task::RecordCommit if self.rules.have(Deviation::CommitIsSaidFirst) => {
                let commit = self.cores.say(SourceMessage::Commit);
                thread.todo.push(Task::Say(commit));
            }
            Task::Say(message)
                if self.rules.have(Deviation::RunsWhenReady)
                    && self.cores.asks_for_commit(message) =>
            {
                thread.todo.push(Task::Recover);
            }
            Task::Start if self.is_local() => thread.todo.push(Task::NoteSuccessor),
            Task::RecordAsked if self.rules.have(Deviation::AskingIsNotRecorded) => {
                return thread.todo.push(Task::Work(Input::Recorded(Written::Yes)));
            }
            _ => {}
        }
        thread.todo.push(task);
    }
}
