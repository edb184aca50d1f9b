//! The ways, and what each of them is to the engine.

use std::fmt;

use punctual_model::{Mode, Policy};
use serde::{Deserialize, Serialize};

use crate::Ask;

/// A way to get a machine to another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// [`Policy::PreCopy`].
    PreCopy,
    /// [`Policy::Ordered`].
    Ordered,
    /// [`Policy::HeldBack`].
    HeldBack,
    /// [`Policy::Continuous`].
    Continuous,
    /// [`Policy::Xen`]: no plan takes it.
    Xen,
    /// [`Policy::Qemu`]: no plan takes it.
    Qemu,
    /// [`Mode::Hybrid`].
    Hybrid,
    /// [`Mode::PostCopy`].
    PostCopy,
    /// [`Mode::StopAndCopy`]: stop it, send the memory, let it go on there.
    StopAndCopy,
    /// [`Mode::Restart`]: shut it down and boot it there; what it holds in memory is lost.
    Restart,
}

impl Way {
    /// Every way that a plan weighs.
    pub const ALL: [Self; 8] = [
        Self::PreCopy,
        Self::Ordered,
        Self::HeldBack,
        Self::Continuous,
        Self::Hybrid,
        Self::PostCopy,
        Self::StopAndCopy,
        Self::Restart,
    ];

    /// The pre-copy by this policy.
    #[must_use]
    pub const fn by(policy: Policy) -> Self {
        match policy {
            Policy::PreCopy => Self::PreCopy,
            Policy::Ordered => Self::Ordered,
            Policy::HeldBack => Self::HeldBack,
            Policy::Continuous => Self::Continuous,
            Policy::Xen => Self::Xen,
            Policy::Qemu => Self::Qemu,
        }
    }

    /// How the machine changes hosts.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::PreCopy
            | Self::Ordered
            | Self::HeldBack
            | Self::Continuous
            | Self::Xen
            | Self::Qemu => Mode::PreCopy,
            Self::Hybrid => Mode::Hybrid,
            Self::PostCopy => Mode::PostCopy,
            Self::StopAndCopy => Mode::StopAndCopy,
            Self::Restart => Mode::Restart,
        }
    }

    /// The policy of a pre-copy; `None` for the other modes.
    #[must_use]
    pub const fn policy(self) -> Option<Policy> {
        match self {
            Self::PreCopy => Some(Policy::PreCopy),
            Self::Ordered => Some(Policy::Ordered),
            Self::HeldBack => Some(Policy::HeldBack),
            Self::Continuous => Some(Policy::Continuous),
            Self::Xen => Some(Policy::Xen),
            Self::Qemu => Some(Policy::Qemu),
            Self::Hybrid | Self::PostCopy | Self::StopAndCopy | Self::Restart => None,
        }
    }

    /// How the memory is copied while the machine runs. What a hybrid holds back would only be missing
    /// later, so it holds nothing back; where nothing is copied, that says nothing.
    #[must_use]
    pub const fn copies_by(self) -> Policy {
        match (self, self.policy()) {
            (_, Some(policy)) => policy,
            (Self::Hybrid, None) => Policy::Ordered,
            (_, None) => Policy::PreCopy,
        }
    }

    /// Why this way does not come into question where that was asked; `None` where it does.
    #[must_use]
    pub fn excluded(self, ask: &Ask) -> Option<String> {
        let mode = self.mode();
        match ask.mode {
            Some(asked) if asked != mode => Some(format!("only `{asked}` was asked for")),
            _ if mode.may_depend() && !ask.post_copy => {
                Some("the machine is never to depend on two hosts (`--no-post-copy`)".to_owned())
            }
            None if mode == Mode::Restart => Some(
                "what the machine holds in memory would be lost: ask for it by name".to_owned(),
            ),
            _ => None,
        }
    }

    /// The name, as plans and commands use it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.policy() {
            Some(policy) => policy.name(),
            None => self.mode().name(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
