//! Workloads that are described rather than recorded, as traces.
//!
//! | name | what is written |
//! | --- | --- |
//! | `idle` | next to nothing: 50 writes a second to 1 MiB |
//! | `uniform` | each page of `set` as often as any other |
//! | `hot-cold` | `share` of the writes go to `set`, the others anywhere |
//! | `zipf` | the page of rank r in `set` in proportion to 1/r^`exponent`, ranks scattered |
//! | `sweep` | the pages of `set` one after the other, over and over |
//! | `phases` | as `uniform` for `busy`, a twentieth of the rate for `quiet`, and again |
//!
//! A workload is written as its name and, behind a colon, what differs from the defaults:
//! `hot-cold:memory=4GiB,set=512MiB,rate=20000`.

mod generate;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use punctual_trace::Content;
use punctual_units::{Bytes, Probability};

pub use parse::SyntheticError;

/// A workload, described. See [the table](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    /// Which pages are written.
    pub shape: Shape,
    /// The machine's memory, all of it populated.
    pub memory: Bytes,
    /// The part of it that the shape speaks of; from the middle of the memory on.
    pub set: Bytes,
    /// Writes a second, each to one page.
    pub rate: f64,
    /// How much is traced.
    pub duration: Duration,
    /// What its pages cost on the link.
    pub content: Content,
    /// Another number gives other writes of the same kind.
    pub seed: u64,
}

/// Which pages a [`Synthetic`] workload writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// `idle`.
    Idle,
    /// `uniform`.
    Uniform,
    /// `hot-cold`.
    HotCold {
        /// The share of the writes that go to the set.
        share: Probability,
    },
    /// `zipf`.
    Zipf {
        /// How fast the pages get colder.
        exponent: f64,
    },
    /// `sweep`.
    Sweep,
    /// `phases`.
    Phases {
        /// How long it writes.
        busy: Duration,
        /// How long it hardly does.
        quiet: Duration,
    },
}

impl Shape {
    /// Every shape, with what holds where nothing else was said.
    #[must_use]
    pub fn all() -> [Self; 6] {
        [
            Self::Idle,
            Self::Uniform,
            Self::HotCold { share: Probability::saturating(0.9) },
            Self::Zipf { exponent: 1.0 },
            Self::Sweep,
            Self::Phases { busy: Duration::from_secs(4), quiet: Duration::from_secs(6) },
        ]
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Uniform => "uniform",
            Self::HotCold { .. } => "hot-cold",
            Self::Zipf { .. } => "zipf",
            Self::Sweep => "sweep",
            Self::Phases { .. } => "phases",
        }
    }
}

impl Synthetic {
    /// A workload of this shape in a machine of 1 GiB: 10,000 writes a second to 64 MiB, traced
    /// for 30 s; pages that cannot be packed, of which single bytes are written.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let (set, rate) = match shape {
            Shape::Idle => (Bytes::mib(1), 50.0),
            _ => (Bytes::mib(64), 10_000.0),
        };
        Self {
            shape,
            memory: Bytes::mib(1024),
            set,
            rate,
            duration: Duration::from_secs(30),
            content: Content { zero: Probability::ZERO, first: 4104.0, again: 268.0 },
            seed: 1,
        }
    }
}

impl fmt::Display for Synthetic {
    /// As it can be written to get it again, without what is as always.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [memory, set] = [self.memory, self.set].map(|bytes| bytes.to_string().replace(' ', ""));
        write!(f, "{}:memory={memory},set={set},rate={}", self.shape.name(), self.rate)
    }
}
