use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};
use serde::{Deserialize, Serialize};

/// What is known beforehand of a move by the machine's own hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// Why Punctual does not move it itself; empty where that was asked for.
    pub because: String,
    /// What it is expected to take; `None` where nobody looked.
    pub estimate: Option<Estimate>,
}

/// What a move is expected to take by the rate at which memory is written, without a trace: of low
/// confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// How much of the memory is in use.
    pub populated: Bytes,
    /// How much of it changes in a second, by samples; `None` where that is not known.
    pub writing: Option<BytesPerSecond>,
    /// What the link carries.
    pub bandwidth: BytesPerSecond,
    /// The whole move; `None` where no end is seen, or the rate of writing is not known.
    pub total: Option<Duration>,
    /// The interruption; `None` in the same cases.
    pub downtime: Option<Duration>,
}
