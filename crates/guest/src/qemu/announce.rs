//! Having the network learn behind which port a machine's addresses are: five announcements, the
//! first at once. Where that fails the machine runs all the same, and the network learns by what
//! the guest sends; so it is only logged.

use std::sync::Arc;

use serde_json::{Value, json};

use super::qmp::{Begun, Qmp, QmpError};

const COMMAND: &str = "announce-self";

/// Announces the addresses of a machine that runs here.
pub(super) fn announce(qmp: &Qmp, machine: &str) {
    report(machine, qmp.execute(COMMAND, times()));
}

/// Announcements that were asked for. Dropping it waits until QEMU has heard.
#[derive(Debug)]
pub(super) struct Announcement {
    machine: String,
    asked: Option<Result<Begun, QmpError>>,
}

impl Announcement {
    /// Asks for them behind all that was asked of QEMU before.
    pub(super) fn begin(qmp: &Arc<Qmp>, machine: &str) -> Self {
        Self { machine: machine.to_owned(), asked: Some(qmp.begin(COMMAND, times())) }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            report(&self.machine, asked.and_then(Begun::answer));
        }
    }
}

/// When, in milliseconds: after 50, and then after 100 more each time.
fn times() -> Value {
    json!({ "initial": 50, "max": 550, "rounds": 5, "step": 100 })
}

fn report(machine: &str, answer: Result<Value, QmpError>) {
    if let Err(error) = answer {
        tracing::warn!(machine, %error, "the guest's addresses are not announced");
    }
}
