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
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::PreCopy, Self::Ordered, Self::HeldBack, Self::Continuous];

    /// The name, as reports and commands use it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreCopy => "pre-copy",
            Self::Ordered => "ordered",
            Self::HeldBack => "held-back",
            Self::Continuous => "continuous",
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
    /// There are no rounds: the pages to send are chosen anew all the time, until the promised
    /// interruption can be kept.
    None,
}
