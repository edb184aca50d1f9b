//! Who moves the guest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way of moving a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Punctual, from outside QEMU.
    Punctual,
    /// QEMU's pre-copy, as it is by default.
    QemuPreCopy,
    /// QEMU's pre-copy over several connections.
    QemuMultifd,
    /// QEMU's pre-copy that sends the differences of pages it has sent before.
    QemuXbzrle,
    /// QEMU's pre-copy that slows the guest's processors until it converges.
    QemuAutoConverge,
    /// QEMU's post-copy, after two rounds of pre-copy.
    QemuPostCopy,
}

impl Contender {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Punctual,
        Self::QemuPreCopy,
        Self::QemuMultifd,
        Self::QemuXbzrle,
        Self::QemuAutoConverge,
        Self::QemuPostCopy,
    ];

    /// The name, in tables and JSON alike.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Punctual => "punctual",
            Self::QemuPreCopy => "qemu-pre-copy",
            Self::QemuMultifd => "qemu-multifd",
            Self::QemuXbzrle => "qemu-xbzrle",
            Self::QemuAutoConverge => "qemu-auto-converge",
            Self::QemuPostCopy => "qemu-post-copy",
        }
    }

    /// QEMU's capabilities for it, on both sides.
    pub(super) fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Punctual | Self::QemuPreCopy => &["events"],
            Self::QemuMultifd => &["events", "multifd"],
            Self::QemuXbzrle => &["events", "xbzrle"],
            Self::QemuAutoConverge => &["events", "auto-converge"],
            Self::QemuPostCopy => &["events", "postcopy-ram"],
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
