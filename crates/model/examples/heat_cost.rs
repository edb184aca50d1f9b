//! What heat costs: `cargo run --release -p punctual-model --example heat_cost`.
//!
//! A million written pages are recorded, in runs of one page and in long runs, on a machine of 64 GiB;
//! then the same pages are cut into legs, and all pages are asked how many will be written.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use punctual_model::{Heat, HoldBack, Order, hold_back, order};
use punctual_units::{Bytes, PageRange, PageSet, Pages};

const WRITTEN: u64 = 1_000_000;
const ROUNDS: u64 = 9;

fn main() {
    let machine = Bytes::mib(64 << 10).pages();
    let before = resident();
    let mut heat = Heat::new(machine);
    println!("a machine of 64 GiB: {machine}, nothing written: {}", resident() - before);

    let scattered: Vec<_> = (0..WRITTEN).map(|n| PageRange::new(n * 16, n * 16 + 1)).collect();
    record("a million pages, one in sixteen", &mut heat, &scattered);
    println!("  resident now: {}", resident() - before);
    record("a million pages in a row", &mut heat, &[PageRange::new(5, WRITTEN + 5)]);
    record("nothing", &mut heat, &[]);

    let mut pages = PageSet::empty(machine);
    pages.insert_range(PageRange::new(0, WRITTEN));
    let slot = Duration::from_micros(33);
    for order in [Order::Address, Order::Heat, Order::Recency] {
        median(&format!("a million pages in {order:?} order"), || {
            black_box(order::legs(&pages, &heat, order, slot, Pages::new(640)));
        });
    }
    median("the coldest 1000 of a million", || {
        black_box(order::coldest(&pages, &heat, Pages::new(1000)));
    });
    median("held back of a million", || {
        black_box(hold_back::choose(
            &pages,
            &heat,
            HoldBack::Chosen,
            slot,
            Pages::new(1000),
            slot * 1000,
            None,
        ));
    });
    let probabilities: Vec<_> =
        (0..100_000u64).map(|n| ((n * 7919 % 100_000) as f64 / 1e5).powi(6)).collect();
    median("the best order of 100,000 probabilities", || {
        black_box(order::best(&probabilities));
    });
    median("expected of a million", || {
        black_box(heat.expect_written(&pages, slot * 100));
    });
    median("expected of all of 64 GiB", || {
        black_box(heat.expect_written_all(slot * 100));
    });
}

fn record(what: &str, heat: &mut Heat, written: &[PageRange]) {
    median(what, || {
        heat.record(heat.observed() + Duration::from_millis(200), written.iter().copied())
    });
}

fn median(what: &str, mut run: impl FnMut()) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: {:.2?} (first to last of {ROUNDS}: {:.2?} to {:.2?})",
        times[ROUNDS as usize / 2],
        times[0],
        times[ROUNDS as usize - 1]
    );
}

/// The memory that this process has from the kernel.
fn resident() -> Bytes {
    let status = fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Pages::new(pages.expect("the second field of statm is a number")).bytes()
}
