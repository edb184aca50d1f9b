//! The control port: one JSON object a line from the client, one JSON object a line back.
//!
//! ```
//! use punctual_guest_protocol::control::Request;
//!
//! let line = r#"{"cmd":"workload","name":"uniform","rate":2000}"#;
//! assert!(matches!(serde_json::from_str(line)?, Request::Workload { rate: Some(2000), .. }));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Workload;

/// The longest control line, in bytes, end of line included.
pub const MAX_LINE: usize = 4096;

/// What a client asks of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum Request {
    /// Tell how things stand. Answered by [`Reply::Status`].
    Status,
    /// Compare every byte of set, fill and table with what it ought to be; the workload pauses
    /// meanwhile. Answered by [`Reply::Check`].
    Check,
    /// Do something else from now on. Answered by [`Reply::Done`].
    Workload {
        /// What to do.
        name: Workload,
        /// Units of work a second; as before if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<u64>,
        /// Size of the set in bytes, at most what was reserved at boot; as before if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<u64>,
    },
    /// Go on at another rate. Answered by [`Reply::Done`].
    Rate {
        /// Units of work a second.
        rate: u64,
    },
    /// Tell where a page of the set lies in guest-physical memory. Answered by [`Reply::Page`].
    Locate {
        /// Number of the page within the set.
        page: u64,
    },
}

/// What a guest answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The command was carried out.
    Done,
    /// How things stand.
    Status(Status),
    /// What a check found.
    Check(CheckReport),
    /// Where a page lies.
    Page {
        /// Guest-physical address of its first byte.
        address: u64,
    },
    /// The command was not understood or cannot be carried out.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// How things stand in a guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What it does.
    pub workload: Workload,
    /// Units of work a second that were asked for.
    pub rate: u64,
    /// Units of work a second that were done in the last full second.
    pub achieved_rate: f64,
    /// Units of work done since boot.
    pub work: u64,
    /// Pages of the set that the workload uses.
    pub set_pages: u64,
    /// Pages that hold the fill.
    pub fill_pages: u64,
    /// Bytes that were read from the disk and found right.
    pub disk_bytes_checked: u64,
    /// Clients connected to the stream.
    pub stream_clients: u64,
    /// How many checks found a wrong byte since boot.
    pub check_failures: u64,
    /// What the first of them found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Failure>,
    /// Seconds since the guest's kernel started.
    pub uptime_seconds: f64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Whether every byte is what it ought to be.
    pub ok: bool,
    /// Pages that were compared in full (those up to the wrong byte, if there is one).
    pub pages_checked: u64,
    /// The first wrong byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Failure>,
}

/// Where something wrong was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The pages that the workload writes.
    Set,
    /// The pages that are written once, at boot.
    Fill,
    /// The key-value table; the page is the number of its slot.
    Table,
    /// The disk; the page is the number of its 4 KiB block.
    Disk,
}

/// A byte that is not what it ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it belongs to.
    pub place: Place,
    /// Number of the page (table: of the slot; disk: of the 4 KiB block) within it.
    pub page: u64,
    /// Offset within the page, in bytes.
    pub offset: u64,
    /// What the byte ought to be.
    pub expected: u8,
    /// What it is.
    pub found: u8,
    /// Guest-physical address of the byte, where the kernel tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, page, offset, expected, found, address } = self;
        write!(
            f,
            "{place:?} page {page} offset {offset:#x}: expected {expected:#04x}, found {found:#04x}"
        )?;
        match address {
            Some(address) => write!(f, " (guest-physical {address:#x})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: Serialize + for<'a> Deserialize<'a> + PartialEq + fmt::Debug>(
        line: &str,
        value: &T,
    ) {
        assert_eq!(serde_json::to_string(value).unwrap(), line);
        assert_eq!(&serde_json::from_str::<T>(line).unwrap(), value);
    }

    #[test]
    fn requests_read_as_documented() {
        same(r#"{"cmd":"status"}"#, &Request::Status);
        same(r#"{"cmd":"check"}"#, &Request::Check);
        same(r#"{"cmd":"rate","rate":20000}"#, &Request::Rate { rate: 20_000 });
        same(r#"{"cmd":"locate","page":3}"#, &Request::Locate { page: 3 });
        same(
            r#"{"cmd":"workload","name":"hot-cold","set":67108864}"#,
            &Request::Workload { name: Workload::HotCold, rate: None, set: Some(64 << 20) },
        );
        assert!(serde_json::from_str::<Request>(r#"{"cmd":"reboot"}"#).is_err());
    }

    #[test]
    fn replies_read_as_documented() {
        same(r#"{"reply":"done"}"#, &Reply::Done);
        let sound = CheckReport { ok: true, pages_checked: 3, wrong: None };
        same(r#"{"reply":"check","ok":true,"pages_checked":3}"#, &Reply::Check(sound));
        let wrong = Failure {
            place: Place::Set,
            page: 4,
            offset: 5,
            expected: 6,
            found: 7,
            address: Some(0x4005),
        };
        same(
            r#"{"reply":"check","ok":false,"pages_checked":3,"wrong":{"place":"set","page":4,"offset":5,"expected":6,"found":7,"address":16389}}"#,
            &Reply::Check(CheckReport { ok: false, pages_checked: 3, wrong: Some(wrong) }),
        );
        assert_eq!(
            wrong.to_string(),
            "Set page 4 offset 0x5: expected 0x06, found 0x07 (guest-physical 0x4005)"
        );
    }
}
