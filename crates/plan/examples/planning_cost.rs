//! What planning costs: `cargo run --release -p punctual-plan --example planning_cost [WORKLOAD …]`.
//!
//! Prints, for each described workload, how long it takes to make its trace ready and to plan a
//! move, with one and with two threads, and the most memory that the process had so far.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use punctual_model::Policy;
use punctual_plan::predict::{Alone, Prospect, Workers};
use punctual_plan::replay::Replay;
use punctual_plan::synthetic::Synthetic;
use punctual_plan::{Ask, Choice, Facts, plan_with};
use punctual_units::{BytesPerSecond, Pages, Probability};

const WORKLOADS: [&str; 2] = [
    "hot-cold:memory=4GiB,set=512MiB,rate=20000,for=30s",
    "hot-cold:memory=64GiB,set=4GiB,rate=50000,for=30s",
];

struct Threads(usize);

impl Workers for Threads {
    fn each(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= jobs {
                            return;
                        }
                        job(number);
                    }
                });
            }
        });
    }
}

fn main() {
    let given: Vec<_> = std::env::args().skip(1).collect();
    let workloads = if given.is_empty() { WORKLOADS.map(str::to_owned).into() } else { given };
    for text in workloads {
        let workload: Synthetic = match text.parse() {
            Ok(workload) => workload,
            Err(error) => return eprintln!("{error}"),
        };
        measure(&text, &workload);
    }
}

fn measure(text: &str, workload: &Synthetic) {
    let trace = workload.trace();
    let facts = Facts::assumed(BytesPerSecond::megabits(1000));
    let within = if workload.memory.get() > 8 << 30 { 1800 } else { 120 };
    let (downtime, within) = (Duration::from_millis(100), Duration::from_secs(within));
    let ask = Ask::new("b", downtime, within, Probability::saturating(0.99));
    println!("{text}, at {}", facts.bandwidth);
    for most in [Pages::new(1 << 18), Pages::new(1 << 15)] {
        let begin = Instant::now();
        let replay = Replay::new(&trace, most);
        let ready = begin.elapsed();
        println!("  ready in {ready:.0?}, one page in {} simulated", replay.thinning().one_in());
        let prospect = Prospect { replay: &replay, facts: &facts, ask: &ask };
        for policy in Policy::OWN {
            let begin = Instant::now();
            let report = prospect.simulate(policy, 0, 4, false);
            println!(
                "    one move by {policy:<10} {:>8.1?}  ({:?}: {:.1} s, {} rounds, {:.1} ms)",
                begin.elapsed(),
                report.outcome,
                report.measured.total.as_secs_f64(),
                report.measured.rounds,
                report.measured.downtime.unwrap_or_default().as_secs_f64() * 1e3,
            );
        }
    }
    for workers in [&Alone as &dyn Workers, &Threads(2)] {
        let (begin, before) = (Instant::now(), processor_time());
        let plan = plan_with(&trace, &facts, &ask, workers);
        let (Choice::Take { why, .. } | Choice::None { why, .. }) = &plan.choice;
        let (elapsed, took) = (begin.elapsed(), processor_time() - before);
        println!("  plan in {elapsed:.2?}, {took:.2} s of processor time: {why}");
        println!("    cheapest {:?}", plan.cheapest_bandwidth.map(|rate| rate.to_string()));
    }
    println!("  most memory so far: {}", most_memory());
}

/// What the process took of the processors so far, in seconds. On a busy machine this tells more than
/// the time that passed.
fn processor_time() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / TICKS_A_SECOND
}

/// The high-water mark of the process.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.map_or_else(|| "unknown".to_owned(), |line| line[6..].trim().to_owned())
}
