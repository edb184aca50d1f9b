//! A machine that changes its process and stays: both ends in one daemon, with one log and one
//! record. Mirrors `punctual_host::local`.
//!
//! The two hosts of a world are the two places here that a process can have. The record is that of
//! the place whose handle it has; a successor that it names stands as arriving at the other.

use crate::cores::{Answer, Reached};
use crate::model::Model;
use crate::rules::{Deviation, Moves};
use crate::tasks::{Task, Written};
use crate::world::{Inquiry, Role, Standing, Thread, World};

/// How an end of a replacement has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// At the source: the machine is the successor, or has stayed, or nobody can tell.
    Moved,
    Stayed,
    Unknown,
    /// At the successor: it runs, or there is nothing of it, or it does not run.
    Runs,
    Gone,
    LetBe,
}

impl Model {
    /// Whether both ends are in one daemon.
    pub(crate) fn is_local(&self) -> bool {
        self.bounds.moves == Moves::Local
    }

    /// What follows from the end of a state machine; as `Taking::go` and `Replacing::attempt`.
    pub(crate) fn follow_here(&self, reached: Reached) -> Vec<Task> {
        let left = |ended| vec![Task::Close, Task::Left(ended), Task::Join];
        let taken = |ended| vec![Task::Close, Task::Taken(ended)];
        match reached {
            Reached::On(_) => vec![],
            Reached::Moved { seen_running, .. } => {
                let surrendered = seen_running.then_some(Task::NoteEnded);
                surrendered.into_iter().chain(left(Ended::Moved)).collect()
            }
            Reached::Stayed => [vec![Task::NoteEnded], left(Ended::Stayed)].concat(),
            Reached::Unknown if self.rules.have(Deviation::UnknownHasStayed) => left(Ended::Stayed),
            Reached::Unknown => left(Ended::Unknown),
            Reached::Runs => taken(Ended::Runs),
            Reached::Stuck => taken(Ended::LetBe),
            Reached::Gone => taken(Ended::Gone),
        }
    }

    /// What is done when both ends have ended; as `Replacing::settle`.
    pub(crate) fn join(&self, world: &World, thread: &Thread) -> Option<Vec<Task>> {
        let attempt = &world.attempts[usize::from(thread.attempt)];
        let (left, taken) = (attempt.left?, attempt.taken?);
        let (here, there) = (attempt.from, 1 - attempt.from);
        Some(match (left, taken) {
            (Ended::Moved, Ended::Runs) => vec![Task::Remove, Task::HomeAs(there)],
            (Ended::Moved, _) => succeed(here, there),
            (Ended::Unknown, _) => vec![],
            _ => vec![Task::HomeAs(here)],
        })
    }

    /// Asks the other end, which is in the same daemon; as the arbiter of `Taking::go`.
    pub(crate) fn ask_here(&self, world: &mut World, host: u8, thread: usize) {
        let number = world.thread(host, thread).attempt;
        let answer = match world.attempt(number).left {
            None => Answer::Undecided,
            Some(Ended::Moved) => Answer::Committed,
            Some(Ended::Unknown) => {
                // It is let be until the log is read again.
                let let_be = vec![Task::Close, Task::Taken(Ended::LetBe)];
                *world.thread(host, thread) = Thread::of(Role::Arriving, number, let_be);
                return;
            }
            Some(_) => Answer::Aborted,
        };
        world.attempt(number).inquiry = Inquiry::Answered(answer);
    }

    /// As `punctual_host::local::recover`.
    pub(crate) fn recover_here(&self, world: &mut World) {
        for host in &mut world.hosts {
            (host.up, host.uncertain) = (true, false);
        }
        for here in 0..2 {
            let Some(Standing::Leaving(number)) = world.host(here).record else { continue };
            let there = 1 - here;
            let has_successor = world.host(there).record.is_some();
            let committed = world.attempt(number).committed == Written::Yes
                && !self.rules.have(Deviation::RecoveryIgnoresTheCommit);
            let todo = if committed && has_successor {
                [succeed(here, there), vec![Task::RecordRunning, Task::NoteEnded]].concat()
            } else {
                let successor = has_successor.then_some(Task::RemoveAt(there));
                let tasks = [Task::RecoverAt(here), Task::HomeAs(here), Task::RecordDiscarded];
                successor.into_iter().chain(tasks).chain([Task::NoteEnded]).collect()
            };
            world.host(here).threads.push(Thread::of(Role::Recovering, number, todo));
        }
    }

    /// Tasks of a replacement alone.
    pub(crate) fn here(&self, world: &mut World, host: u8, number: u8, task: Task) {
        match task {
            Task::NoteSuccessor if !self.rules.have(Deviation::SuccessorIsNotNoted) => {
                world.host(host).record = Some(Standing::Arriving(number));
            }
            Task::Left(ended) => world.attempt(number).left = Some(ended),
            Task::Taken(ended) => world.attempt(number).taken = Some(ended),
            Task::RecoverAt(place) => world.let_run(place),
            Task::RemoveAt(place) => world.remove(place),
            Task::HomeAs(place) => {
                world.host(place).record = Some(Standing::Resident);
                world.host(1 - place).record = None;
            }
            _ => {}
        }
    }
}

/// The successor is the machine; as `Host::succeed`.
fn succeed(here: u8, there: u8) -> Vec<Task> {
    vec![Task::RecoverAt(there), Task::RemoveAt(here), Task::HomeAs(there)]
}
