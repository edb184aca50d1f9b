//! What must never be, and how it must end.

use std::fmt;

use crate::world::{Copy, CopyState, Pages, Standing, World};

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// The guest runs on both hosts.
    TwoRun,
    /// The destination lets the guest run, but the source's log has no commit.
    RunsUncommitted,
    /// The guest is let run from a copy that lacks something it has done since.
    RunsWhatIsOld,
    /// The guest is let run where it has not been loaded.
    RunsWhatIsNotThere,
    /// A copy is removed that is the only one from which the guest could run on.
    RemovesTheOnlyCopy,
    /// What is left of a machine is removed while the machine, elsewhere, still lacks pages of it.
    RemovesNeededPages,
    /// A page is served of a machine that runs where it is served.
    ServesWhatRuns,
    /// The source is told that the machine has ended, and it has not.
    GivenUpAlive,
}

/// What a search has found to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// It must never be.
    Never(Breach),
    /// From here, with both daemons back and nothing more going wrong, no order of events leads to
    /// one host that runs the machine and another that has nothing left of it.
    NeverSettles,
}

impl World {
    /// Whether exactly one host runs the machine and has it at home, nothing is left of it at the
    /// other, and nothing is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let runs = Copy { state: CopyState::Running, fresh: true, pages: Pages::Own };
        let quiet = self.hosts.iter().all(|host| host.up && host.threads.is_empty());
        let [one, other] = &self.hosts;
        let has = |host: &crate::world::Host| {
            host.record == Some(Standing::Resident) && host.copy == Some(runs)
        };
        let has_not = |host: &crate::world::Host| host.record.is_none() && host.copy.is_none();
        quiet && (has(one) && has_not(other) || has(other) && has_not(one))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never(Breach::TwoRun) => "the guest runs on both hosts",
            Self::Never(Breach::RunsUncommitted) => {
                "the destination lets the guest run without a commit on record"
            }
            Self::Never(Breach::RunsWhatIsOld) => "the guest is let run from an old copy",
            Self::Never(Breach::RunsWhatIsNotThere) => "a guest is let run that is not there",
            Self::Never(Breach::RemovesTheOnlyCopy) => "the only copy of the machine is removed",
            Self::Never(Breach::RemovesNeededPages) => {
                "pages are removed that the machine, elsewhere, still lacks"
            }
            Self::Never(Breach::ServesWhatRuns) => "a page is served of a machine that runs here",
            Self::Never(Breach::GivenUpAlive) => "a machine is given up that has not ended",
            Self::NeverSettles => {
                "from here it never comes to one host that runs the machine and one that has \
                 nothing left of it"
            }
        })
    }
}
