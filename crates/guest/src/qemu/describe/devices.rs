use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::children;
use crate::qemu::command_line::{Argument, CommandLine};
use crate::qemu::qmp::{Qmp, QmpError};

/// A device that the command line or an operator gave a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id, or its place among those without one.
    pub id: String,
    /// Its QEMU type, such as `virtio-blk-pci`.
    pub kind: String,
    /// How it came, or went.
    pub presence: Presence,
}

/// Whether a device is what the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It has been there since the start.
    FromStart,
    /// It was plugged in later.
    Plugged,
    /// The command line names it, but it was unplugged.
    Unplugged,
}

/// Asks for the devices.
pub(super) fn of(qmp: &Qmp, line: &CommandLine) -> Result<Vec<Device>, QmpError> {
    let mut devices = Vec::new();
    for place in ["/machine/peripheral", "/machine/peripheral-anon"] {
        for (id, kind) in children(qmp, place)? {
            let plugged = qmp.property(&format!("{place}/{id}"), "hotplugged")?;
            let presence = match plugged {
                Some(Value::Bool(true)) => Presence::Plugged,
                _ => Presence::FromStart,
            };
            devices.push(Device { id, kind, presence });
        }
    }
    let gone = unplugged(line, &devices);
    devices.extend(gone);
    Ok(devices)
}

/// The devices of the command line that are no longer there, as far as they have ids.
fn unplugged(line: &CommandLine, present: &[Device]) -> Vec<Device> {
    let gone = |argument: &Argument| {
        let options = argument.options();
        let id = options.get("id")?;
        let there = present.iter().any(|device| device.id == id);
        (!there).then(|| Device {
            id: id.to_owned(),
            kind: options.kind("driver").unwrap_or_default().to_owned(),
            presence: Presence::Unplugged,
        })
    };
    line.all("device").filter_map(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_unplugged() {
        let line = CommandLine::parse([
            "-device",
            "virtio-net-pci,id=n0",
            "-device",
            "virtio-rng-pci,id=r0",
        ]);
        let there = Device {
            id: "r0".to_owned(),
            kind: "virtio-rng-pci".to_owned(),
            presence: Presence::FromStart,
        };
        let gone = unplugged(&line, &[there]);
        assert_eq!(gone.len(), 1);
        assert_eq!((gone[0].id.as_str(), gone[0].kind.as_str()), ("n0", "virtio-net-pci"));
    }
}
