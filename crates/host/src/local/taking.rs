//! The end of a replacement that takes the machine over.

use std::sync::{Arc, OnceLock, mpsc};

use punctual_engine::{
    Admission, Connection, Immigration, Start, StartError, Unanswered, immigrate,
};
use punctual_guest::{DestinationMachine, Sharing};
use punctual_link::Link;
use punctual_wire::{Outcome, SourceMessage};

use crate::host::Host;
use crate::hypervisor::{Handle, StartArrival};
use crate::registry::Record;

/// What takes a machine over from the process that it has.
pub(super) struct Taking<'a> {
    pub(super) host: &'a Arc<Host>,
    /// The machine's record.
    pub(super) record: Record,
    pub(super) command_line: Vec<String>,
    /// What finds the new process, or what there is of it.
    pub(super) handle: Handle,
    pub(super) start: StartArrival,
}

impl Taking<'_> {
    /// Takes it over from the other end of `link`, which sets what was `decided` when it has ended
    /// (`None`: nobody can tell).
    pub(super) fn go(self, link: Link, decided: &OnceLock<Option<Outcome>>) -> Immigration {
        let mut link = Connection::from(link);
        let offer = match link.receiver.receive_message() {
            Ok(SourceMessage::Offer(offer)) => *offer,
            // The other end has not even begun.
            Ok(_) | Err(_) => {
                return Immigration::NothingStarted { reason: "nothing was offered".to_owned() };
            }
        };
        let host = self.host;
        let arbiter = |_| match decided.get() {
            None => Ok(Outcome::Undecided),
            Some(Some(outcome)) => Ok(*outcome),
            Some(None) => Err(Unanswered::Ending),
        };
        // No page follows: none is missing.
        let (_, lines) = mpsc::channel();
        immigrate(link, offer, |_| Ok(self.admit()), &host.journal, arbiter, lines)
    }

    fn admit(self) -> Admission {
        let Self { host, record, command_line, handle, start } = self;
        let host = Arc::clone(host);
        let start: Start = Box::new(move || launch(&host, record, handle, start));
        Admission { command_line, start }
    }
}

/// Starts the new process. It is on record before there is anything of it.
fn launch(
    host: &Host,
    record: Record,
    planned: Handle,
    start: StartArrival,
) -> Result<Box<dyn DestinationMachine>, StartError> {
    let with = |successor| Record { successor: Some(successor), ..record.clone() };
    host.registry.put(with(planned))?;
    let arrival = start()?;
    // On an error it is dropped, and so discarded.
    host.registry.put(with(arrival.handle))?;
    Ok(Box::new(Sharing::take_over(arrival.machine)?))
}
