use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a test guest does with its memory; the names are those of the kernel command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Writes nothing.
    Idle,
    /// Writes single bytes of pages drawn uniformly from the set.
    Uniform,
    /// Sends nine writes in ten to a tenth of the set.
    HotCold,
    /// Writes page *i* of the set with a probability proportional to 1 / (*i* + 1).
    Zipf,
    /// Writes the pages of the set one after the other, for ever.
    Sweep,
    /// Changes the part of the set that it writes, and the rate, every few seconds.
    Phases,
    /// Inserts, updates and deletes entries of a key-value table with checksummed values.
    Kv,
    /// Writes frame after frame into a ring of buffers, 25 frames a second.
    Stream,
    /// Reads the disk, directly and buffered, and checks every byte.
    Reader,
}

impl Workload {
    /// Every workload, in the order of their numbers on the wire.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Uniform,
        Self::HotCold,
        Self::Zipf,
        Self::Sweep,
        Self::Phases,
        Self::Kv,
        Self::Stream,
        Self::Reader,
    ];

    /// The name, as it stands on the kernel command line and in control lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Uniform => "uniform",
            Self::HotCold => "hot-cold",
            Self::Zipf => "zipf",
            Self::Sweep => "sweep",
            Self::Phases => "phases",
            Self::Kv => "kv",
            Self::Stream => "stream",
            Self::Reader => "reader",
        }
    }

    /// The number that stands for the workload in a beacon.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The workload with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no workload bears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no workload is called {0:?}; there are: idle, uniform, hot-cold, zipf, sweep, phases, kv, stream, reader"
)]
pub struct UnknownWorkload(pub String);

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
            .ok_or_else(|| UnknownWorkload(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (number, workload) in Workload::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(workload.number()), number);
            assert_eq!(Workload::from_number(workload.number()), Some(workload));
            assert_eq!(workload.name().parse(), Ok(workload));
            let json = serde_json::to_string(&workload).unwrap();
            assert_eq!(json, format!("{:?}", workload.name()));
        }
        assert_eq!(Workload::from_number(200), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "busy".parse::<Workload>().unwrap_err().to_string();
        for workload in Workload::ALL {
            assert!(message.contains(workload.name()), "{message}");
        }
    }
}
