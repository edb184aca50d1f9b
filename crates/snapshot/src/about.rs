use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use punctual_units::{Bytes, MemoryLayout};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What tells one snapshot from all others, also from one of the same machine: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u128);

/// What a snapshot was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The machine was ended when the file was complete: it is the machine, and may run once.
    Suspended,
    /// The machine ran on: whoever starts the file has a second one like it.
    Copied,
}

/// What is known of a machine before its pages: the first section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Which snapshot it is.
    pub id: SnapshotId,
    /// What it was made for.
    pub purpose: Purpose,
    /// The machine's name.
    pub machine: String,
    /// The host that it was made on.
    pub host: String,
    /// When it was begun, in seconds since 1970, UTC.
    pub taken_at: u64,
    /// How the pages are numbered.
    pub layout: MemoryLayout,
}

/// What is known once the machine stands and all else is written: the last section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The digest of the whole memory as it was when the machine stood, read once more from there
    /// (`punctual_guest::RamDigest`).
    #[serde(with = "digits")]
    pub digest: u128,
    /// How much of the memory held anything.
    pub populated: Bytes,
    /// How long the device state is.
    pub device_state: Bytes,
    /// The machine's disks as they were when it stood.
    pub disks: Vec<DiskState>,
}

/// A disk as it was when the machine stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the machine may write it.
    pub writable: bool,
    /// The size of the file or device.
    pub size: Bytes,
    /// When it was last written; `None` where that cannot be told, as of a block device.
    pub touched: Option<Touched>,
}

/// A moment as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Nanoseconds behind them.
    pub nanoseconds: u32,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        digits::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        digits::deserialize(deserializer).map(Self)
    }
}

impl FromStr for SnapshotId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        digits::read(text).map(Self)
    }
}

/// 128 bits as text, since JSON has no numbers of that size.
mod digits {
    use super::*;

    pub(super) fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        read(&text).map_err(de::Error::custom)
    }

    pub(super) fn read(text: &str) -> Result<u128, String> {
        let fits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.ok_or_else(|| format!("`{text}` is not 32 hexadecimal digits"))
    }
}
