//! What a move by the machine's own hypervisor would take, as far as a rate of writing tells.

use std::time::Duration;

use punctual_engine::report::OnMiss;
use punctual_units::{Bytes, BytesPerSecond};

use crate::api::{Estimate, MigrateRequest, Problem};

/// Rounds beyond which no end is seen.
const ROUNDS: u32 = 64;

/// What is known of a machine and of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// How much of its memory is in use.
    pub(crate) populated: Bytes,
    /// How much of it is changed in a second; `None` where that is not known.
    pub(crate) writing: Option<BytesPerSecond>,
    /// What the link carries.
    pub(crate) bandwidth: BytesPerSecond,
    /// What an interruption takes beside the last pages.
    pub(crate) fixed: Duration,
}

/// The rounds of a pre-copy: each sends what was written in the one before, until the rest can be
/// sent within the interruption. A geometric series of ratio writing / bandwidth.
///
/// The rate is a sample of one second. What is written again and again within a second counts
/// once, so shorter rounds find more than it says, and a guest that does something else does not
/// keep to it: nothing can be promised by this.
pub(crate) fn estimate(known: &Known, downtime: Duration) -> Estimate {
    let Known { populated, writing, bandwidth, fixed } = *known;
    let mut estimate = Estimate { populated, writing, bandwidth, total: None, downtime: None };
    let Some(rate) = writing else { return estimate };
    let enough = downtime.saturating_sub(fixed);
    let (mut left, mut total) = (populated, fixed);
    for _ in 0..ROUNDS {
        let round = bandwidth.time_for(left);
        total = total.saturating_add(round);
        let written = Bytes::new((rate.get() as f64 * round.as_secs_f64()) as u64);
        left = written.min(populated);
        let rest = bandwidth.time_for(left);
        if rest <= enough {
            estimate.total = Some(total.saturating_add(rest));
            estimate.downtime = Some(fixed + rest);
            return estimate;
        }
        if rate >= bandwidth {
            break;
        }
    }
    estimate
}

/// Refuses what cannot come to an end as asked, unless it is to be tried in any case.
pub(crate) fn check(estimate: &Estimate, request: &MigrateRequest) -> Result<(), Problem> {
    if request.force || request.on_miss != OnMiss::Cancel {
        return Ok(());
    }
    let Estimate { populated, writing, bandwidth, .. } = *estimate;
    let machine = &request.machine;
    let first = bandwidth.time_for(populated);
    if first > request.within {
        return Err(Problem::refused(
            format!(
                "machine `{machine}`: its {populated} of memory take {:.1} s at {bandwidth}, {:.1} \
                 s were asked for",
                first.as_secs_f64(),
                request.within.as_secs_f64()
            ),
            format!("ask for --within {}s or more", (2 * first).as_secs() + 1),
        ));
    }
    match writing {
        Some(rate) if estimate.total.is_none() => Err(Problem::refused(
            format!(
                "machine `{machine}`: its guest changes {} of memory in a second, by samples, and \
                 the link moves {bandwidth}: QEMU's migration would not come to an interruption \
                 of {} ms",
                Bytes::new(rate.get()),
                request.downtime.as_millis()
            ),
            "use --on-miss throttle, which slows the guest down, or --force, which stops it when \
             time is up; or start the machine with -object memory-backend-file,share=on,\
             mem-path=FILE",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: BytesPerSecond = BytesPerSecond::new(100_000_000);

    fn known(writing: Option<u64>) -> Known {
        Known {
            populated: Bytes::new(1_000_000_000),
            writing: writing.map(BytesPerSecond::new),
            bandwidth: LINK,
            fixed: Duration::from_millis(10),
        }
    }

    fn request() -> MigrateRequest {
        MigrateRequest::new("web", "b", Duration::from_millis(50), Duration::from_secs(60))
    }

    #[test]
    fn rounds_are_a_geometric_series() {
        // Half the link: 10 s, then 5, 2.5, …, until a rest takes at most 40 ms.
        let seen = estimate(&known(Some(50_000_000)), Duration::from_millis(50));
        let total = seen.total.unwrap().as_secs_f64();
        assert!((19.9..20.1).contains(&total), "{total}");
        let downtime = seen.downtime.unwrap();
        assert!((Duration::from_millis(10)..=Duration::from_millis(50)).contains(&downtime));
        assert_eq!(check(&seen, &request()), Ok(()));
    }

    #[test]
    fn a_guest_that_writes_nothing_is_sent_once() {
        let seen = estimate(&known(Some(0)), Duration::from_millis(50));
        assert_eq!(seen.total, Some(Duration::from_millis(10_010)));
        assert_eq!(seen.downtime, Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_guest_that_writes_faster_than_the_link_is_refused_unless_something_is_done() {
        let seen = estimate(&known(Some(100_000_000)), Duration::from_millis(50));
        assert_eq!((seen.total, seen.downtime), (None, None));
        let problem = check(&seen, &request()).unwrap_err();
        assert!(problem.remedy.contains("throttle"), "{}", problem.remedy);
        assert_eq!(check(&seen, &MigrateRequest { force: true, ..request() }), Ok(()));
        let throttled = MigrateRequest { on_miss: OnMiss::Throttle, ..request() };
        assert_eq!(check(&seen, &throttled), Ok(()));
    }

    #[test]
    fn what_is_not_known_refuses_nothing_but_what_the_link_cannot_carry_in_time() {
        let seen = estimate(&known(None), Duration::from_millis(50));
        assert_eq!(check(&seen, &request()), Ok(()));
        let soon = MigrateRequest { within: Duration::from_secs(9), ..request() };
        assert!(check(&seen, &soon).unwrap_err().remedy.contains("--within 21s"));
    }
}
