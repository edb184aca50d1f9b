//! Traces to test with.
#![allow(dead_code, reason = "not every test uses all of them")]

use std::time::Duration;

use proptest::prelude::*;
use punctual_trace::{About, Content, Scan, Trace};
use punctual_units::{MemoryLayout, PageRange, PageSet, Pages, Probability, Region};

/// What is known of a machine of so many pages, half of them populated.
pub(crate) fn about(pages: u64) -> About {
    let layout =
        MemoryLayout::new(vec![Region { name: "ram0".into(), size: Pages::new(pages).bytes() }]);
    let mut populated = PageSet::empty(Pages::new(pages));
    populated.insert_range(PageRange::new(0, pages / 2));
    About {
        machine: "web".into(),
        layout: layout.expect("one region"),
        populated,
        direct_io: true,
        content: Content { zero: Probability::saturating(0.25), first: 1000.5, again: 300.0 },
        recorded_at: 1_795_000_000,
        guest_cost: Probability::saturating(0.01),
    }
}

/// A small one.
pub(crate) fn sample() -> Trace {
    let ms = Duration::from_millis;
    let scans = vec![
        Scan { at: ms(10), written: vec![PageRange::new(0, 1), PageRange::new(1, 3)] },
        Scan { at: ms(15), written: vec![] },
        Scan { at: ms(215), written: vec![PageRange::new(7, 300), PageRange::new(1000, 1024)] },
    ];
    Trace::new(about(1024), scans).expect("a sound trace")
}

/// Any.
pub(crate) fn traces() -> impl Strategy<Value = Trace> {
    let runs = prop::collection::vec((0..60_u64, 1..90_u64), 0..20);
    prop::collection::vec((1..u64::from(u32::MAX), runs), 0..12).prop_map(|scans| {
        let mut at = Duration::ZERO;
        let scans = scans.into_iter().map(|(gap, runs)| {
            at += Duration::from_nanos(gap);
            let mut free = 0;
            let written = runs.into_iter().map(|(gap, pages)| {
                let run = PageRange::new(free + gap, free + gap + pages);
                free = run.end.0;
                run
            });
            Scan { at, written: written.collect() }
        });
        Trace::new(about(3000), scans.collect()).expect("a sound trace")
    })
}

/// So many writes a second to pages anywhere in the machine, scanned every 100 ms.
pub(crate) fn uniform_writes(pages: u64, duration: Duration, rate: u64) -> Trace {
    let period = Duration::from_millis(100);
    let writes = rate / 10;
    // A multiplicative generator is random enough for where writes go.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (random >> 33) % pages
    };
    let scans = (1..=(duration.as_millis() / period.as_millis()) as u32).map(|scan| {
        let mut written = PageSet::empty(Pages::new(pages));
        (0..writes).for_each(|_| written.insert(punctual_units::PageIndex(next())));
        Scan { at: period * scan, written: written.ranges().collect() }
    });
    Trace::new(about(pages), scans.collect()).expect("a sound trace")
}
