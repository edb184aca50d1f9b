use super::{Code, HostFacts, Refusal, refusals};
use crate::qemu::describe::{Accel, Description, Version};

/// The first QEMU whose own migration of a machine under its own translator was seen to lose
/// nothing. 7.2 loses writes: at 20,000 pages a second a Linux guest panicked each time.
const SOUND: Version = Version { major: 10, minor: 0, micro: 0 };

impl Code {
    /// Whether it stands in the way of whoever traces the memory from outside alone, so that QEMU
    /// itself can migrate the machine all the same.
    #[must_use]
    pub fn is_of_tracing(self) -> bool {
        matches!(self, Self::RamNotShared | Self::RamNotFile | Self::Kernel | Self::Permission)
    }
}

/// Every reason at the source not to have QEMU itself migrate a machine; none if it can.
#[must_use]
pub fn refusals_of_native(machine: &Description, host: &HostFacts) -> Vec<Refusal> {
    let mut refusals = refusals(machine, host);
    refusals.retain(|refusal| !refusal.code.is_of_tracing());
    if machine.accel == Accel::Tcg && machine.version < SOUND {
        refusals.push(Refusal::new(
            Code::LosesWrites,
            format!(
                "QEMU {} loses writes of a guest without KVM when it migrates it itself",
                machine.version
            ),
            format!("restart it with QEMU {SOUND} or newer, or with RAM in a file that is shared"),
        ));
    }
    refusals
}
