//! A machine that has left before its pages: what is still here follows it.

use std::sync::Arc;
use std::time::Instant;

use punctual_engine::post_copy::{Served, Serving, State};
use punctual_engine::report::{Ending, Holder, PostCopy, Promise, Report};
use punctual_engine::{Following, Observer, Phase, Progress};
use punctual_guest::Surrendered;
use punctual_units::Pages;

use super::Leaving;
use crate::following::Followed;
use crate::registry::Standing;

impl Leaving {
    /// Serves the machine's pages until its destination has all of them, then removes what is left
    /// of it here. The report of the handover becomes that of the whole move.
    pub(super) fn follow(
        &self,
        report: Report,
        left: Box<dyn Surrendered>,
        following: Following,
    ) -> Report {
        let Following { serving, missing, since } = following;
        let (name, handed_over, serving) =
            (&self.request.machine, Instant::now(), Arc::new(serving));
        self.host.stand(name, Standing::Serving(self.id.into()));
        let last = self.ticket.migration().progress;
        let mut look = |serving: &Serving| {
            if let Some(last) = &last {
                let elapsed = report.measured.total + handed_over.elapsed();
                self.ticket.progress(&progress(last, &serving.state(), handed_over, elapsed));
            }
        };
        look(&serving);
        let followed = self.host.serve_pages(name, &serving, &mut look);
        self.host.followed(name, self.id, &followed, left);
        let mut report = report;
        report.measured.total += handed_over.elapsed();
        report.owner = Holder::Destination;
        match followed {
            Followed::Whole(served) => whole(report, missing, since, &served),
            Followed::Ending => Report {
                outcome: Ending::Failed,
                reason:
                    "the machine runs at its destination and still lacks pages: the daemon was \
                         ended, and goes on when it is started again"
                        .to_owned(),
                ..report
            },
            Followed::Failed(reason) => Report {
                outcome: Ending::Failed,
                promise: Some(Promise::Broken),
                reason: format!("the machine has ended at its destination: {reason}"),
                ..report
            },
        }
    }
}

/// How the service of pages goes on.
fn progress(
    last: &Progress,
    state: &State,
    since: Instant,
    elapsed: std::time::Duration,
) -> Progress {
    let missing = state.missing.unwrap_or(last.dirty);
    let seconds = since.elapsed().as_secs_f64().max(1e-3);
    let rate = state.pages.bytes().get() as f64 / seconds;
    let left = missing.bytes().get() as f64 / rate.max(1.0);
    let known = state.pages > Pages::ZERO;
    Progress {
        phase: Phase::PostCopy,
        elapsed,
        dirty: missing,
        round_left: missing,
        pages_sent: last.pages_sent + state.pages,
        sent: last.sent + state.bytes,
        round_ends_in: None,
        downtime_now: None,
        ends_in: known.then(|| std::time::Duration::from_secs_f64(left.min(1e6))),
        downtime_predicted: None,
        throttled: None,
        ..last.clone()
    }
}

fn whole(mut report: Report, missing: Pages, since: Instant, served: &Served) -> Report {
    let measured = &mut report.measured;
    measured.wire_bytes += served.bytes;
    measured.pages_sent += served.pages;
    measured.post_copy = Some(PostCopy {
        missing,
        dependence: since.elapsed(),
        faults: served.faults.count,
        fault_median: served.faults.median,
        fault_p99: served.faults.p99,
        recoveries: served.recoveries,
    });
    report.ram_digest_equal = match (report.ram_digest_equal, served.digest_equal) {
        (Some(handed_over), Some(followed)) => Some(handed_over && followed),
        _ => None,
    };
    if served.digest_equal == Some(false) {
        report.outcome = Ending::Failed;
        report.reason = "the pages that followed the machine are not those that were left here: \
                         report this, it must not happen, and do not trust the machine's memory"
            .to_owned();
    } else if report.outcome != Ending::Completed {
        // Whatever was not heard then: it runs, and has all of itself.
        report.outcome = Ending::Completed;
        report.reason = "the word that it runs was lost; it has been heard of since".to_owned();
    }
    if report.outcome == Ending::Completed && report.measured.downtime.is_some() {
        report.promise = Some(Promise::completed(&report.promised, &report.measured));
    }
    report
}
