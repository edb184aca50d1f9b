use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use punctual_model::Mode;
use punctual_units::Probability;
use thiserror::Error;

/// The parts of an expected interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Stop, device state and resume, and the way of the messages.
    pub fixed: Duration,
    /// Sending what is left.
    pub copy: Duration,
}

impl Expected {
    /// The whole interruption.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.fixed.saturating_add(self.copy)
    }
}

/// What to do at the end of a round.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Stop the guest.
    Stop(Stop),
    /// Wait for the disk requests in flight, then copy what they may have changed.
    Settle,
    /// Copy one more round.
    Continue(Continue),
    /// Leave the guest's processors this share of their time, and copy one more round.
    Throttle(Probability),
    /// Let the machine run on at the source.
    GiveUp(GiveUp),
}

impl Decision {
    /// Whether it is only waited for the guest to write less.
    pub(crate) fn is_in_no_hurry(&self) -> bool {
        matches!(self, Self::Continue(Continue::NothingGained | Continue::LullForeseen { .. }))
    }
}

/// Why the guest is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The interruption will be as short as was asked for, as surely as was asked for, and a
    /// further round would not make it noticeably shorter.
    PromiseMet {
        /// What is expected.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
    /// So many rounds were asked for, and they have been sent.
    RoundsDone {
        /// How many.
        rounds: NonZeroU32,
        /// What is expected.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
    /// The policy has the guest stopped now, however long that will be.
    ByPolicy {
        /// What is expected.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
    /// The machine is to be moved in any case: the interruption will be longer than was asked for,
    /// and no better moment is in reach.
    Forced {
        /// What is expected.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
    /// What is left follows the machine, which runs at the destination before it is there.
    Follow {
        /// What is expected of the interruption, in which no page is copied.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
}

impl Stop {
    /// The interruption that is expected.
    #[must_use]
    pub fn expected(&self) -> Expected {
        match self {
            Self::PromiseMet { expected, .. }
            | Self::RoundsDone { expected, .. }
            | Self::ByPolicy { expected, .. }
            | Self::Forced { expected, .. }
            | Self::Follow { expected, .. } => *expected,
        }
    }

    /// Whether pages are left at the source when the machine runs on at the destination.
    #[must_use]
    pub fn leaves_pages(&self) -> bool {
        matches!(self, Self::Follow { .. })
    }
}

/// Why one more round is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// Stopping now would take longer than was asked for.
    NotYet,
    /// The same, and nothing was gained lately: the guest may calm down, which is waited for.
    NothingGained,
    /// The promise could be kept; this round makes the interruption shorter still.
    ShrinksFurther {
        /// By how much, as is expected.
        gain: Duration,
    },
    /// Copying makes no headway, but the guest is likely to write less before the time is over.
    LullForeseen {
        /// How long that will take, as is expected.
        wait: Duration,
    },
}

/// Why a move was given up, with the machine running on at the source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GiveUp {
    /// The time is over.
    #[error(
        "the move was not ready within {}: a stop now would have interrupted the guest for \
         {}, {} was asked for; allow more time, a longer interruption or more bandwidth",
        Shown(*within), Shown(*expected), Shown(*asked)
    )]
    DeadlinePassed {
        /// The time that it had.
        within: Duration,
        /// The interruption that a stop would have made.
        expected: Duration,
        /// What was asked for.
        asked: Duration,
    },
    /// What is left cannot be sent in the time that is left.
    #[error(
        "the next round alone takes {}, and {} of the time allowed is left; allow more time or \
         more bandwidth",
        Shown(*next_round), Shown(*left)
    )]
    TooLittleTime {
        /// What sending the dirty pages takes.
        next_round: Duration,
        /// What is left of the time.
        left: Duration,
    },
    /// Copying more does not help: the guest writes as fast as its pages are sent.
    #[error(
        "the guest writes as fast as its pages are sent: at best a stop would have interrupted \
         it for {}, {} was asked for; nothing was gained in the last {}, and no lull is in \
         sight in the {} that are left; allow a longer interruption or more bandwidth, or move it \
         when it writes less",
        Shown(*best), Shown(*asked), Shown(*without_headway), Shown(*left)
    )]
    CannotConverge {
        /// The shortest interruption that was in sight.
        best: Duration,
        /// What was asked for.
        asked: Duration,
        /// For how long nothing was gained.
        without_headway: Duration,
        /// What is left of the time.
        left: Duration,
    },
    /// Slowing the guest down did not help.
    #[error("{miss}; slowing the guest down did not help: {reason}")]
    NotSlowedEnough {
        /// Why the promise was out of reach.
        miss: Box<GiveUp>,
        /// How far it was slowed down, or why it was not.
        reason: String,
    },
    /// The interruption cannot be as short as was asked for, in the way in which the machine is to
    /// be moved.
    #[error(
        "refused: the guest would be interrupted for {} if it is moved by {mode}, {} was asked \
         for; allow a longer interruption, or move it in another way",
        Shown(*expected), Shown(*asked)
    )]
    TooLong {
        /// How it was to be moved.
        mode: Mode,
        /// The interruption that it would take.
        expected: Duration,
        /// What was asked for.
        asked: Duration,
    },
    /// All is to be copied while the guest is stopped, over a link of which nothing is known.
    #[error(
        "refused: the rate of the link is not known, so nothing can be said of how long a copy \
         of a stopped guest takes; name the rate (--bandwidth), or move it in any case (--force)"
    )]
    LinkUnknown,
}

impl GiveUp {
    /// Whether it could be told before anything had moved.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::LinkUnknown)
    }
}

/// A time as people read it.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if self.0 == Duration::MAX {
            f.write_str("for ever")
        } else if seconds < 1.0 {
            write!(f, "{:.1} ms", seconds * 1e3)
        } else {
            write!(f, "{seconds:.1} s")
        }
    }
}
