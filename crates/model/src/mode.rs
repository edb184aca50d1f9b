use std::fmt;

use serde::{Deserialize, Serialize};

/// How a machine changes hosts: what of it moves before it is stopped, and what behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All memory is copied while the machine runs, and what is still old then while it is stopped.
    #[default]
    PreCopy,
    /// The machine runs at the destination first, and its memory follows: on demand, and pushed.
    PostCopy,
    /// Pre-copy for as long as it gains anything, post-copy of what is left then.
    Hybrid,
    /// All memory is copied while the machine is stopped.
    StopAndCopy,
    /// The machine is shut down here and started there: nothing of its state moves.
    Restart,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] =
        [Self::PreCopy, Self::PostCopy, Self::Hybrid, Self::StopAndCopy, Self::Restart];

    /// The name, as reports and commands use it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreCopy => "pre-copy",
            Self::PostCopy => "post-copy",
            Self::Hybrid => "hybrid",
            Self::StopAndCopy => "stop-and-copy",
            Self::Restart => "restart",
        }
    }

    /// Whether the machine may run at the destination while pages of it are still at the source.
    #[must_use]
    pub const fn may_depend(self) -> bool {
        matches!(self, Self::PostCopy | Self::Hybrid)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is done where a promise turns out to be unreachable while the machine is being moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMiss {
    /// The move ends, and the machine runs on at the source.
    #[default]
    Cancel,
    /// It goes on, with as much time again, and then the machine is stopped at the best moment: the
    /// promise is broken.
    Extend,
    /// The machine's processors are slowed down by as little as makes the promise reachable.
    Throttle,
    /// What is left follows the machine: the interruption is the fixed part alone.
    PostCopy,
}

impl OnMiss {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cancel, Self::Extend, Self::Throttle, Self::PostCopy];

    /// The name, as reports and commands use it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Extend => "extend",
            Self::Throttle => "throttle",
            Self::PostCopy => "post-copy",
        }
    }
}

impl fmt::Display for OnMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
