//! What a daemon's thread does, one task at a time, so that it may be killed between any two.

use crate::cores::{Input, MessageId};
use crate::following::{PageLine, Stage};
use crate::local::Ended;
use crate::model::Model;
use crate::properties::Breach;
use crate::rules::Deviation;
use crate::world::{Asking, Copy, CopyState, Pages, Role, Standing, Thread, World};

/// Whether something is in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Written {
    No,
    Yes,
    /// The write failed; the daemon that reads the log next decides.
    Unknown,
}

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Effects of the engine's state machines.
    Say(MessageId),
    RecordCommit,
    RecordAccepted,
    RecordAsked,
    RecordRunning,
    RecordDiscarded,
    RecordOwing,
    RecordSurrendered,
    RecordWhole,
    /// Done at once and answered so.
    Work(Input),
    /// Done by another thread and answered so.
    Later(Input),
    Stop,
    ResumeHere,
    ResumeThere,
    Admit,
    Start,
    Load,
    Discard,
    Inquire,
    /// Where pages follow: at the source, then at the destination.
    OpenPageLines,
    Serve,
    EndService,
    PageOnDemand,
    /// What hosts do besides. Nothing answers to it.
    NoteEnded,
    Close,
    Stand(Standing),
    AtHome,
    Forget,
    Remove,
    RemoveRecord,
    Recover,
    Remind,
    Ask,
    /// Where pages follow, at the source: another daemon goes on, and the end is waited for.
    OpenRemains,
    ServeOn,
    Follow,
    /// And at the destination.
    TakeOver,
    Depend,
    AwaitWhole,
    TakeForWhole,
    TellWhole,
    TellFailed,
    /// Where both ends are in one daemon.
    NoteSuccessor,
    Left(Ended),
    Taken(Ended),
    Join,
    RecoverAt(u8),
    RemoveAt(u8),
    HomeAs(u8),
}

/// How a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Done,
    /// It fails, and what it was to write is not there.
    Fails,
    /// It fails, and nobody can tell whether what it was to write is there.
    Uncertain,
}

impl Task {
    /// Whether it is done only once something has come, see `Model::awaited`.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::Follow | Self::AwaitWhole | Self::Join)
    }

    /// How else than well it may go.
    pub(crate) fn failures(self) -> &'static [How] {
        match self {
            Self::RecordCommit
            | Self::RecordAccepted
            | Self::RecordAsked
            | Self::RecordRunning
            | Self::RecordDiscarded
            | Self::RecordOwing
            | Self::RecordSurrendered
            | Self::RecordWhole => &[How::Fails, How::Uncertain],
            Self::Stop
            | Self::ResumeThere
            | Self::Admit
            | Self::Start
            | Self::Load
            | Self::Work(Input::Traced | Input::Forgot)
            | Self::OpenPageLines
            | Self::PageOnDemand
            | Self::OpenRemains
            | Self::TakeOver
            | Self::AwaitWhole
            | Self::NoteSuccessor
            | Self::HomeAs(_)
            | Self::Stand(_)
            | Self::AtHome
            | Self::Forget
            | Self::RemoveRecord => &[How::Fails],
            _ => &[],
        }
    }
}

