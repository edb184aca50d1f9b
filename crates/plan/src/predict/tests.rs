use punctual_units::Pages;

use punctual_units::Probability;

use super::*;
use crate::synthetic::Synthetic;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn replay(text: &str) -> Replay {
    Replay::new(&text.parse::<Synthetic>().unwrap().trace(), Pages::new(1 << 20))
}

fn ask(downtime: Duration) -> Ask {
    Ask::new("b", downtime, ms(60_000), Probability::saturating(0.99))
}

const WORKLOAD: &str = "hot-cold:memory=128MiB,set=8MiB,rate=4000,for=10s";

#[test]
fn samples_differ_and_their_quantiles_are_in_order() {
    let (replay, facts) = (replay(WORKLOAD), Facts::assumed(BytesPerSecond::megabits(1000)));
    let prospect = Prospect { replay: &replay, facts: &facts, ask: &ask(ms(60)) };
    let forecast = prospect.forecast(Policy::PreCopy, 12, &Alone);
    assert_eq!((forecast.keeps, forecast.gives_up), (Probability::ONE, Probability::ZERO));
    let predicted = forecast.predicted.unwrap();
    assert!(predicted.total.p50 > ms(1000) && predicted.total.p50 < predicted.total.p99);
    assert!(predicted.downtime.p50 <= predicted.downtime.p99);
    assert!(predicted.interval95.total.contains(predicted.total.p50));
    assert!(forecast.at_most.unwrap().downtime <= ms(60));
}

#[test]
fn a_promise_that_cannot_be_kept_is_seen_beforehand() {
    let text = "uniform:memory=128MiB,set=100MiB,rate=100000,again=4096,for=5s";
    let (replay, facts) = (replay(text), Facts::assumed(BytesPerSecond::megabits(100)));
    let prospect = Prospect { replay: &replay, facts: &facts, ask: &ask(ms(60)) };
    let forecast = prospect.forecast(Policy::PreCopy, 4, &Alone);
    assert_eq!((forecast.keeps, forecast.gives_up), (Probability::ZERO, Probability::ONE));
    assert_eq!(forecast.predicted, None);
    assert!(forecast.remarks[0].starts_with("gives up 2 of 2 times: "), "{:?}", forecast.remarks);
}

#[test]
fn a_guest_that_writes_faster_while_it_is_moved_takes_longer() {
    let replay = replay("uniform:memory=128MiB,set=64MiB,rate=8000,again=4096,for=10s");
    let total = |writing| {
        let facts = Facts { writing, ..Facts::assumed(BytesPerSecond::megabits(1000)) };
        let prospect = Prospect { replay: &replay, facts: &facts, ask: &ask(ms(60)) };
        prospect.forecast(Policy::PreCopy, 6, &Alone).predicted.unwrap().total.p50
    };
    assert!(total(2.0) > total(1.0).mul_f64(1.05), "{:?} and {:?}", total(2.0), total(1.0));
}

#[test]
fn the_drawn_bandwidth_scatters_as_it_should() {
    let facts = Facts { bandwidth_spread: 0.1, ..Facts::assumed(BytesPerSecond::new(1_000_000)) };
    let rates: Vec<_> = (0..2000).map(|number| Draw { number }.rate(&facts).get() as f64).collect();
    let mean = rates.iter().sum::<f64>() / 2000.0;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / 2000.0;
    assert!((mean / 1e6 - 1.0).abs() < 0.01, "{mean}");
    assert!((variance.sqrt() / 1e5 - 1.0).abs() < 0.06, "{variance}");
}
