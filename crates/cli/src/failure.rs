//! How a command ends when it does not end well: what was wrong, what to do, and the exit code.

use std::fmt;
use std::process::ExitCode;

use punctual_engine::report::{Ending, Report};
use punctual_host::api::{Problem, ProblemKind};
use punctual_host::client::ClientError;

/// The exit codes that `punctual --help` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command line or a specification is wrong.
    Usage = 2,
    /// Not possible as things are; nothing has changed.
    Refused = 3,
    /// It was tried and did not work.
    Failed = 4,
    /// It was cancelled.
    Cancelled = 5,
    /// The user left with Ctrl-C.
    Left = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    what: String,
    /// Empty where `what` says it already.
    hint: String,
}

impl Failure {
    pub(crate) fn usage(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, what: what.to_string(), hint: hint.to_string() }
    }

    pub(crate) fn refused(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { exit: Exit::Refused, ..Self::usage(what, hint) }
    }

    pub(crate) fn failed(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { exit: Exit::Failed, ..Self::usage(what, hint) }
    }

    /// The user left before the end.
    pub(crate) fn left(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { exit: Exit::Left, ..Self::usage(what, hint) }
    }

    /// What went wrong, without what to do about it.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// `None` for a migration that was completed.
    pub(crate) fn of_report(report: &Report) -> Option<Self> {
        let exit = match report.outcome {
            Ending::Completed => return None,
            Ending::Refused => Exit::Refused,
            Ending::Cancelled => Exit::Cancelled,
            Ending::Failed => Exit::Failed,
        };
        Some(Self { exit, ..Self::usage(&report.reason, "") })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.kind {
            ProblemKind::Usage => Exit::Usage,
            ProblemKind::Unknown | ProblemKind::Refused => Exit::Refused,
            ProblemKind::Failed => Exit::Failed,
        };
        Self { exit, ..Self::usage(&problem.what, &problem.remedy) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => problem.into(),
            ClientError::NoDaemon { .. } => {
                Self::failed(error, "start it with `punctual host`, or name its --socket")
            }
            ClientError::Silent { .. } => {
                Self::failed(error, "see its log, and whether its disk or a QEMU hangs")
            }
            ClientError::Broken { .. } => Self::failed(
                error,
                "see the daemon's log; when it is started again, it sees to it that each machine \
                 runs on one host",
            ),
            ClientError::Foreign { .. } => {
                Self::failed(error, "use a `punctual` of the daemon's own version")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_two_lines() {
        let failure = Failure::from(Problem::refused("machine `web`: no", "do this"));
        assert_eq!(failure.to_string(), "error: machine `web`: no\nhint: do this");
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(Failure::usage("x", "").to_string(), "error: x");
    }
}
