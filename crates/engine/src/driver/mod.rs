//! What carries the two state machines out: machines, links, logs and clocks.
//!
//! ```text
//!  source                                                   destination
//!
//!  main ── state machine, the machine's calls, the log      main ── state machine, the machine, the log
//!   │ jobs          ▲ events                                 ▲ events        │ answers
//!   ▼               │                                        │               ▼
//!  outlet ─ encodes and sends ═══════ connection ═══════► inlet ─ puts pages in place, acknowledges
//!   ▲                                                        │
//!  pump ── device state       ears ◄───────────────────── acknowledgements, answers
//! ```
//!
//! The thread that decides never waits for the network: a link that stalls while the guest is
//! stopped cannot keep it from letting the guest run on.

mod cancel;
mod destination;
mod ears;
mod inlet;
mod line;
mod outlet;
mod pace;
mod pages;
mod source;

use punctual_link::{Closer, Link, Receiver, Sender};

pub use cancel::Cancel;
pub use destination::{Admission, Immigration, Lines, Start, StartError, Unanswered, immigrate};
pub use inlet::PagesInto;
pub use source::{Emigration, Following, Held, SourceHost, emigrate};

/// A link, taken apart. Whoever accepts connections receives the first message and sees from it
/// whether a machine is offered.
#[derive(Debug)]
pub struct Connection {
    /// The half that sends.
    pub sender: Sender,
    /// The half that receives.
    pub receiver: Receiver,
    /// What ends it.
    pub closer: Closer,
}

impl From<Link> for Connection {
    fn from(link: Link) -> Self {
        let closer = link.closer();
        let (sender, receiver) = link.split();
        Self { sender, receiver, closer }
    }
}

/// An error and all its causes, for a reason that is shown to people.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors show their cause themselves.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
