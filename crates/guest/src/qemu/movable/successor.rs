use super::{Code, Refusal};
use crate::qemu::describe::Description;

/// Every reason, beyond those against any move, not to put another process in a machine's place on
/// its host, in the same RAM files; none if that can be done.
#[must_use]
pub fn refusals_to_succeed(machine: &Description) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for backend in machine.memory.iter().filter(|backend| backend.discarded) {
        refusals.push(Refusal::new(
            Code::RamDiscarded,
            format!("QEMU empties the memory `{}` when it ends (discard-data=on)", backend.id),
            "restart the machine without discard-data, or move it to another host",
        ));
    }
    // `virtio_mem_device_realize` in QEMU's `hw/virtio/virtio-mem.c`.
    for device in machine.devices.iter().filter(|device| device.kind.contains("virtio-mem")) {
        refusals.push(Refusal::new(
            Code::RamDiscarded,
            format!("the device `{}` ({}) empties its memory at its start", device.id, device.kind),
            "unplug it, or move the machine to another host",
        ));
    }
    for nic in machine.nics.iter().filter(|nic| nic.bridge.is_none()) {
        refusals.push(Refusal::new(
            Code::BridgeMissing,
            format!(
                "the tap `{}` is the port of no bridge, so that nothing would lead to another one",
                nic.tap.as_deref().unwrap_or(&nic.netdev)
            ),
            "make it the port of a bridge (ip link set TAP master BRIDGE)",
        ));
    }
    refusals
}
