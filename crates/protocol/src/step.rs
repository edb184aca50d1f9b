//! What can happen between one world and the next, for people to read.

use crate::cores::{Answer, Cores, Input};
use crate::tasks::{How, Task};
use crate::world::{Inquiry, Standing};

/// What a step takes from the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nothing: it happens sooner or later.
    Free,
    /// It is the operator's wish to begin or to cancel.
    Wish,
    /// Something goes wrong.
    Fault,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where, and in which attempt, if in one.
    pub(crate) host: u8,
    pub(crate) attempt: Option<u8>,
    pub(crate) what: What,
    pub(crate) cost: Cost,
}

/// What happens in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Begins,
    Crashes,
    /// The operator ends the daemon to have it put things in order.
    IsEnded,
    Restarts,
    Does(Task, How),
    Takes(Input),
    Asks,
    Answers(Answer),
    Answered(Inquiry),
    /// What this host says no longer arrives.
    IsCut,
    InquiryLost,
    Forgets,
}

impl Step {
    /// What it takes from the bounds.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// `! a2 ...`: a fault, at host a, in the second attempt.
    pub(crate) fn tell(&self, cores: &Cores) -> String {
        let mark = match self.cost {
            Cost::Free => ' ',
            Cost::Wish => '?',
            Cost::Fault => '!',
        };
        let host = char::from(b'a' + self.host);
        let attempt = self.attempt.map_or(' ', |attempt| char::from(b'1' + attempt));
        format!("{mark} {host}{attempt} {}", self.what.tell(cores))
    }
}

impl What {
    fn tell(self, cores: &Cores) -> String {
        match self {
            Self::Begins => "begins to move the machine".to_owned(),
            Self::Crashes => "daemon is killed".to_owned(),
            Self::IsEnded => "daemon is ended, as its log asks for".to_owned(),
            Self::Restarts => "daemon is started".to_owned(),
            Self::Does(task, How::Done) => task_name(task, cores),
            Self::Does(task, How::Fails) => format!("fails to: {}", task_name(task, cores)),
            Self::Does(task, How::Uncertain) => {
                format!("cannot tell whether it did: {}", task_name(task, cores))
            }
            Self::Takes(Input::Heard(message)) => format!("hears {}", cores.name(message)),
            Self::Takes(Input::LinkLost) => "finds the link lost".to_owned(),
            Self::Takes(Input::Cancelled) => "is told to cancel".to_owned(),
            Self::Takes(Input::Late) => "waits beyond every limit".to_owned(),
            Self::Takes(input) => format!("learns: {input:?}"),
            Self::Asks => "asks the source".to_owned(),
            Self::Answers(answer) => format!("answers an inquiry: {answer:?}"),
            Self::Answered(Inquiry::Answered(answer)) => format!("is answered: {answer:?}"),
            Self::Answered(_) => "is not answered".to_owned(),
            Self::IsCut => "is no longer heard: the link is cut in this direction".to_owned(),
            Self::InquiryLost => "inquiry is lost or late".to_owned(),
            Self::Forgets => "log is tidied of the attempt".to_owned(),
        }
    }
}

fn task_name(task: Task, cores: &Cores) -> String {
    match task {
        Task::Say(message) => format!("says {}", cores.name(message)),
        Task::RecordCommit => "records the commit".to_owned(),
        Task::RecordAccepted => "records Accepted".to_owned(),
        Task::RecordAsked => "records AskedForCommit".to_owned(),
        Task::RecordRunning => "records Running".to_owned(),
        Task::RecordDiscarded => "records Discarded".to_owned(),
        Task::NoteEnded => "notes the end of the attempt".to_owned(),
        Task::Work(input) | Task::Later(input) => format!("works: {input:?}"),
        Task::Stop => "stops the guest".to_owned(),
        Task::ResumeHere | Task::ResumeThere | Task::Recover => "lets the guest run".to_owned(),
        Task::Admit => "admits the machine".to_owned(),
        Task::Start => "starts its process".to_owned(),
        Task::Load => "loads the device state".to_owned(),
        Task::Discard | Task::Remove => "removes what it has of the machine".to_owned(),
        Task::Inquire => "decides to ask".to_owned(),
        Task::Close => "closes the link".to_owned(),
        Task::Stand(Standing::Resident) | Task::AtHome => "notes the machine as at home".to_owned(),
        Task::Stand(Standing::Undecided(_)) => "notes the machine as undecided".to_owned(),
        Task::Stand(Standing::Departed(_)) => "notes the machine as departed".to_owned(),
        Task::Stand(standing) => format!("notes the machine as {standing:?}"),
        Task::Forget | Task::RemoveRecord => "removes the machine's record".to_owned(),
        Task::Remind => "begins to remind the source".to_owned(),
        Task::Ask => "asks".to_owned(),
    }
}
