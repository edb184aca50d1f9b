use std::time::Duration;

use punctual_engine::Phase;
use punctual_engine::report::{Ending, Promise};
use punctual_units::Bytes;
use punctual_wire::Refusal;
use thiserror::Error;

/// Why a machine stays at the source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::native) enum Why {
    #[error("refused: {}", Refusal::told(.0))]
    Refused(Vec<Refusal>),
    #[error("nothing was moved, as asked: the destination would take the machine")]
    Rehearsed { command_line: Vec<String> },
    #[error("cancelled")]
    Cancelled,
    #[error(
        "gave up after {:.1} s: {left} of memory are still to be sent, at {rate}, while the guest \
         writes {writing}; ask for more time or a longer interruption, or use --on-miss throttle, \
         extend or --force", within.as_secs_f64()
    )]
    Late { within: Duration, left: Bytes, rate: String, writing: String },
    #[error("the link was lost: {0}; mend the network and migrate again")]
    LinkLost(String),
    #[error("the destination failed: {0}")]
    DestinationFailed(String),
    #[error("while {phase}, the destination said `{said}`; run one version on both hosts")]
    Protocol { phase: Phase, said: String },
    #[error("{0}")]
    MachineFailed(String),
    #[error("while {phase}, the destination did not answer for {} s; see its log", waited.as_secs())]
    NoAnswer { phase: Phase, waited: Duration },
    #[error(
        "while {phase}, the guest had been stopped for {} ms where {} ms were asked for; see \
         whether the link stalls, then migrate again", stopped.as_millis(), asked.as_millis()
    )]
    Overrun { phase: Phase, stopped: Duration, asked: Duration },
    #[error("{0}")]
    NotRecorded(String),
}

impl Why {
    pub(in crate::native) fn ending(&self) -> Ending {
        match self {
            Self::Refused(_) => Ending::Refused,
            Self::Cancelled => Ending::Cancelled,
            Self::Rehearsed { .. } => Ending::Completed,
            _ => Ending::Failed,
        }
    }

    pub(in crate::native) fn codes(&self) -> Vec<String> {
        match self {
            Self::Refused(refusals) => Refusal::codes(refusals),
            _ => Vec::new(),
        }
    }

    pub(in crate::native) fn promise(&self) -> Option<Promise> {
        matches!(self, Self::Refused(_) | Self::Late { .. }).then_some(Promise::Refused)
    }

    pub(super) fn is_to_be_told(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::LinkLost(_) | Self::DestinationFailed(_))
    }
}
