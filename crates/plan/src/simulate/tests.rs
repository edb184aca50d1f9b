use std::time::Duration;

use punctual_engine::report::Ending;
use punctual_model::Policy;
use punctual_units::Bytes;

use super::*;
use crate::replay::{Playback, Replay};
use crate::synthetic::Synthetic;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn moved(text: &str, link: Link, most: u64, downtime: Duration, policy: Policy) -> Report {
    let trace = text.parse::<Synthetic>().unwrap().trace();
    let replay = Replay::new(&trace, Pages::new(most));
    let mut writes = Playback::new(&replay, Duration::ZERO, 1.0, 7);
    let terms = Terms { downtime, bandwidth: Some(link.rate) };
    simulate(
        replay.subject(),
        &mut writes,
        &link,
        &Costs::default(),
        terms,
        Request::new("b", policy),
    )
}

fn gigabit() -> Link {
    Link::new(BytesPerSecond::megabits(1000), Duration::from_micros(300))
}

#[test]
fn an_idle_machine_takes_as_long_as_its_memory() {
    let report = moved("idle:memory=256MiB", gigabit(), 1 << 20, ms(50), Policy::PreCopy);
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    let measured = &report.measured;
    let memory = gigabit().rate.time_for(Bytes::mib(256));
    assert!(measured.total > memory && measured.total < memory + ms(700), "{measured:?}");
    assert!(measured.downtime.unwrap() < ms(50), "{measured:?}");
    assert_eq!(measured.downtime.unwrap(), measured.phases.sum());
    assert!(measured.wire_bytes > Bytes::mib(256), "{measured:?}");
}

#[test]
fn the_same_move_is_the_same_each_time() {
    let text = "hot-cold:memory=64MiB,set=8MiB,rate=5000,for=5s";
    let report = || moved(text, gigabit(), 1 << 20, ms(50), Policy::PreCopy);
    assert_eq!(report(), report());
}

#[test]
fn a_guest_that_writes_faster_than_the_link_stays() {
    let link = Link::new(BytesPerSecond::megabits(50), Duration::from_micros(300));
    let text = "uniform:memory=128MiB,set=100MiB,rate=100000,again=4096,for=5s";
    let report = moved(text, link, 1 << 20, ms(50), Policy::PreCopy);
    assert_eq!(report.outcome, Ending::Failed, "{:?}", report.measured);
    assert_eq!(report.measured.downtime, None);
}
