use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Intervals of mixed lengths, as a recording has them, in milliseconds.
const MIXED: [u64; 8] = [200, 5, 300, 10, 200, 20, 400, 8];

/// A machine whose pages are written at random at rates that a test sets as it goes on.
struct Machine {
    heat: Heat,
    rates: Vec<f64>,
    chance: StdRng,
    intervals: usize,
}

impl Machine {
    fn new(rates: Vec<f64>) -> Self {
        let heat = Heat::new(Pages::new(rates.len() as u64));
        Self { heat, rates, chance: StdRng::seed_from_u64(7), intervals: 0 }
    }

    /// Time passes; in the intervals it is looked which pages were written.
    fn run(&mut self, seconds: f64) {
        let end = self.heat.observed() + Duration::from_secs_f64(seconds);
        while self.heat.observed() < end {
            let interval = Duration::from_millis(MIXED[self.intervals % MIXED.len()]);
            self.intervals += 1;
            let written = self.write(interval);
            self.heat.record(self.heat.observed() + interval, written);
        }
    }

    /// The pages that are written at least once in so much time.
    fn write(&mut self, time: Duration) -> Vec<PageRange> {
        let mut written = Vec::new();
        for (page, rate) in self.rates.iter().enumerate() {
            if self.chance.random::<f64>() < -(-rate * time.as_secs_f64()).exp_m1() {
                written.push(PageRange::new(page as u64, page as u64 + 1));
            }
        }
        written
    }

    /// The mean estimate over all pages.
    fn mean_rate(&self) -> f64 {
        (0..self.rates.len()).map(|page| self.heat.rate(PageIndex(page as u64))).sum::<f64>()
            / self.rates.len() as f64
    }

    fn mean_probability(&self, ms: u64) -> f64 {
        self.heat.expect_written_all(Duration::from_millis(ms)).mean / self.rates.len() as f64
    }
}

#[test]
fn a_page_takes_eight_bytes() {
    let heat = Heat::new(Pages::new(1000));
    assert_eq!(size_of_val(heat.pages.as_slice()), 8 * 1000);
}

/// The probability that a page written at this rate is written in so many milliseconds.
fn probability(rate: f64, ms: u64) -> f64 {
    -(-rate * ms as f64 / 1000.0).exp_m1()
}

#[test]
fn steady_writers_are_found_out_whatever_the_intervals() {
    for rate in [0.2, 1.0, 5.0, 20.0, 60.0] {
        let mut machine = Machine::new(vec![rate; 2000]);
        machine.run(60.0);
        let mean = machine.mean_rate();
        assert!((0.8..1.2).contains(&(mean / rate)), "{rate}/s is held to be {mean}/s");
        for ms in [10, 100, 1000] {
            let ratio = machine.mean_probability(ms) / probability(rate, ms);
            assert!((0.85..1.15).contains(&ratio), "{rate}/s within {ms} ms: {ratio}");
        }
    }
}

#[test]
fn a_write_to_a_cold_page_is_held_to_be_the_first_of_several() {
    let mut machine = Machine::new(vec![0.02; 5000]);
    machine.run(100.0);
    let ratio = machine.mean_rate() / 0.02;
    assert!((1.0..1.7).contains(&ratio), "{ratio}");
}

#[test]
fn intervals_of_one_length_are_enough_for_rates_that_they_can_tell_apart() {
    for rate in [0.2, 2.0, 8.0] {
        let mut machine = Machine::new(vec![rate; 2000]);
        for _ in 0..300 {
            let interval = Duration::from_millis(200);
            let written = machine.write(interval);
            machine.heat.record(machine.heat.observed() + interval, written);
        }
        let ratio = machine.mean_probability(100) / probability(rate, 100);
        assert!((0.85..1.15).contains(&ratio), "{rate}/s: {ratio}");
    }
}

#[test]
fn after_a_phase_change_the_estimate_follows_within_seconds() {
    for (before, after) in [(0.0, 5.0), (0.02, 5.0), (5.0, 0.02), (50.0, 0.5), (0.5, 20.0)] {
        let mut machine = Machine::new(vec![before; 2000]);
        machine.run(40.0);
        machine.rates.fill(after);
        machine.run(3.0);
        let mean = machine.mean_rate();
        let way = ((mean - before) / (after - before)).clamp(0.0, 2.0);
        assert!((0.75..1.25).contains(&way), "{before}/s to {after}/s: after 3 s {mean}/s");
    }
}

#[test]
fn a_burst_is_seen_while_it_lasts_and_is_not_forgotten_in_the_quiet() {
    // Written only in one second of five; on average 1.6 times a second.
    let mut machine = Machine::new(vec![0.0; 2000]);
    for _ in 0..8 {
        machine.rates.fill(8.0);
        machine.run(1.0);
        let burst = machine.mean_probability(100);
        assert!((0.25..0.65).contains(&burst), "100 ms in the burst: {burst}");
        machine.rates.fill(0.0);
        machine.run(4.0);
        let quiet = (machine.mean_probability(100), machine.mean_probability(5000));
        assert!(quiet.0 < 0.05 && quiet.1 > 0.75, "100 ms and 5 s in the quiet: {quiet:?}");
    }
}

