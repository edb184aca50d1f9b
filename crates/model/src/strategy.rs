use std::fmt;
use std::num::NonZeroU32;

use punctual_units::Probability;
use serde::{Deserialize, Serialize};

/// The named ways in which the memory of a running machine is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// In rounds, each in the order of addresses; the rest while the machine is stopped.
    #[default]
    PreCopy,
    /// The same, each round in the order that leaves the fewest pages to be sent again.
    Ordered,
    /// The same, and pages that would be written again anyway are held back until the stop.
    HeldBack,
    /// Without rounds: always the pages that are least likely to be written again before the stop.
    Continuous,
    /// In rounds, in the order of addresses, until Xen would stop: see [`Rounds::AsXen`].
    Xen,
    /// In rounds, in the order of addresses, until QEMU would stop: see [`Rounds::AsQemu`].
    Qemu,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 6] =
        [Self::PreCopy, Self::Ordered, Self::HeldBack, Self::Continuous, Self::Xen, Self::Qemu];

    /// Those that stop where the promise can be kept: a plan chooses among them. The others are those
    /// of the field, for comparison and for those who want them.
    pub const OWN: [Self; 4] = [Self::PreCopy, Self::Ordered, Self::HeldBack, Self::Continuous];

    /// The name, as reports and commands use it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreCopy => "pre-copy",
            Self::Ordered => "ordered",
            Self::HeldBack => "held-back",
            Self::Continuous => "continuous",
            Self::Xen => "xen",
            Self::Qemu => "qemu",
        }
    }

    /// What the policy stands for.
    #[must_use]
    pub const fn strategy(self) -> Strategy {
        let (order, hold_back, rounds) = match self {
            Self::PreCopy => (Order::Address, HoldBack::Nothing, Rounds::UntilPromise),
            Self::Ordered => (Order::Heat, HoldBack::Nothing, Rounds::UntilPromise),
            Self::HeldBack => (Order::Heat, HoldBack::Chosen, Rounds::UntilPromise),
            Self::Continuous => (Order::Heat, HoldBack::Nothing, Rounds::None),
            Self::Xen => (Order::Address, HoldBack::Nothing, Rounds::AsXen),
            Self::Qemu => (Order::Address, HoldBack::Nothing, Rounds::AsQemu),
        };
        Strategy { order, hold_back, rounds }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How the memory of a running machine is moved, in every detail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// The order within a round.
    pub order: Order,
    /// What is not sent before the stop.
    pub hold_back: HoldBack,
    /// How many rounds there are.
    pub rounds: Rounds,
}

/// The order in which the pages of a round are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Rising addresses.
    #[default]
    Address,
    /// By the probability of being written again, as the model orders them.
    Heat,
    /// The least recently written first (LRU).
    Recency,
}

/// Which pages are not sent before the machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldBack {
    /// All are sent.
    #[default]
    Nothing,
    /// Those from a probability on that the model chooses.
    Chosen,
    /// Those that are written in a slot (the time of sending one page) with this probability or a
    /// higher one.
    From(Probability),
}

/// How often pages are sent before the machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounds {
    /// Until the promised interruption can be kept.
    #[default]
    UntilPromise,
    /// So many, and then the machine is stopped whatever is left.
    Exactly(NonZeroU32),
    /// Until fewer than 50 pages are left, or behind 29 rounds, or when more than three times the
    /// memory has been sent, whichever comes first; then the machine is stopped, however long that
    /// will be. So Xen did up to 4.5 (`tools/libxc/xc_domain_save.c`: `DEF_MAX_ITERS`,
    /// `DEF_MAX_FACTOR`, and the number 50); later versions stop behind 5 rounds
    /// (`tools/libs/guest/xg_sr_save.c`, `simple_precopy_policy`). Left out: Xen skips pages in a
    /// round that it sees written again before it comes to them.
    AsXen,
    /// Until what is left takes no longer to send than the interruption may be, at the rate that the
    /// link was seen to have; never, if that does not come. So QEMU does
    /// (`migration/migration.c`: `threshold_size` in `migration_update_counters`, compared in
    /// `migration_iteration_run`): nothing is added for stopping, device state and resuming, nor for
    /// what is written meanwhile. Left out: QEMU counts whole pages, also where it packs them.
    AsQemu,
    /// There are no rounds: the pages to send are chosen anew all the time, until the promised
    /// interruption can be kept.
    None,
}
