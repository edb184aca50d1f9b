//! How much may go wrong in a search, and by which rules the hosts play.

use std::fmt;

/// How much may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bounds {
    /// How many attempts may begin, one after the other, from whichever host has the machine.
    pub attempts: u8,
    /// How many things may go wrong in all: crashes, cuts, lost and repeated messages, delays,
    /// failed writes and effects.
    pub faults: u8,
    /// How many times the operator may cancel.
    pub cancels: u8,
    /// How the machine may be moved.
    pub moves: Moves,
}

/// How a machine may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Moves {
    /// All of it is there before it runs.
    #[default]
    Whole,
    /// Pages follow it.
    Following,
    /// Either, from attempt to attempt.
    Either,
    /// It stays where it is, and gets another process: `hosts` are two places of one host.
    Local,
}

/// Where the hosts depart from the sound protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deviation {
    /// The source says `commit`, then records it.
    CommitIsSaidFirst,
    /// The destination lets the guest run when it is ready for it.
    RunsWhenReady,
    /// The source lets its guest run on when it cannot tell whether the commit is on record.
    ResumesWhenUnknown,
    /// A source that is started again lets run on what it had committed.
    RecoveryIgnoresTheCommit,
    /// A destination that has asked for the commit and lost the link discards.
    DiscardsWhenUnsure,
    /// A destination that is started again discards what it may have asked for.
    RecoveryDiscardsWhatWasAskedFor,
    /// The source answers `aborted` while the attempt is under way.
    AnswersTooEarly,
    /// The destination says `prepared` without having recorded that it may ask for the commit.
    AskingIsNotRecorded,

    /// Once coded: that an attempt is undecided is known only by the machine's record, which may not
    /// have been written either.
    UndecidedOnlyByItsRecord,
    /// Once coded: two inquiries about a machine that has left may both remove it, the later one by
    /// its name alone.
    ClearsTwice,
    /// Once coded: a source answers `aborted` about an attempt of which its log was tidied.
    PresumesAborted,
    /// Once coded: a destination that has no record of running discards a machine that runs, if it
    /// is told so.
    DiscardsWhatRuns,
    /// Once coded: the log may be tidied of an attempt that a machine's record still names.
    TidiesWhatIsNamed,
    /// Once coded: a reminder is content with an answer that comes while the source still waits for
    /// `running`, and clears nothing.
    RemindersComeTooEarly,
    /// Once coded: who is to tell the source that its machine runs does not outlive his daemon.
    RemindersDieWithTheDaemon,

    /// Where pages follow: the source removes what is left when it hears that the machine runs.
    RunningIsEnough,
    /// The source does not record that it owes pages.
    OwingIsNotRecorded,
    /// The source lets its guest run on and goes on to serve its pages.
    ServesOn,
    /// A destination that is started again takes a machine that runs for whole.
    RecoveryTakesItForWhole,
    /// A lost connection for pages is not opened again.
    DialsOnce,
    /// A source that comes back when nothing is missing any more is told nothing.
    WholeIsSaidOnce,
    /// An inquiry has removed what is being served.
    ClearsWhatIsServed,
    /// Where a machine changes its process: the new one is not on record before it is started.
    SuccessorIsNotNoted,
    /// The end that cannot tell whether it has committed says that it has not.
    UnknownHasStayed,

    /// Once coded: whether a machine has come to its end or has all its pages was told by the log
    /// alone, which may lack the record of the latter.
    WholeOnlyByItsRecord,
    /// Once coded: a destination that could not put a page in place said that the machine has ended,
    /// and the source served no more.
    FailureIsTheEnd,
    /// Once coded: an inquiry had pages removed that nobody had said to be whole.
    ClearsWhatIsOwed,
    /// Once coded: a daemon that was to serve pages of which nothing was left gave up.
    NothingLeftIsAnError,
    /// Once coded: the destination's log was tidied of that it is whole.
    ForgetsThatItIsWhole,
    /// Once coded: a machine was noted as depending before it was let run.
    DependsBeforeItRuns,
    /// Once coded: a source that was not told that the machine runs asked for nothing more, if it
    /// had owed pages and nothing was missing.
    NothingMissingIsDeparted,

    /// As coded: far later the log forgets how an attempt ended, and then leaves it undecided.
    ForgetsInTheEnd,
}

/// A set of deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rules(u64);

impl Rules {
    /// The sound protocol.
    pub const SOUND: Self = Self(0);

    /// What the hosts do at present: the sound protocol but for the deviations that are named in
    /// `docs/protocol.md`, "Known limits".
    #[must_use]
    pub fn as_coded() -> Self {
        Deviation::CODED.into_iter().fold(Self::SOUND, Self::with)
    }

    /// These rules with one deviation more.
    #[must_use]
    pub fn with(self, deviation: Deviation) -> Self {
        Self(self.0 | 1 << deviation as u16)
    }

    /// Whether the hosts depart so.
    #[must_use]
    pub fn have(self, deviation: Deviation) -> bool {
        self.0 & 1 << deviation as u16 != 0
    }
}

impl Deviation {
    /// Mistakes that nobody makes any more; the search must find each.
    pub const MISTAKES: [Self; 31] = [
        Self::CommitIsSaidFirst,
        Self::RunsWhenReady,
        Self::ResumesWhenUnknown,
        Self::RecoveryIgnoresTheCommit,
        Self::DiscardsWhenUnsure,
        Self::RecoveryDiscardsWhatWasAskedFor,
        Self::AnswersTooEarly,
        Self::AskingIsNotRecorded,
        Self::UndecidedOnlyByItsRecord,
        Self::ClearsTwice,
        Self::PresumesAborted,
        Self::DiscardsWhatRuns,
        Self::TidiesWhatIsNamed,
        Self::RemindersComeTooEarly,
        Self::RemindersDieWithTheDaemon,
        Self::RunningIsEnough,
        Self::OwingIsNotRecorded,
        Self::ServesOn,
        Self::RecoveryTakesItForWhole,
        Self::DialsOnce,
        Self::WholeIsSaidOnce,
        Self::ClearsWhatIsServed,
        Self::SuccessorIsNotNoted,
        Self::UnknownHasStayed,
        Self::WholeOnlyByItsRecord,
        Self::FailureIsTheEnd,
        Self::ClearsWhatIsOwed,
        Self::NothingLeftIsAnError,
        Self::ForgetsThatItIsWhole,
        Self::NothingMissingIsDeparted,
        Self::DependsBeforeItRuns,
    ];

    /// What the code does at present.
    pub const CODED: [Self; 1] = [Self::ForgetsInTheEnd];
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
