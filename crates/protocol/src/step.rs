//! What can happen between one world and the next, for people to read.

use crate::cores::{Answer, Cores, Input};
use crate::following::{OnLine, Word};
use crate::tasks::{How, Task};
use crate::world::{Inquiry, Kind, Standing};

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
    Begins(Kind),
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
    /// What a thread has waited for has come.
    SeesItsEnd,
    OnLine(OnLine),
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
            Self::Begins(Kind::Whole) => "begins to move the machine".to_owned(),
            Self::Begins(Kind::Following) => {
                "begins to move the machine before its pages".to_owned()
            }
            Self::Begins(Kind::NothingFollows) => {
                "begins to move the machine before its pages, of which it has none".to_owned()
            }
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
            Self::SeesItsEnd => "sees that nothing is to be waited for any more".to_owned(),
            Self::OnLine(what) => what.tell(),
        }
    }
}

impl OnLine {
    fn tell(self) -> String {
        let told = match self {
            Self::Dials => "opens the connections for pages",
            Self::IsTaken => "says what is missing",
            Self::IsTurnedAway => "turns the connections for pages away",
            Self::IsTold(Word::Whole) => "says that nothing is missing any more",
            Self::IsTold(Word::Failed) => "says that the machine has ended",
            Self::Serves => "serves pages",
            Self::Fills => "puts pages in place",
            Self::Hears(Word::Whole) => "hears that nothing is missing",
            Self::Hears(Word::Failed) => "hears that the machine has ended",
            Self::IsCut => "connections for pages are cut",
        };
        told.to_owned()
    }
}

fn process(place: u8) -> String {
    format!("process {}", char::from(b'a' + place))
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
        Task::Stand(Standing::Serving(_)) => "notes the machine as serving".to_owned(),
        Task::Stand(Standing::Depending(_)) => "notes the machine as depending".to_owned(),
        Task::Stand(standing) => format!("notes the machine as {standing:?}"),
        Task::Forget | Task::RemoveRecord => "removes the machine's record".to_owned(),
        Task::Remind => "begins to remind the source".to_owned(),
        Task::Ask => "asks".to_owned(),
        Task::RecordOwing => "records Owing".to_owned(),
        Task::RecordSurrendered => "records Surrendered".to_owned(),
        Task::RecordWhole => "records Whole".to_owned(),
        Task::OpenPageLines => "opens the connections for pages".to_owned(),
        Task::Serve => "begins to serve pages".to_owned(),
        Task::EndService => "serves no more".to_owned(),
        Task::PageOnDemand => "has the machine wait for pages".to_owned(),
        Task::OpenRemains => "opens what is left of the machine".to_owned(),
        Task::ServeOn => "goes on serving pages".to_owned(),
        Task::Follow => "waits until nothing is missing".to_owned(),
        Task::TakeOver => "takes over who waits for pages".to_owned(),
        Task::Depend => "takes in pages from now on".to_owned(),
        Task::AwaitWhole => "puts a page in place".to_owned(),
        Task::TakeForWhole => "has all pages".to_owned(),
        Task::TellWhole => "says that nothing is missing any more, if it is heard".to_owned(),
        Task::NoteSuccessor => "notes the new process".to_owned(),
        Task::Left(ended) | Task::Taken(ended) => format!("has ended: {ended:?}"),
        Task::Join => "waits for the other end".to_owned(),
        Task::RecoverAt(place) => format!("lets the guest run in {}", process(place)),
        Task::RemoveAt(place) => format!("removes {}", process(place)),
        Task::HomeAs(place) => format!("notes the machine as at home in {}", process(place)),
        Task::TellFailed => "says that the machine has ended, if it is heard".to_owned(),
    }
}
