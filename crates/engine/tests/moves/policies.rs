//! Every way of moving moves all content.

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_engine::report::{Ending, Policy, Promise};
use punctual_guest::Settled;
use punctual_guest::fake::{Call, Fake};
use punctual_model::{HoldBack, Order, Rounds, Strategy};
use punctual_units::{Bytes, BytesPerSecond, Probability};

use crate::support::{Attempt, Writing, admit, layout, running};

/// Moves a machine that writes by a strategy; the calls that it got.
fn moves(policy: Policy, strategy: Strategy, settled: Settled) -> (Vec<Call>, u32) {
    let layout = layout(Bytes::mib(16));
    let (here, there) = (running(&layout), Fake::waiting("web", layout.clone()).unwrap());
    here.set_settled(settled);
    let writing = Writing::begin(&here, 200, Duration::from_micros(200));
    let mut attempt = Attempt::new(&layout);
    (attempt.request.policy, attempt.request.strategy) = (policy, strategy);
    attempt.rate = Some(BytesPerSecond::megabits(800));
    let (emigration, _) = attempt.run(Box::new(here.source()), admit(there.destination()));
    drop(writing);
    let report = emigration.report();
    assert_eq!((report.outcome, report.policy), (Ending::Completed, policy), "{report:?}");
    assert_eq!(report.promise, Some(Promise::Kept), "{report:?}");
    assert_eq!(report.ram_digest_equal, Some(true));
    assert_eq!(here.ram().digest().unwrap(), there.ram().digest().unwrap());
    (here.calls(), report.measured.rounds)
}

fn looks(calls: &[Call]) -> usize {
    calls.iter().filter(|call| **call == Call::CollectWrittenAmong).count()
}

#[test]
fn every_policy_moves_all_content_with_and_without_direct_io() {
    for policy in Policy::OWN {
        for settled in [Settled::NoDirectIo, Settled::SeenIdle] {
            let (calls, _) = moves(policy, policy.strategy(), settled);
            // The standard order looks for nothing while a round is under way.
            assert_eq!(looks(&calls) > 0, policy != Policy::PreCopy, "{policy}");
        }
    }
}

#[test]
fn rounds_are_counted_whatever_is_held_back() {
    let from = HoldBack::From(Probability::saturating(0.001));
    for (order, hold_back) in [
        (Order::Address, HoldBack::Nothing),
        (Order::Address, from),
        (Order::Recency, HoldBack::Nothing),
        (Order::Recency, from),
        (Order::Heat, HoldBack::Chosen),
    ] {
        for rounds in [1, 3] {
            let wanted = NonZeroU32::new(rounds).unwrap();
            let strategy = Strategy { order, hold_back, rounds: Rounds::Exactly(wanted) };
            for settled in [Settled::NoDirectIo, Settled::SeenIdle] {
                let (_, measured) = moves(Policy::HeldBack, strategy, settled);
                assert_eq!(measured, rounds, "{strategy:?}");
            }
        }
    }
}
