//! The beacon: a small UDP datagram that a guest sends a thousand times a second.
//!
//! Whoever receives it sees from the gaps between arrivals how long the guest stood still, from
//! [`Beacon::work`] how much work it did meanwhile, and from [`Beacon::boot`] whether it is still
//! the same run of the guest.

use std::time::Duration;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Workload;

/// Time between two slots of the beacon.
pub const PERIOD: Duration = Duration::from_millis(1);

/// Length of a beacon datagram, in bytes.
pub const LENGTH: usize = size_of::<Datagram>();

const MAGIC: u32 = u32::from_le_bytes(*b"PBCN");
const VERSION: u16 = 1;

/// What one beacon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// How many beacons this run of the guest sent before this one: a gap means loss on the way.
    pub sequence: u64,
    /// Which millisecond of its schedule the guest sends this for. It skips the slots that it
    /// missed, so that slots may jump where sequence numbers do not.
    pub slot: u64,
    /// The guest's monotonic clock.
    pub guest_time: Duration,
    /// Units of work done since boot: page writes, table operations, or blocks read.
    pub work: u64,
    /// How many checks found a wrong byte since boot. Never more than zero in a sound guest.
    pub check_failures: u64,
    /// Random number of this run of the guest: a guest that rebooted has another one.
    pub boot: u64,
    /// What the guest is doing.
    pub workload: Workload,
}

/// Why a datagram is not a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABeacon {
    /// The length is wrong.
    #[error("a beacon has {LENGTH} bytes, this datagram has {0}")]
    Length(usize),
    /// It does not start with the beacon's magic number.
    #[error("the datagram starts with {0:#010x}, which is not a beacon's magic number")]
    Magic(u32),
    /// It has another version.
    #[error(
        "the beacon has version {0}, this program knows version {VERSION}: rebuild the guest with `make guests`"
    )]
    Version(u16),
    /// It names a workload that does not exist.
    #[error("the beacon names workload number {0}, which does not exist")]
    Workload(u8),
}

/// The bytes on the wire: little-endian, no gaps.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Datagram {
    magic: U32,
    version: U16,
    workload: u8,
    reserved: u8,
    sequence: U64,
    slot: U64,
    guest_nanoseconds: U64,
    work: U64,
    check_failures: U64,
    boot: U64,
}

impl Beacon {
    /// The datagram for this beacon.
    ///
    /// The guest's clock is sent in nanoseconds and ends after 584 years.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let nanoseconds = u64::try_from(self.guest_time.as_nanos()).unwrap_or(u64::MAX);
        zerocopy::transmute!(Datagram {
            magic: MAGIC.into(),
            version: VERSION.into(),
            workload: self.workload.number(),
            reserved: 0,
            sequence: self.sequence.into(),
            slot: self.slot.into(),
            guest_nanoseconds: nanoseconds.into(),
            work: self.work.into(),
            check_failures: self.check_failures.into(),
            boot: self.boot.into(),
        })
    }

    /// Reads a received datagram.
    ///
    /// # Errors
    ///
    /// [`NotABeacon`] if the datagram is something else, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotABeacon> {
        let datagram =
            Datagram::ref_from_bytes(bytes).map_err(|_| NotABeacon::Length(bytes.len()))?;
        if datagram.magic != MAGIC {
            return Err(NotABeacon::Magic(datagram.magic.get()));
        }
        if datagram.version != VERSION {
            return Err(NotABeacon::Version(datagram.version.get()));
        }
        let workload = Workload::from_number(datagram.workload)
            .ok_or(NotABeacon::Workload(datagram.workload))?;
        Ok(Self {
            sequence: datagram.sequence.get(),
            slot: datagram.slot.get(),
            guest_time: Duration::from_nanos(datagram.guest_nanoseconds.get()),
            work: datagram.work.get(),
            check_failures: datagram.check_failures.get(),
            boot: datagram.boot.get(),
            workload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon() -> Beacon {
        Beacon {
            sequence: 0x0102_0304,
            slot: 7,
            guest_time: Duration::from_nanos(0x0506),
            work: 9,
            check_failures: 0,
            boot: 0xabcd,
            workload: Workload::Zipf,
        }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = Vec::new();
        expected.extend(b"PBCN\x01\x00\x03\x00");
        for word in [0x0102_0304_u64, 7, 0x0506, 9, 0, 0xabcd] {
            expected.extend(word.to_le_bytes());
        }
        assert_eq!(beacon().to_bytes().as_slice(), expected);
        assert_eq!(Beacon::from_bytes(&expected), Ok(beacon()));
    }

    #[test]
    fn other_datagrams_are_told_apart() {
        let sound = beacon().to_bytes();
        assert_eq!(Beacon::from_bytes(&sound[1..]), Err(NotABeacon::Length(LENGTH - 1)));
        let broken = |at: usize, value: u8| {
            let mut bytes = sound;
            bytes[at] = value;
            Beacon::from_bytes(&bytes).unwrap_err()
        };
        assert!(matches!(broken(0, 0), NotABeacon::Magic(_)));
        assert_eq!(broken(4, 2), NotABeacon::Version(2));
        assert_eq!(broken(6, 99), NotABeacon::Workload(99));
    }
}