#[test]
fn recency_is_known_apart_from_frequency() {
    let mut heat = Heat::new(Pages::new(3));
    heat.record(Duration::from_secs(1), [PageRange::new(0, 2)]);
    heat.record(Duration::from_secs(4), [PageRange::new(1, 2)]);
    assert_eq!(heat.unwritten_for(PageIndex(0)), Some(Duration::from_secs(3)));
    assert_eq!(heat.unwritten_for(PageIndex(1)), Some(Duration::ZERO));
    assert_eq!(heat.unwritten_for(PageIndex(2)), None);
    assert_eq!(heat.observed(), Duration::from_secs(4));
}

#[test]
fn a_page_written_once_is_forgotten_in_the_end_and_never_makes_nonsense() {
    let mut heat = Heat::new(Pages::new(2));
    heat.record(Duration::from_millis(50), [PageRange::new(0, 1)]);
    let mut before = heat.rate(PageIndex(0));
    for hours in 1..6 {
        heat.record(Duration::from_secs(3600 * hours), []);
        let rate = heat.rate(PageIndex(0));
        assert!(rate >= 0.0 && rate < before.max(1e-9), "{hours} h: {rate} after {before}");
        before = rate;
    }
    let spread = heat.expect_written_all(Duration::from_secs(1));
    assert!(spread.mean >= 0.0 && spread.mean < 0.01 && spread.variance.is_finite(), "{spread:?}");
}

#[test]
fn what_was_never_written_may_be_as_the_last_newcomers_were() {
    // A hundred new pages a second: as many are expected in the next one.
    let mut heat = Heat::new(Pages::new(100_000));
    for n in 0..200 {
        let at = Duration::from_millis(50 * (n + 1));
        heat.record(at, [PageRange::new(n * 5, n * 5 + 5)]);
    }
    let mut never = PageSet::full(heat.pages());
    never.remove_range(PageRange::new(0, 1000));
    let second = heat.expect_written(&never, Duration::from_secs(1)).mean;
    assert!((95.0..105.0).contains(&second), "{second}");
}

#[test]
fn how_many_pages_are_written_lies_within_the_spread() {
    let rates = (0..3000).map(|page| if page % 3 == 0 { 5.0 } else { 0.3 }).collect();
    let mut machine = Machine::new(rates);
    machine.run(40.0);
    let time = Duration::from_millis(300);
    let spread = machine.heat.expect_written_all(time);
    let sd = spread.variance.sqrt();
    let runs = 400;
    let mut within = 0;
    for _ in 0..runs {
        let written = machine.write(time).len() as f64;
        within += u32::from((written - spread.mean).abs() < 3.0 * sd);
    }
    // Three deviations of a steady machine; the estimate of the mean is off by some percent itself.
    assert!(within > runs * 9 / 10, "{within} of {runs} within {spread:?}");
    assert!(sd < 0.15 * spread.mean, "{spread:?}");
}

#[test]
fn bursts_widen_the_spread() {
    let mut even = Machine::new(vec![1.6; 2000]);
    even.run(40.0);
    let mut bursty = Machine::new(vec![0.0; 2000]);
    for _ in 0..8 {
        bursty.rates.fill(8.0);
        bursty.run(1.0);
        bursty.rates.fill(0.0);
        bursty.run(4.0);
    }
    let second = Duration::from_secs(1);
    let (even, bursty) =
        (even.heat.expect_written_all(second), bursty.heat.expect_written_all(second));
    let relative = |spread: Spread| spread.variance.sqrt() / spread.mean;
    assert!(relative(bursty) > 10.0 * relative(even), "{bursty:?} and {even:?}");
}

#[test]
fn a_part_and_the_rest_make_the_whole() {
    let mut machine = Machine::new((0..500).map(|page| f64::from(page) / 50.0).collect());
    machine.run(10.0);
    let mut part = PageSet::empty(Pages::new(500));
    part.insert_range(PageRange::new(17, 300));
    let time = Duration::from_millis(80);
    let heat = &machine.heat;
    let sum = heat.expect_written(&part, time).mean + heat.expect_written_except(&part, time).mean;
    assert!((sum / heat.expect_written_all(time).mean - 1.0).abs() < 1e-9);
}

#[test]
#[should_panic(expected = "page 4 of a machine of 3 pages")]
fn a_page_behind_the_end_is_a_mistake_of_the_caller() {
    Heat::new(Pages::new(3)).record(Duration::from_secs(1), [PageRange::new(2, 4)]);
}
