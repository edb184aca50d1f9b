//! What the engine's machines are told.

use std::time::Duration;

use punctual_engine::{destination, source};
use punctual_units::{Bytes, PageRange, PageSet};

use super::{Cores, Input, Message, layout};
use crate::tasks::Written;
use crate::world::Kind;

impl Cores {
    pub(super) fn source_event(&self, input: Input, kind: Kind) -> Option<source::Event> {
        use source::Event;
        let nothing = || PageSet::empty(layout().pages());
        let reason = || String::from("injected");
        let sent = Bytes::ZERO;
        Some(match input {
            Input::Heard(message) => match &self.messages.values[usize::from(message.0)] {
                Message::ToSource(message) => Event::Heard(message.clone()),
                Message::ToDestination(_) => return None,
            },
            Input::LinkLost => Event::LinkLost(reason()),
            Input::Cancelled => Event::Cancelled,
            Input::Tick | Input::Late => Event::TimePassed,
            Input::Traced => {
                let mut populated = nothing();
                if kind == Kind::Following {
                    populated.insert_range(PageRange::new(0, 1));
                }
                Event::Traced { populated }
            }
            Input::Settled => Event::Settled { direct_io: false },
            Input::Scanned => Event::Scanned { written: nothing() },
            Input::PagesSent => Event::PagesSent { sent },
            Input::StateSent => Event::StateSent { bytes: Bytes::ZERO, sent },
            Input::StopPrepared => Event::StopPrepared,
            Input::PageLinesOpen => Event::PageLinesOpen,
            Input::PageLinesNotOpen => Event::PageLinesNotOpen(reason()),
            Input::Stopped => Event::Stopped { since: Duration::ZERO },
            Input::Digested => Event::Digested(0),
            Input::Resumed => Event::Resumed,
            Input::Recorded(Written::Yes) => Event::Recorded,
            Input::Recorded(Written::No) => Event::NotRecorded(reason()),
            Input::Recorded(Written::Unknown) => Event::RecordUnknown(reason()),
            Input::Failed => Event::MachineFailed(reason()),
            Input::Admitted
            | Input::NotAdmitted
            | Input::Started
            | Input::Forgot
            | Input::PagedOnDemand
            | Input::Loaded
            | Input::Discarded
            | Input::Answered(_) => return None,
        })
    }

    pub(super) fn destination_event(&self, input: Input) -> Option<destination::Event> {
        use destination::Event;
        let reason = || String::from("injected");
        let took = Duration::ZERO;
        Some(match input {
            Input::Heard(message) => match &self.messages.values[usize::from(message.0)] {
                Message::ToDestination(message) => Event::Heard(message.clone()),
                Message::ToSource(_) => return None,
            },
            Input::LinkLost => Event::LinkLost(reason()),
            Input::Tick | Input::Late => Event::TimePassed,
            Input::Admitted => Event::Admitted { command_line: vec![] },
            Input::NotAdmitted => Event::NotAdmitted(vec![]),
            Input::Started => Event::Started,
            Input::Forgot => Event::Forgot,
            Input::PagedOnDemand => Event::PagedOnDemand,
            Input::Digested => Event::Digested { digest: 0, took },
            Input::Loaded => Event::Loaded { took },
            Input::Recorded(Written::Yes) => Event::Recorded,
            // The driver tells it no difference.
            Input::Recorded(Written::No | Written::Unknown) => Event::NotRecorded(reason()),
            Input::Answered(Some(answer)) => Event::Answered(answer.into()),
            Input::Answered(None) => Event::NotAnswered(reason()),
            Input::Resumed => Event::Resumed { took },
            Input::Discarded => Event::Discarded,
            Input::Failed => Event::Failed(reason()),
            Input::Cancelled
            | Input::Traced
            | Input::Settled
            | Input::Scanned
            | Input::PagesSent
            | Input::StateSent
            | Input::StopPrepared
            | Input::PageLinesOpen
            | Input::PageLinesNotOpen
            | Input::Stopped => return None,
        })
    }
}
