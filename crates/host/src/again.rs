//! What cannot be put in order at once is tried again until it can.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::Problem;
use crate::host::Host;

/// Before the first attempt after one that failed; each takes twice as long to come ...
pub(crate) const FIRST: Duration = Duration::from_millis(500);
/// ... up to this.
const LAST: Duration = Duration::from_secs(30);
/// Between two looks at whether the daemon is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Puts a machine in order in a thread of its own, by as many attempts as it takes, the first of them
/// after this time. A reason why one failed is logged once: it may take days.
pub(crate) fn until_in_order(
    host: &Arc<Host>,
    machine: &str,
    first: Duration,
    mut attempt: impl FnMut(&Arc<Host>) -> Result<(), Problem> + Send + 'static,
) {
    let (host, name) = (Arc::clone(host), machine.to_owned());
    let thread = thread::Builder::new().name(format!("again-{name}"));
    let spawned = thread.spawn(move || {
        let (mut pause, mut told) = (first, None);
        while waits(&host, pause) {
            let Err(problem) = attempt(&host) else {
                return tracing::info!(machine = name, "is in order now");
            };
            if told.as_ref() != Some(&problem) {
                let Problem { what, remedy, .. } = &problem;
                tracing::error!(machine = name, what, remedy, "not in order yet; is tried again");
                told = Some(problem);
            }
            pause = (pause * 2).clamp(FIRST, LAST);
        }
    });
    if let Err(error) = spawned {
        // The record and the journal have all that the next daemon needs.
        tracing::error!(machine, %error, "no thread to put it in order; start the daemon again");
    }
}

/// Waits for so long; whether the daemon goes on.
pub(crate) fn waits(host: &Host, pause: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < pause {
        if host.arrivals.is_ending() {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}
