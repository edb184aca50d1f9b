//! What a guest does with its memory: one file a workload, one trait for all.

mod hot_cold;
mod idle;
mod kv;
mod phases;
mod random;
mod reader;
mod stream;
mod sweep;
mod uniform;
mod zipf;

use std::time::Duration;

use punctual_guest_protocol::control::Failure;
use punctual_guest_protocol::{Options, Pattern, Workload};

use crate::memory::Set;
use crate::world::part;
use random::Random;

/// A workload at work.
pub(crate) trait Work: Send {
    /// Does up to `units` units of work, which have become due by `now`; says how many it did.
    ///
    /// # Errors
    ///
    /// The first wrong byte, where the workload reads what it or another wrote.
    fn work(&mut self, set: &mut Set, units: u64, now: Duration) -> Result<u64, Failure>;

    /// Checks what the workload keeps outside the set; says how many pages that was.
    ///
    /// # Errors
    ///
    /// The first wrong byte.
    fn check(&self) -> Result<u64, Failure>;

    /// Bytes that were read from the disk and found right.
    fn disk_bytes_checked(&self) -> u64;
}

/// Why a workload cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CannotWork {
    #[error("the workload {0} needs a set of at least {1} pages: say a larger punctual.set")]
    SetTooSmall(Workload, usize),
    #[error(
        "{bytes} bytes for the workload's own memory are not to be had: {source}; give the guest more RAM"
    )]
    Memory { bytes: u64, source: nix::Error },
    #[error("the disk /dev/vda cannot be used: {0}; give the machine a virtio-blk-pci device")]
    Disk(#[from] std::io::Error),
    #[error("punctual.read-size={0} is no multiple of 4096")]
    ReadSize(u64),
}

/// Makes a workload that uses the first `pages` pages of the set.
pub(crate) fn make(
    workload: Workload,
    pages: usize,
    options: &Options,
) -> Result<Box<dyn Work>, CannotWork> {
    let random = Random::new(Pattern::new(options.seed).part(part::CHOICE));
    let least = match workload {
        Workload::Idle | Workload::Reader => 0,
        Workload::HotCold => 2,
        Workload::Phases => 8,
        _ => 1,
    };
    if pages < least {
        return Err(CannotWork::SetTooSmall(workload, least));
    }
    Ok(match workload {
        Workload::Idle => Box::new(idle::Idle),
        Workload::Uniform => Box::new(uniform::Uniform { pages, random }),
        Workload::HotCold => Box::new(hot_cold::HotCold { pages, random }),
        Workload::Zipf => Box::new(zipf::Zipf::new(pages, random)),
        Workload::Sweep => Box::new(sweep::Sweep::new(pages)),
        Workload::Phases => Box::new(phases::Phases::new(pages, random)),
        Workload::Kv => Box::new(kv::Kv::new(pages, options.seed, random)?),
        Workload::Stream => Box::new(stream::Stream::new(pages)),
        Workload::Reader => Box::new(reader::Reader::open(options)?),
    })
}

/// What workloads have in common that only write to the set.
macro_rules! keeps_nothing_outside_the_set {
    () => {
        fn check(&self) -> Result<u64, punctual_guest_protocol::control::Failure> {
            Ok(0)
        }

        fn disk_bytes_checked(&self) -> u64 {
            0
        }
    };
}
use keeps_nothing_outside_the_set;
