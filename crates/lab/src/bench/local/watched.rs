//! The guests that get another QEMU, and what their client hears of them.

use punctual_guest_protocol::{Options, Workload};

use super::{Accel, LocalSpec};
use crate::bench::TrialError;
use crate::client::{Gap, Window};
use crate::scene::{BareMetal, BareMetalSpec, Guest, GuestSpec, Scene};

/// A guest that the client hears each millisecond.
pub(super) enum Watched {
    Linux(Guest),
    BareMetal(BareMetal),
}

impl Watched {
    /// Starts the guest that goes with what its machine runs on, on host `a`.
    pub(super) fn start(scene: &Scene, spec: &LocalSpec) -> Result<Self, TrialError> {
        let LocalSpec { qemu, memory, accel, .. } = spec.clone();
        Ok(match accel {
            Accel::Tcg => {
                let options = Options { workload: Workload::Idle, rate: 0, ..Options::default() };
                let guest = GuestSpec { memory, ..GuestSpec::new("local", qemu, options) };
                Self::Linux(scene.start_guest("a", &guest)?)
            }
            Accel::Kvm => {
                let (name, accel) = ("local".to_owned(), "kvm".to_owned());
                let guest = BareMetalSpec { name, memory, qemu, accel };
                Self::BareMetal(scene.start_bare_metal("a", &guest)?)
            }
        })
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Linux(guest) => &guest.name,
            Self::BareMetal(guest) => &guest.name,
        }
    }

    /// The longest time in which the client heard nothing of it.
    pub(super) fn longest_silence(&self, window: Window) -> Option<Gap> {
        let reception = match self {
            Self::Linux(guest) => guest.beacon.arrivals(|arrivals| arrivals.reception(window)),
            Self::BareMetal(guest) => guest.arrivals(|arrivals| arrivals.reception(window)),
        };
        reception.map(|seen| seen.largest)
    }

    /// What is wrong with the guest, once it has checked its memory.
    pub(super) fn complaint(&self, scene: &Scene) -> Result<Option<String>, TrialError> {
        let guest = match self {
            Self::Linux(guest) => guest,
            Self::BareMetal(guest) => return Ok(guest.complaint()),
        };
        let check = scene.control(guest)?.check()?;
        let sound = check.ok && guest.beacon.signs().restarted.is_none();
        Ok((!sound).then(|| format!("{check:?}")))
    }
}
