//! Which moves are made, and in what order.

use std::time::Duration;

use punctual_units::BytesPerSecond;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Occupation, PredictSpec, Stage};

/// One move to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Errand {
    pub(super) stage: Stage,
    /// Whose guest moves.
    pub(super) workload: Occupation,
    /// The rate of the links.
    pub(super) link: BytesPerSecond,
    /// The downtime asked for.
    pub(super) downtime: Duration,
}

/// All moves: the cold ones, drawn from the grid of workloads, links and downtimes; then, for each
/// repetition, the whole grid; then one for each guest, for its digest. Cold moves and each grid
/// are shuffled, so that what drifts favours no workload, link or downtime; the seed tells how.
pub(super) fn errands(spec: &PredictSpec) -> Vec<Errand> {
    let mut random = StdRng::seed_from_u64(spec.seed);
    let mut shuffled = |stage| {
        let mut grid = grid(spec, stage);
        grid.shuffle(&mut random);
        grid
    };
    let cold = shuffled(Stage::Cold);
    let mut errands: Vec<_> = cold.into_iter().cycle().take(spec.cold).collect();
    for _ in 0..spec.repetitions {
        errands.extend(shuffled(Stage::Warm));
    }
    errands.extend(digests(spec));
    errands
}

fn grid(spec: &PredictSpec, stage: Stage) -> Vec<Errand> {
    let mut grid = Vec::new();
    for workload in &spec.workloads {
        for link in &spec.links {
            for downtime in &spec.downtimes {
                let (workload, link, downtime) = (*workload, *link, *downtime);
                grid.push(Errand { stage, workload, link, downtime });
            }
        }
    }
    grid
}

fn digests(spec: &PredictSpec) -> impl Iterator<Item = Errand> {
    let link = spec.links.iter().max();
    let downtime = spec.downtimes.iter().max();
    spec.workloads.iter().filter_map(move |workload| {
        let (stage, workload) = (Stage::Digest, *workload);
        Some(Errand { stage, workload, link: *link?, downtime: *downtime? })
    })
}

#[cfg(test)]
mod tests {
    use punctual_images::Qemu;

    use super::*;

    fn spec(seed: u64) -> PredictSpec {
        PredictSpec {
            lab: "x".parse().unwrap(),
            qemu: Qemu {
                binary: "qemu".into(),
                version: "10".to_owned(),
                arguments: vec![],
                env: std::collections::BTreeMap::new(),
            },
            workloads: Occupation::ALL.to_vec(),
            links: [100, 300].map(BytesPerSecond::megabits).to_vec(),
            downtimes: [20, 50].map(Duration::from_millis).to_vec(),
            within: Duration::from_secs(30),
            cold: 40,
            repetitions: 2,
            seed,
        }
    }

    #[test]
    fn each_repetition_has_the_whole_grid_in_an_order_of_its_own() {
        let spec = spec(7);
        let all = errands(&spec);
        assert_eq!(all.len(), spec.moves());
        let of = |stage| all.iter().filter(move |errand| errand.stage == stage).count();
        assert_eq!((of(Stage::Cold), of(Stage::Warm), of(Stage::Digest)), (40, 64, 8));
        let (first, second) = all[40..104].split_at(32);
        assert_ne!(first, second);
        for errand in grid(&spec, Stage::Warm) {
            assert!(first.contains(&errand) && second.contains(&errand), "{errand:?}");
        }
        let last = all.last().unwrap();
        assert_eq!((last.link, last.downtime), (spec.links[1], spec.downtimes[1]));
    }

    #[test]
    fn the_seed_tells_the_order() {
        assert_eq!(errands(&spec(7)), errands(&spec(7)));
        assert_ne!(errands(&spec(7)), errands(&spec(8)));
    }
}
