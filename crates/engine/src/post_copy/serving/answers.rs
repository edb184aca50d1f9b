//! The faults line of the source: pages that somebody waits for.

use std::sync::Arc;

use punctual_guest::RamIoError;
use punctual_link::LinkError;
use punctual_units::PageRange;
use punctual_wire::pages::Encoder;
use punctual_wire::{DestinationMessage, Message as _, PageLine};
use thiserror::Error;

use super::dial::keep;
use super::shared::Shared;
use crate::Connection;
use crate::driver::told;

/// Why a line of the source is of no use any more.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Ram(#[from] RamIoError),
    #[error("the destination said {0}, which has no place here: run one version on both hosts")]
    OutOfPlace(&'static str),
    #[error(transparent)]
    Runs(#[from] punctual_wire::RunsError),
    #[error("nothing more is to be served")]
    Over,
}

/// Answers until it is over.
pub(super) fn run(shared: &Arc<Shared>, first: Option<Connection>) {
    let mut encoder = Encoder::without_history(shared.task.ram.layout().clone());
    keep(shared, PageLine::Faults, first, |mut connection| {
        let Err(why) = answer(shared, &mut connection, &mut encoder);
        told(&why)
    });
}

fn answer(
    shared: &Shared,
    connection: &mut Connection,
    encoder: &mut Encoder,
) -> Result<std::convert::Infallible, Broken> {
    let capacity = shared.task.ram.layout().pages();
    loop {
        let wanted = match connection.receiver.receive_message()? {
            DestinationMessage::Want(runs) => {
                runs.ranges(capacity).collect::<Result<Vec<PageRange>, _>>()?
            }
            other => return Err(Broken::OutOfPlace(other.name())),
        };
        // Said before it may be served, so that whoever waits already then comes before the push.
        shared.answering(&wanted);
        if !shared.wait_begun() {
            return Err(Broken::Over);
        }
        let before = connection.sender.sent().total();
        let sent = encoder.encode(
            wanted.iter().copied(),
            |pages, buffer| shared.task.ram.read(pages, buffer).map_err(Broken::from),
            |payload| connection.sender.send_packed(payload).map_err(Broken::from),
        );
        shared.answered(&wanted, connection.sender.sent().total().saturating_sub(before));
        sent?;
    }
}
