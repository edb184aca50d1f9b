use punctual_units::{MemoryLayout, PageSet, Probability};
use serde::{Deserialize, Serialize};

/// What a trace was recorded from, and at what cost.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The machine's name on its host, at most [`Trace::LONGEST_NAME`](crate::Trace::LONGEST_NAME)
    /// bytes.
    pub machine: String,
    /// How its memory was laid out.
    pub layout: MemoryLayout,
    /// The pages that took up memory when the recording ended: all others are holes, read as zero.
    pub populated: PageSet,
    /// Whether a disk was open with direct I/O, whose writes no trace shows for certain.
    pub direct_io: bool,
    /// What its pages cost on a link.
    pub content: Content,
    /// When the recording ended, in seconds since 1970 (UTC).
    pub recorded_at: u64,
    /// The share of the guest's work that the recording took, estimated.
    pub guest_cost: Probability,
}

/// What a machine's pages cost on a link where pages are packed, from a sample of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The share of the populated pages that are all zero.
    pub zero: Probability,
    /// Packed bytes of a page that is not zero and sent for the first time: the mean.
    pub first: f64,
    /// Packed bytes of a written page that is sent again: the mean. Where no page was found written
    /// again while the sample was taken, it is that of the first time.
    pub again: f64,
}

impl Content {
    /// The most that a page may be said to take, in bytes: a page and what goes around it.
    pub const MOST: f64 = 8192.0;

    /// Pages of which nothing is known: none zero, none that can be packed.
    pub const UNKNOWN: Self = Self { zero: Probability::ZERO, first: 4096.0, again: 4096.0 };
}
