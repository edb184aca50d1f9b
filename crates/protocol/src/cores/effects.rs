//! What the engine's machines want done, as tasks.

use punctual_engine::destination::{self, End, Record};
use punctual_engine::source;
use punctual_wire::SourceMessage;

use super::{Core, Cores, Input, Reached, Reaction};
use crate::tasks::Task;
use crate::world::Kind;

impl Cores {
    pub(super) fn of_source(&mut self, next: source::Next, kind: Kind) -> Reaction {
        match next {
            source::Next::Hold(holding, effects) => {
                let task = |effect| self.source_tasks(effect, kind);
                let tasks = effects.into_iter().flat_map(task).collect();
                self.on(Core::Holding(holding, kind), tasks)
            }
            source::Next::Committed(committed) => {
                let commit = self.say(SourceMessage::Commit);
                self.on(Core::Committed(Box::new(committed)), vec![Task::Say(commit)])
            }
            source::Next::Unknown(_) => Reaction { reached: Reached::Unknown, tasks: vec![] },
            source::Next::Stayed(stayed) => {
                let farewell = stayed.farewell.map(|message| Task::Say(self.say(message)));
                let tasks = farewell.into_iter().collect();
                Reaction { reached: Reached::Stayed, tasks }
            }
        }
    }

    fn source_tasks(&mut self, effect: source::Effect, kind: Kind) -> Vec<Task> {
        use source::Effect;
        let task = match effect {
            // As in the driver: it is on record before anything is opened.
            Effect::OpenPageLines => return vec![Task::RecordOwing, Task::OpenPageLines],
            Effect::Resume if kind != Kind::Whole => {
                return vec![Task::EndService, Task::ResumeHere];
            }
            Effect::Say(message) => Task::Say(self.say(message)),
            Effect::RecordCommit => Task::RecordCommit,
            Effect::Resume => Task::ResumeHere,
            Effect::Stop => Task::Stop,
            Effect::Send(_) => Task::Later(Input::PagesSent),
            Effect::SaveDeviceState => Task::Later(Input::StateSent),
            Effect::StartTracing => Task::Work(Input::Traced),
            Effect::Settle => Task::Work(Input::Settled),
            Effect::PrepareStop => Task::Work(Input::StopPrepared),
            Effect::Digest { .. } => Task::Work(Input::Digested),
            Effect::ServePages { .. } => Task::Serve,
            // Whatever else there is looks at pages, of which none is ever written.
            _ => Task::Work(Input::Scanned),
        };
        vec![task]
    }

    pub(super) fn of_destination(&mut self, next: destination::Next) -> Reaction {
        match next {
            destination::Next::Go(destination, effects) => {
                let tasks = self.destination_tasks(effects);
                self.on(Core::Destination(destination), tasks)
            }
            destination::Next::End(end, effects) => {
                let tasks = self.destination_tasks(effects);
                let reached = match end {
                    End::Runs => Reached::Runs,
                    End::Stuck { .. } => Reached::Stuck,
                    End::NothingStarted { .. } | End::Discarded { .. } => Reached::Gone,
                };
                Reaction { reached, tasks }
            }
        }
    }

    fn destination_tasks(&mut self, effects: Vec<destination::Effect>) -> Vec<Task> {
        use destination::Effect;
        let task = |effect| match effect {
            Effect::Say(message) => Task::Say(self.answer(message)),
            Effect::Admit => Task::Admit,
            Effect::Record(Record::Accepted) => Task::RecordAccepted,
            Effect::Record(Record::AskedForCommit) => Task::RecordAsked,
            Effect::Record(Record::Running) => Task::RecordRunning,
            Effect::Record(Record::Discarded { .. }) => Task::RecordDiscarded,
            Effect::Start => Task::Start,
            Effect::Forget { .. } => Task::Work(Input::Forgot),
            Effect::PageOnDemand { .. } => Task::PageOnDemand,
            Effect::Digest { .. } => Task::Work(Input::Digested),
            Effect::Load => Task::Load,
            Effect::Inquire { .. } => Task::Inquire,
            Effect::Resume => Task::ResumeThere,
            Effect::Discard => Task::Discard,
        };
        effects.into_iter().map(task).collect()
    }
}
