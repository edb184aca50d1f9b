//! What a process machine has besides memory, and how it travels.

use serde::{Deserialize, Serialize};

/// What the threads of the machine do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Nothing.
    Idle,
    /// Single bytes of random pages.
    Uniform {
        /// How many writes a second, over all threads.
        writes_per_second: u64,
    },
    /// Nine writes of ten go to the first sixteenth of the pages.
    HotCold {
        /// How many writes a second, over all threads.
        writes_per_second: u64,
    },
}

impl Workload {
    pub(super) fn writes_per_second(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::Uniform { writes_per_second } | Self::HotCold { writes_per_second } => {
                writes_per_second
            }
        }
    }

    /// The page for a random number, of `pages`.
    pub(super) fn page(self, random: u64, pages: u64) -> u64 {
        let hot = pages.div_ceil(16);
        match self {
            Self::HotCold { .. } if !random.is_multiple_of(10) => (random >> 8) % hot,
            _ => (random >> 8) % pages,
        }
    }
}

/// The state that moves with the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    pub(super) seed: u64,
    pub(super) workload: Workload,
    /// The random number generator of each thread.
    pub(super) generators: Vec<u64>,
    /// How often each thread has written.
    pub(super) writes: Vec<u64>,
    /// How often the state has been saved.
    pub(super) saves: u8,
    /// For each page, the low eight bits of how often it was written.
    pub(super) counters: Vec<u8>,
}

/// A good enough random number generator (xorshift64*): `state` is not zero.
pub(super) fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// What a page holds before any write: every fourth page is zero, as much of a machine's is.
pub(super) fn base_content(seed: u64, page: u64, content: &mut [u8]) {
    if page % 4 == 3 {
        content.fill(0);
        return;
    }
    let mut state = (seed ^ page.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
    for word in content.as_chunks_mut::<8>().0 {
        *word = random(&mut state).to_le_bytes();
    }
}

/// The place of the byte in a page that counts the writes to it.
pub(super) fn counter_at(page: u64) -> usize {
    (page as usize * 37 + 11) % 4000
}

/// The place of the byte in page 0 that saving the state counts up: behind all [`counter_at`].
pub(super) const SAVES_AT: usize = 4095;
