//! What the guests of the prediction benchmark do.

use std::fmt;
use std::str::FromStr;

use punctual_guest_protocol::{Options, Workload};
use punctual_units::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Memory of each guest that is filled at boot and never changes: with the kernel and the set, a
/// first round of some 6 s at 100 Mbit/s.
const FILL: Bytes = Bytes::mib(24);

/// What one guest does while it is moved.
///
/// A page that was sent before travels as some 300 B, so that 100 Mbit/s carry 40,000 of them a
/// second: the sweep writes faster than that, and cannot be stopped for less than its whole set
/// takes there, some 200 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occupation {
    /// Nothing but its beacon.
    Idle,
    /// 2,000 single-byte writes a second, spread evenly over 32 MiB.
    #[serde(rename = "uniform-2000")]
    Uniform2000,
    /// 20,000 of them.
    #[serde(rename = "uniform-20000")]
    Uniform20000,
    /// 20,000 writes a second, nine in ten to a tenth of 32 MiB.
    HotCold,
    /// 20,000 writes a second, by Zipf's law over 32 MiB.
    Zipf,
    /// 100,000 writes a second, one page of 32 MiB after the other.
    Sweep,
    /// Every three seconds another part of 32 MiB and another rate, up to 40,000 writes a second.
    Phases,
    /// 5,000 operations a second on a key-value table of 16 MiB.
    Kv,
}

/// No occupation has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no guest does `{name}`: there are {}", Occupation::ALL.map(Occupation::name).join(", "))]
pub struct UnknownOccupation {
    name: String,
}

impl Occupation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Uniform2000,
        Self::Uniform20000,
        Self::HotCold,
        Self::Zipf,
        Self::Sweep,
        Self::Phases,
        Self::Kv,
    ];

    /// The name, in tables and JSON alike.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Uniform2000 => "uniform-2000",
            Self::Uniform20000 => "uniform-20000",
            Self::HotCold => "hot-cold",
            Self::Zipf => "zipf",
            Self::Sweep => "sweep",
            Self::Phases => "phases",
            Self::Kv => "kv",
        }
    }

    /// What a guest is told to do it.
    pub(super) fn options(self) -> Options {
        let (workload, rate, set) = match self {
            Self::Idle => (Workload::Idle, 0, Bytes::mib(1)),
            Self::Uniform2000 => (Workload::Uniform, 2_000, Bytes::mib(32)),
            Self::Uniform20000 => (Workload::Uniform, 20_000, Bytes::mib(32)),
            Self::HotCold => (Workload::HotCold, 20_000, Bytes::mib(32)),
            Self::Zipf => (Workload::Zipf, 20_000, Bytes::mib(32)),
            Self::Sweep => (Workload::Sweep, 100_000, Bytes::mib(32)),
            Self::Phases => (Workload::Phases, 20_000, Bytes::mib(32)),
            Self::Kv => (Workload::Kv, 5_000, Bytes::mib(16)),
        };
        Options { workload, rate, set: set.get(), fill: FILL.get(), ..Options::default() }
    }
}

impl fmt::Display for Occupation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Occupation {
    type Err = UnknownOccupation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|occupation| occupation.name() == name);
        named.ok_or_else(|| UnknownOccupation { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for occupation in Occupation::ALL {
            assert_eq!(occupation.name().parse(), Ok(occupation));
            let json = serde_json::to_string(&occupation).unwrap();
            assert_eq!(json, format!("{:?}", occupation.name()));
        }
        let error = "sleep".parse::<Occupation>().unwrap_err().to_string();
        assert!(error.contains("uniform-20000"), "{error}");
    }
}
