//! A fault at every message and every effect of a move.

use std::time::Duration;

use proptest::prelude::*;

use super::guest::{Guest, Workload};
use super::world::World;
use super::{CALM, by, ms, setting};
use crate::report::Policy;

/// Where something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// A message or pages arrive.
    Message,
    /// Something is to be done.
    Effect,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    LinkLost,
    /// Nothing arrives any more, but the connection stands.
    LinkStalls,
    Cancelled,
    SourceCrash,
    DestinationCrash,
    EffectFails,
}

/// One fault of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// At which of the points that the move passes.
    pub(super) at: u32,
    pub(super) kind: FaultKind,
}

const KINDS: [FaultKind; 6] = [
    FaultKind::LinkLost,
    FaultKind::LinkStalls,
    FaultKind::Cancelled,
    FaultKind::SourceCrash,
    FaultKind::DestinationCrash,
    FaultKind::EffectFails,
];

/// A small guest, so that a fault at each point takes little time.
const SMALL: Workload =
    Workload { pages: 200, writes: 3000, hot: 40, stray: 3000, requests: 2, ..CALM };

#[test]
fn a_fault_at_every_message_and_every_effect_leaves_one_owner_with_all_content() {
    let mut ended = [0, 0];
    for (kind, policy) in KINDS.into_iter().flat_map(|kind| Policy::ALL.map(|it| (kind, it))) {
        for seed in 1..=3 {
            let mut setting = by(policy, SMALL);
            (setting.seed, setting.verify) = (seed, seed == 2);
            let points = World::new(setting.clone()).run().points;
            for at in 0..points {
                setting.fault = Some(Fault { at, kind });
                let outcome = World::new(setting.clone()).run();
                outcome.check();
                ended[usize::from(outcome.committed)] += 1;
            }
        }
    }
    assert!(ended[0] > 2000 && ended[1] > 400, "both ends are reached: {ended:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_guest_on_any_link_with_any_fault_has_one_owner_and_loses_nothing(
        seed in 1..u64::MAX,
        writes in 0..60_000_u64,
        hot in 1..400_u64,
        requests in 0..20_u64,
        request in 1..30_u64,
        megabits in 50..1500_u64,
        latency in 0..20_000_u64,
        at in 0..4000_u32,
        kind in proptest::sample::select(KINDS.to_vec()),
        policy in proptest::sample::select(Policy::ALL.to_vec()),
        (known, force, rounds) in (proptest::bool::ANY, proptest::bool::ANY, 0..4_u32),
    ) {
        let request = ms(request);
        let workload = Workload { pages: 400, writes, hot, requests, request, ..CALM };
        let mut setting = by(policy, workload);
        setting.seed = seed;
        setting.force = force;
        if let Some(rounds) = std::num::NonZeroU32::new(rounds) {
            setting.strategy.rounds = punctual_model::Rounds::Exactly(rounds);
        }
        setting.heat = known.then(|| Guest::watched(workload, seed ^ 1, ms(300)));
        setting.bandwidth = punctual_units::BytesPerSecond::megabits(megabits);
        setting.latency = Duration::from_micros(latency);
        setting.within = Duration::from_secs(3);
        setting.downtime = ms(80);
        setting.fault = Some(Fault { at, kind });
        World::new(setting).run().check();
    }
}

#[test]
fn points_are_passed_the_same_way_each_time() {
    let points = || World::new(setting(CALM)).run().points;
    assert_eq!(points(), points());
}
