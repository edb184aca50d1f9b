//! What is asked of a machine that stays where it is.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Asks to put another QEMU in a machine's place on this host. Its memory stays where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeRequest {
    /// The machine.
    pub machine: String,
    /// The program; `None` starts the one that it runs anew, as it now lies on the disk.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// The longest interruption.
    pub downtime: Duration,
    /// The longest time in all.
    pub within: Duration,
    /// Whether it is only asked what would happen.
    #[serde(default)]
    pub dry_run: bool,
}
