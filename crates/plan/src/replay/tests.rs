use punctual_trace::Scan;
use punctual_units::Bytes;

use super::*;
use crate::simulate::Writes;
use crate::synthetic::Synthetic;

const MOST: Pages = Pages::new(1 << 20);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn trace(text: &str) -> Trace {
    text.parse::<Synthetic>().unwrap().trace()
}

fn written(replay: &Replay, start: Duration, until: Duration, step: Duration) -> Vec<PageSet> {
    let mut playback = Playback::new(replay, start, 1.0, 5);
    let mut at = Duration::ZERO;
    let mut sets = Vec::new();
    while at < until {
        let mut set = PageSet::empty(replay.subject().populated.capacity());
        playback.between(at, (at + step).min(until), &mut set);
        sets.push(set);
        at += step;
    }
    sets
}

#[test]
fn played_from_the_beginning_it_is_the_trace() {
    let trace = trace("hot-cold:memory=64MiB,set=8MiB,rate=5000,for=3s");
    let replay = Replay::new(&trace, MOST);
    let mut playback = Playback::new(&replay, Duration::ZERO, 1.0, 5);
    let mut before = Duration::ZERO;
    for Scan { at, written } in trace.scans() {
        let mut set = PageSet::empty(trace.about().layout.pages());
        playback.between(before, *at, &mut set);
        assert_eq!(set.ranges().collect::<Vec<_>>(), *written);
        before = *at;
    }
}

#[test]
fn the_parts_of_an_interval_are_the_whole_and_each_has_fewer_pages() {
    let trace = trace("uniform:memory=64MiB,set=16MiB,rate=20000,for=4s");
    let replay = Replay::new(&trace, MOST);
    for (whole, parts) in written(&replay, ms(0), ms(100), ms(100))
        .iter()
        .zip(written(&replay, ms(0), ms(100), ms(10)).chunks(10))
    {
        let mut union = PageSet::empty(whole.capacity());
        parts.iter().for_each(|part| union.union(part));
        assert_eq!(union, *whole);
        let mean: u64 = parts.iter().map(|part| part.len().get()).sum::<u64>() / 10;
        // 200 writes to 4,096 pages: 195 distinct ones.
        assert!((160..240).contains(&mean), "{mean} of {whole:?}");
    }
}

#[test]
fn hot_pages_are_in_every_part_and_cold_ones_in_one() {
    let trace = trace("hot-cold:memory=64MiB,set=256KiB,share=0.9,rate=20000,for=8s");
    let replay = Replay::new(&trace, MOST);
    let parts = written(&replay, ms(0), ms(2000), ms(10));
    let hot = replay.rates.seen().iter().filter(|seen| **seen > 60).count();
    assert_eq!(hot, 64);
    // 64 hot pages have 281 writes a second each: 94 % are written in 10 ms; 20 others are, too.
    let mean = parts.iter().map(|part| part.len().get()).sum::<u64>() / parts.len() as u64;
    assert!((70..92).contains(&mean), "{mean}");
}

#[test]
fn a_trace_that_is_too_short_begins_again_with_other_cold_pages() {
    let text = "uniform:memory=256MiB,set=64MiB,rate=5000";
    let [long, short] = ["for=20s", "for=2s"].map(|time| {
        let replay = Replay::new(&trace(&format!("{text},{time}")), MOST);
        let mut union = PageSet::empty(MOST);
        union = PageSet::empty(
            replay
                .subject()
                .populated
                .capacity()
                .max(union.capacity())
                .min(replay.subject().populated.capacity()),
        );
        for set in written(&replay, ms(300), ms(19_000), ms(500)) {
            union.union(&set);
        }
        union.len().get() as f64
    });
    assert!((0.9..1.1).contains(&(short / long)), "{short} of {long}");
}

#[test]
fn a_thinned_machine_keeps_its_share_of_every_set() {
    let trace = trace("hot-cold:memory=256MiB,set=16MiB,rate=20000,for=3s");
    let all = Replay::new(&trace, MOST);
    let thinned = Replay::new(&trace, Pages::new(4096));
    assert_eq!((all.thinning().one_in(), thinned.thinning().one_in()), (1, 16));
    assert_eq!(thinned.subject().populated.len(), Bytes::mib(16).pages());
    let pairs = written(&all, ms(0), ms(2000), ms(250));
    for (all, thinned) in pairs.iter().zip(written(&thinned, ms(0), ms(2000), ms(250))) {
        let (all, thinned) = (all.len().get() as f64 / 16.0, thinned.len().get() as f64);
        assert!((thinned - all).abs() < 4.0 * all.sqrt(), "{thinned} for {all}");
    }
}

#[test]
fn pages_that_hold_nothing_and_are_never_written_do_not_count() {
    let mut about = trace("idle:memory=64MiB").about().clone();
    about.populated.remove_range(PageRange::new(100, 16_000));
    let scans = vec![Scan { at: ms(100), written: vec![PageRange::new(90, 120)] }];
    let replay = Replay::new(&Trace::new(about, scans).unwrap(), MOST);
    let pages = &replay.subject().populated;
    assert_eq!(pages.capacity().get(), 120 + 16_384 - 16_000);
    assert_eq!(pages.len().get(), 100 + 16_384 - 16_000);
}

#[test]
fn what_was_watched_before_is_known_as_heat() {
    let replay = Replay::new(&trace("sweep:memory=16MiB,set=16MiB,rate=4096,for=2s"), MOST);
    let heat = replay.heat(ms(1000), ms(500));
    assert!((ms(500)..ms(700)).contains(&heat.observed()), "whole intervals");
    // The sweep writes 4,096 pages a second: the last page written lies 4,096 behind the first.
    assert!(heat.unwritten_for(PageIndex(4000)).unwrap() < ms(100));
    assert_eq!(heat.unwritten_for(PageIndex(1000)), None);
}

#[test]
fn rates_are_those_at_which_the_pages_would_have_been_seen_as_often() {
    let intervals: Vec<_> = (0..100)
        .map(|number| Interval {
            begin: ms(100 * number),
            end: ms(100 * number + 100),
            runs_end: 0,
        })
        .collect();
    let rates = Rates::new(Pages::new(1), &intervals, &[]);
    for rate in [0.02, 1.0, 15.0] {
        let seen = (100.0 * (1.0 - f64::exp(-0.1 * rate))).round();
        let expected = -10.0 * f64::ln(1.0 - seen / 100.0);
        let estimated = rates.rate(seen as u16);
        assert!((estimated / expected - 1.0).abs() < 0.05 || seen == 0.0, "{estimated} for {rate}");
    }
    assert!(rates.rate(100) > 50.0);
}
