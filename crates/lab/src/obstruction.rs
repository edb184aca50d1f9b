//! Links between hosts on which nothing gets through, one way or both, while a lab is in use.

use punctual_units::{Bytes, BytesPerSecond};
use thiserror::Error;

use crate::iproute::{Batch, NetworkError, Tool};
use crate::lab::{Lab, NoSuchPlace};
use crate::names::UPLINK;
use crate::spec::Sharing;

/// The class that obstructed packets go to.
const CLASS: &str = "1:66";
/// Its queue where packets wait; one that loses them has no name.
const HELD_QUEUE: &str = "67:";
/// What a held queue lets through, in all the time that it is held: nothing to speak of.
const HARDLY: BytesPerSecond = BytesPerSecond::new(1);
/// The longest train of frames that is sent as one.
const BURST: Bytes = Bytes::kib(64);
/// So much waits in a held queue before it loses anything.
const HELD: Bytes = Bytes::mib(64);

/// What becomes of the packets of one host to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstruction {
    /// They are lost.
    Cut,
    /// They wait, and go on when the way is cleared.
    Stall,
}

/// Why a way was not obstructed or cleared.
#[derive(Debug, Error)]
pub enum ObstructionError {
    /// There is no such host.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// The link has no rate, so its packets are not sorted into queues.
    #[error("the link of host {0} is unshaped: make the lab with a rate, and in one queue")]
    Unshaped(String),
    /// The kernel refused.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Lab {
    /// Obstructs what one host itself sends to another, from now on. Its guests' packets are left
    /// alone, so are those that go the other way. Blocks for some 10 ms.
    ///
    /// # Errors
    /// The link has no rate, or the kernel refused.
    pub fn obstruct(
        &self,
        from: &str,
        to: &str,
        obstruction: Obstruction,
    ) -> Result<(), ObstructionError> {
        let (rate, mut tc) = self.sorted(from)?;
        let to = self.host(to)?.address;
        let on = format!("dev {UPLINK}");
        let rate = rate.get();
        let class = format!("classid {CLASS} htb rate {rate}bps quantum {}", BURST.get());
        tc.add(format!("class replace {on} parent 1: {class}"));
        tc.add(match obstruction {
            // No packet is as short as that.
            Obstruction::Cut => {
                format!("qdisc replace {on} parent {CLASS} bfifo limit 1")
            }
            Obstruction::Stall => bucket("replace", HARDLY),
        });
        tc.add(format!(
            "filter replace {on} parent 1: handle 800::1 protocol ip prio 1 \
             u32 match ip dst {to}/32 flowid {CLASS}"
        ));
        Ok(tc.run()?)
    }

    /// Clears a way that was obstructed; a second time does no harm. Blocks for some 10 ms.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn clear(&self, from: &str) -> Result<(), ObstructionError> {
        let (rate, mut tc) = self.sorted(from)?;
        // New packets take their way again before those go that were held.
        tc.add(format!("filter delete dev {UPLINK} parent 1: prio 1"));
        // Where there is nothing to clear, or nothing was held, a line fails, and that is all.
        let _ = tc.run();
        let (_, mut tc) = self.sorted(from)?;
        tc.add(bucket("change", rate));
        let _ = tc.run();
        Ok(())
    }

    fn sorted(&self, from: &str) -> Result<(BytesPerSecond, Batch), ObstructionError> {
        let host = self.host(from)?;
        let unshaped = || ObstructionError::Unshaped(from.to_owned());
        let rate = host.rate.ok_or_else(unshaped)?;
        if self.state().sharing != Sharing::OneQueue {
            return Err(unshaped());
        }
        Ok((rate, Batch::new(Tool::Tc, Some(host.namespace.name()))))
    }
}

/// A queue that packets leave at a rate.
fn bucket(verb: &str, rate: BytesPerSecond) -> String {
    format!(
        "qdisc {verb} dev {UPLINK} parent {CLASS} handle {HELD_QUEUE} \
         tbf rate {}bps burst {} limit {}",
        rate.get(),
        BURST.get(),
        HELD.get()
    )
}