impl Model {
    /// Does a task of a thread, which is no longer in its list.
    pub(crate) fn carry_out(
        &mut self,
        world: &mut World,
        host: u8,
        thread: usize,
        task: Task,
        how: How,
    ) {
        let Thread { attempt, role, .. } = *world.thread(host, thread);
        let done = how == How::Done;
        let answer = match task {
            Task::RecordOwing if self.rules.have(Deviation::OwingIsNotRecorded) => return,
            Task::RecordOwing => match record(world, host, attempt, task, how) {
                Written::Yes => return,
                Written::No | Written::Unknown => {
                    world.thread(host, thread).todo.retain(|task| *task != Task::OpenPageLines);
                    Input::PageLinesNotOpen
                }
            },
            Task::OpenPageLines => {
                let reached = done && world.serves(1 - host);
                if reached {
                    let service = &mut world.attempt(attempt).service;
                    (service.stage, service.line) = (Stage::Open, PageLine::Dialled);
                }
                if reached { Input::PageLinesOpen } else { Input::PageLinesNotOpen }
            }
            Task::NoteSuccessor if !done => {
                world.thread(host, thread).todo.retain(|task| *task != Task::Start);
                Input::Failed
            }
            Task::HomeAs(_) if !done => return world.thread(host, thread).todo.clear(),
            Task::Admit if self.is_local() => Input::Admitted,
            Task::PageOnDemand if !done => Input::Failed,
            Task::PageOnDemand => {
                if let Some(copy) = &mut world.host(host).copy {
                    copy.pages = Pages::Lacking;
                }
                Input::PagedOnDemand
            }
            Task::OpenRemains if done && world.host(host).copy.is_none() => {
                world.thread(host, thread).todo = self.nothing_to_serve();
                return;
            }
            // What is there cannot be got hold of: recovery goes no further.
            Task::OpenRemains | Task::TakeOver => {
                if !done {
                    world.thread(host, thread).todo.clear();
                }
                return;
            }
            Task::AwaitWhole => {
                world.thread(host, thread).todo = self.gives_up();
                return;
            }
            Task::Say(message) => return self.say(world, host, attempt, message),
            Task::RecordCommit
            | Task::RecordAccepted
            | Task::RecordAsked
            | Task::RecordRunning
            | Task::RecordDiscarded
            | Task::RecordSurrendered
            | Task::RecordWhole => Input::Recorded(record(world, host, attempt, task, how)),
            Task::Work(Input::Traced | Input::Forgot) | Task::Start | Task::Load if !done => {
                Input::Failed
            }
            Task::Work(input) => input,
            Task::Later(input) => {
                // Pages and device state go over the link.
                world.send(host, attempt, None);
                return world.thread(host, thread).later.push(input);
            }
            Task::Stop => {
                // One that did not answer in time may have stopped.
                if let Some(copy) = &mut world.host(host).copy {
                    copy.state = CopyState::Stopped;
                }
                if done { Input::Stopped } else { Input::Failed }
            }
            Task::ResumeHere => {
                world.let_run(host);
                Input::Resumed
            }
            Task::ResumeThere if !done => Input::Failed,
            Task::ResumeThere => {
                if world.attempt(attempt).committed != Written::Yes {
                    world.breach(Breach::RunsUncommitted);
                }
                world.let_run(host);
                Input::Resumed
            }
            Task::Admit => admit(world, host, attempt, done),
            Task::Start if world.host(host).copy.is_some() => Input::Failed,
            Task::Start => {
                let pages = Pages::Own;
                let copy = Copy { state: CopyState::Incoming, fresh: false, pages };
                world.host(host).copy = Some(copy);
                Input::Started
            }
            Task::Load => {
                let fresh = world.attempt(attempt).handed_over == Some(true);
                let pages = world.host(host).copy.map_or(Pages::Own, |copy| copy.pages);
                world.host(host).copy = Some(Copy { state: CopyState::Loaded, fresh, pages });
                Input::Loaded
            }
            Task::Discard => {
                world.remove(host);
                Input::Discarded
            }
            Task::Inquire => return world.thread(host, thread).asking = Asking::Due,
            Task::Stand(_) | Task::AtHome | Task::Forget | Task::RemoveRecord if !done => {
                // Recovery goes no further, but for how the machine stands while pages follow; anyone
                // else logs it and goes on.
                let logged =
                    matches!(task, Task::Stand(Standing::Serving(_) | Standing::Depending(_)));
                if role == Role::Recovering && !logged {
                    world.thread(host, thread).todo.clear();
                }
                return;
            }
            Task::Remind => {
                let reminder = self.reminder(attempt);
                return world.host(host).threads.push(reminder);
            }
            Task::Serve
            | Task::EndService
            | Task::ServeOn
            | Task::Depend
            | Task::TakeForWhole
            | Task::TellWhole
            | Task::TellFailed => return self.follow_up(world, host, attempt, task),
            Task::NoteSuccessor
            | Task::Left(_)
            | Task::Taken(_)
            | Task::RecoverAt(_)
            | Task::RemoveAt(_)
            | Task::HomeAs(_) => return self.here(world, host, attempt, task),
            _ => return attend(world, host, thread, task),
        };
        if self.is_local() && world.hosts.iter().any(|host| host.uncertain) {
            // It is one log.
            world.hosts.iter_mut().for_each(|host| host.uncertain = true);
        }
        let thread = world.thread(host, thread);
        // Behind the end of a state machine nobody waits for answers.
        if thread.core.is_some() {
            thread.answers.push(answer);
        }
    }

    fn say(&self, world: &mut World, host: u8, attempt: u8, message: MessageId) {
        if self.cores.hands_over(message) {
            let fresh = world.host(host).copy.is_some_and(Copy::could_run);
            world.attempt(attempt).handed_over = Some(fresh);
        }
        world.send(host, attempt, Some(message));
    }
}

/// What a host does besides driving a state machine.
fn attend(world: &mut World, host: u8, thread: usize, task: Task) {
    let attempt = world.thread(host, thread).attempt;
    let coming = match world.thread(host, thread).role {
        Role::Depending => Standing::Depending(attempt),
        _ => Standing::Arriving(attempt),
    };
    let arriving = world.host(host).record == Some(coming);
    match task {
        Task::NoteEnded => world.attempt(attempt).ended = true,
        Task::Close => world.close(host, attempt),
        Task::Stand(standing) => world.host(host).record = Some(standing),
        Task::AtHome if arriving => world.host(host).record = Some(Standing::Resident),
        Task::Forget if arriving => world.host(host).record = None,
        Task::Remove => world.remove(host),
        Task::RemoveRecord => world.host(host).record = None,
        Task::Recover => world.let_run(host),
        _ => {}
    }
}

/// Adds a record to a host's log; mirrors `punctual_host::journal::log::Log::append`.
fn record(world: &mut World, host: u8, attempt: u8, task: Task, how: How) -> Written {
    if world.host(host).uncertain {
        return Written::Unknown;
    }
    let written = match how {
        How::Done => Written::Yes,
        How::Fails => Written::No,
        How::Uncertain => Written::Unknown,
    };
    world.host(host).uncertain = written == Written::Unknown;
    let attempt = world.attempt(attempt);
    match task {
        Task::RecordCommit => attempt.committed = written,
        Task::RecordAsked => attempt.asked = written,
        Task::RecordRunning => attempt.running = written,
        Task::RecordDiscarded => attempt.discarded = written,
        Task::RecordOwing => attempt.owing = written,
        Task::RecordSurrendered => {
            attempt.surrendered = written;
            attempt.ended |= written == Written::Yes;
        }
        Task::RecordWhole => attempt.whole = written,
        _ => {}
    }
    written
}

/// Mirrors `punctual_host::arrivals::admit`.
fn admit(world: &mut World, host: u8, attempt: u8, written: bool) -> Input {
    let host = world.host(host);
    if host.record.is_some() || !written {
        return Input::NotAdmitted;
    }
    host.record = Some(Standing::Arriving(attempt));
    Input::Admitted
}
