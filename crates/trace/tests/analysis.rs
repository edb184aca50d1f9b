//! What is read from a trace, against what can be counted by hand.

mod samples;

use std::time::Duration;

use proptest::prelude::*;
use punctual_trace::{Flaw, Scan, Trace};
use punctual_units::{PageRange, Pages};

use samples::{about, sample, traces, uniform_writes};

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn windows_end_where_scans_do() {
    let trace = sample();
    let one = trace.working_set(ms(10)).unwrap();
    assert_eq!((one.windows, one.most, one.length), (1, Pages::new(3), ms(10)));
    let five = trace.working_set(ms(5)).unwrap();
    assert_eq!((five.windows, five.most), (1, Pages::ZERO), "the 10 ms before are too long");
    assert_eq!(trace.working_set(ms(1)), None);
    let all = trace.working_set(ms(215)).unwrap();
    assert_eq!((all.windows, all.mean), (1, 3.0 + 293.0 + 24.0));
    assert_eq!(trace.working_set(ms(216)), None);
}

/// Writes anywhere in 2¹⁴ pages: in a time t, 2¹⁴·(1 − e^(−rate·t/2¹⁴)) distinct pages.
#[test]
fn the_curve_of_uniform_writes_is_the_known_one() {
    let (pages, rate) = (1 << 14, 20_000);
    let trace = uniform_writes(pages, Duration::from_secs(20), rate);
    let curve = trace.working_set_curve();
    assert!(curve.len() >= 8, "{curve:?}");
    for point in curve {
        let written = -(rate as f64 * point.length.as_secs_f64() / pages as f64);
        let expected = pages as f64 * (1.0 - written.exp());
        assert!((point.mean / expected - 1.0).abs() < 0.02, "{point:?} {expected}");
    }
    let written = -(rate as f64 * 0.1 / pages as f64);
    let rate = pages as f64 * (1.0 - written.exp()) / 0.1;
    assert!((trace.write_rate() / rate - 1.0).abs() < 0.02, "{}", trace.write_rate());
}

#[test]
fn pages_are_counted_by_how_often_they_were_found() {
    let hot = PageRange::new(0, 4);
    let scans = (1..=100).map(|scan| {
        let cold = PageRange::new(10 + scan, 11 + scan);
        let warm = PageRange::new(500, 503);
        let written = if scan % 5 == 0 { vec![hot, cold, warm] } else { vec![hot, cold] };
        Scan { at: ms(scan), written }
    });
    let trace = Trace::new(about(1024), scans.collect()).unwrap();
    let classes: Vec<_> = trace.heat_classes().iter().map(|class| class.pages.get()).collect();
    assert_eq!(classes, [100, 0, 3, 0, 4]);
    assert_eq!(trace.written().len(), Pages::new(107));
}

#[test]
fn what_is_no_trace_is_told() {
    let scan = |at, written| Scan { at: ms(at), written };
    let run = PageRange::new;
    let made = |scans| Trace::new(about(100), scans).unwrap_err();
    assert!(matches!(made(vec![scan(0, vec![])]), Flaw::Time { scan: 0, .. }));
    assert!(matches!(made(vec![scan(5, vec![]), scan(5, vec![])]), Flaw::Time { scan: 1, .. }));
    for wrong in [vec![run(3, 3)], vec![run(3, 5), run(4, 6)], vec![run(99, 101)]] {
        assert!(matches!(made(vec![scan(1, wrong)]), Flaw::Run { scan: 0, .. }));
    }
    let mut other = about(100);
    other.layout = about(200).layout;
    assert!(matches!(Trace::new(other, vec![]), Err(Flaw::OtherMachine { .. })));
    let mut heavy = about(100);
    heavy.content.first = f64::NAN;
    assert!(matches!(Trace::new(heavy, vec![]), Err(Flaw::Content(_))));
}

proptest! {
    #[test]
    fn slices_laid_end_to_end_are_the_whole(trace in traces(), cut: prop::sample::Index) {
        prop_assume!(!trace.scans().is_empty());
        let at = trace.scans()[cut.index(trace.scans().len())].at;
        let (early, late) = (trace.slice(Duration::ZERO..at), trace.slice(at..Duration::MAX));
        prop_assert_eq!(early.duration(), at);
        prop_assert_eq!(early.duration() + late.duration(), trace.duration());
        let joined = early.intervals().chain(late.intervals()).map(|i| (i.length(), i.written));
        let whole = trace.intervals().map(|i| (i.length(), i.written));
        prop_assert!(joined.eq(whole));
    }

    #[test]
    fn a_longer_window_holds_no_fewer_pages_in_all(trace in traces()) {
        let most = trace.working_set(trace.duration()).map(|set| set.most);
        prop_assert!(trace.scans().is_empty() || most == Some(trace.written().len()));
    }
}
