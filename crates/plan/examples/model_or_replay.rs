//! Where the model's formulas and the replay of a trace agree, and where not:
//! `cargo run --release -p punctual-plan --example model_or_replay`.
//!
//! Each described workload is moved in three rounds, coldest pages first, over 200 Mbit/s, with
//! nothing that takes time but the link: by the formulas of `punctual_model::rounds`, from what a tracer
//! had learnt, and by the engine in a simulation. The table is that of `docs/prediction.md`.

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_engine::{FixedCost, Request};
use punctual_model::rounds::{Course, Link as Slots, PageCost};
use punctual_model::{Heat, HoldBack, Order, Policy, Rounds, Strategy};
use punctual_plan::replay::{Playback, Replay};
use punctual_plan::simulate::{Costs, Link, Terms, simulate};
use punctual_plan::synthetic::Synthetic;
use punctual_units::{Bytes, BytesPerSecond, PAGE_SIZE, PageIndex, Pages};

const WORKLOADS: [&str; 7] = [
    "idle:memory=128MiB",
    "uniform:memory=128MiB,set=32MiB,rate=2000",
    "hot-cold:memory=128MiB,set=8MiB,rate=4000",
    "zipf:memory=128MiB,set=32MiB,rate=4000",
    "sweep:memory=128MiB,set=32MiB,rate=2000",
    "phases:memory=128MiB,set=32MiB,rate=4000,busy=4s,quiet=6s",
    "phases:memory=128MiB,set=32MiB,rate=4000,busy=400ms,quiet=600ms",
];
const RATE: BytesPerSecond = BytesPerSecond::megabits(200);
const WINDOWS: u32 = 12;
const ROUNDS: u32 = 3;

fn main() {
    println!("| workload | left: model | left: replay (least–most) | total s: model | replay |");
    println!("| --- | --- | --- | --- | --- |");
    for text in WORKLOADS {
        let workload: Synthetic = text.parse().expect("the workloads are described well");
        let workload = Synthetic { content: punctual_trace::Content::UNKNOWN, ..workload };
        let replay = Replay::new(&workload.trace(), Pages::new(1 << 20));
        let moves: Vec<_> = (0..WINDOWS).map(|window| compare(&replay, window)).collect();
        let median = |of: fn(&Pair) -> f64| {
            let mut values: Vec<_> = moves.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            (values[0], values[values.len() / 2], values[values.len() - 1])
        };
        let (least, left, most) = median(|pair| pair.replayed.0);
        println!(
            "| `{text}` | {:.0} | {left:.0} ({least:.0}–{most:.0}) | {:.2} | {:.2} |",
            median(|pair| pair.expected.0).1,
            median(|pair| pair.expected.1).1,
            median(|pair| pair.replayed.1).1,
        );
    }
}

/// Pages left for the stop, and seconds in all.
struct Pair {
    expected: (f64, f64),
    replayed: (f64, f64),
}

fn compare(replay: &Replay, window: u32) -> Pair {
    let start = replay.duration() * window / WINDOWS;
    let heat = replay.heat(start, replay.duration());
    Pair { expected: expected(&heat), replayed: replayed(replay, start, window, heat) }
}

fn expected(heat: &Heat) -> (f64, f64) {
    let pages = heat.pages().get() as usize;
    let slot = RATE.time_for(PAGE_SIZE);
    let written: Vec<f64> =
        (0..pages as u64).map(|page| heat.probability(PageIndex(page), slot).get()).collect();
    let mut order: Vec<usize> = (0..pages).collect();
    order.sort_by(|a, b| written[*a].total_cmp(&written[*b]));
    let orders = [&order[..]; ROUNDS as usize];
    let (dirty, held_back) = (vec![true; pages], vec![false; pages]);
    let course =
        Course { written: &written, dirty: &dirty, held_back: &held_back, orders: &orders };
    let bytes = RATE.get() as f64;
    let page = PageCost { zero: 0.0, packed: PAGE_SIZE.get() as f64, overhead: 0.0 };
    let expected = course.expect(Slots::new(page, bytes, bytes), Duration::ZERO);
    (expected.left.mean, expected.total().as_secs_f64())
}

fn replayed(replay: &Replay, start: Duration, window: u32, heat: Heat) -> (f64, f64) {
    let rounds = NonZeroU32::new(ROUNDS).map_or(Rounds::UntilPromise, Rounds::Exactly);
    let request = Request {
        within: Duration::from_secs(600),
        fixed: FixedCost::NONE,
        strategy: Strategy { order: Order::Heat, hold_back: HoldBack::Nothing, rounds },
        heat: Some(heat),
        ..Request::new("b", Policy::Ordered)
    };
    let link = Link { rate: RATE, latency: Duration::ZERO, queue: Bytes::kib(64) };
    let terms = Terms { downtime: Duration::from_secs(10), bandwidth: Some(RATE) };
    let mut writes = Playback::new(replay, start, 1.0, u64::from(window));
    let report = simulate(replay.subject(), &mut writes, &link, &Costs::NONE, terms, request);
    let measured = report.measured;
    let left = RATE.bytes_in(measured.phases.final_copy).get() as f64 / PAGE_SIZE.get() as f64;
    let total = measured.total.saturating_sub(measured.preparing.unwrap_or_default());
    (left, total.as_secs_f64())
}
