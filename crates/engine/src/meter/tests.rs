use punctual_units::PAGE_SIZE;

use super::*;

const GIGABIT: BytesPerSecond = BytesPerSecond::megabits(1000);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn load(first: u64, again: u64) -> Load {
    Load { first: first as f64, again: again as f64 }
}

/// Rounds of one batch each, on a gigabit link.
struct Rounds {
    meter: Meter,
    at: Duration,
}

impl Rounds {
    fn new() -> Self {
        Self { meter: Meter::new(Some(GIGABIT)), at: ms(0) }
    }

    /// A round that takes as long as the link does.
    fn round(&mut self, load: Load, bytes: u64, left_none_out: bool) {
        self.meter.begin_round(self.at);
        self.at += GIGABIT.time_for(Bytes::new(bytes));
        let total = self.meter.total_sent() + Bytes::new(bytes);
        self.meter.batch_sent(self.at, total, load);
        self.meter.end_round(left_none_out);
        self.meter.received(self.at, total);
    }

    /// What is expected of the link for these pages, in bytes a page.
    fn page(&self, load: Load, care: Care) -> f64 {
        let seconds = self.meter.time(load, care, Bytes::ZERO).as_secs_f64();
        seconds * GIGABIT.get() as f64 / load.count()
    }
}

fn about(bytes: f64, expected: f64) -> bool {
    (bytes - expected).abs() <= 0.01 * expected + 1.0
}

#[test]
fn the_rate_is_that_of_the_acknowledgements() {
    let mut meter = Meter::new(None);
    assert_eq!(meter.bandwidth(), None);
    meter.begin_round(ms(0));
    for step in 0..40 {
        meter.received(ms(10 * step), GIGABIT.bytes_in(ms(10 * step)));
    }
    assert_eq!(meter.bandwidth(), Some(GIGABIT));
}

#[test]
fn a_pause_between_rounds_is_no_slow_link() {
    let mut meter = Meter::new(None);
    let mut total = Bytes::ZERO;
    for round in 0..5_u64 {
        let begin = ms(round * 10_000);
        meter.begin_round(begin);
        for step in 0..20 {
            meter.received(begin + ms(10 * step), total);
            total += GIGABIT.bytes_in(ms(10));
        }
        meter.end_round(true);
    }
    assert_eq!(meter.bandwidth(), Some(GIGABIT));
}

#[test]
fn one_stall_does_not_move_the_median() {
    let mut meter = Meter::new(None);
    meter.begin_round(ms(0));
    let mut at = ms(0);
    for step in 0..12 {
        at += if step == 9 { ms(900) } else { ms(20) };
        meter.received(at, GIGABIT.bytes_in(ms(20 * step)));
    }
    assert_eq!(meter.bandwidth(), Some(GIGABIT));
}

#[test]
fn a_promise_counts_on_a_rate_that_the_link_mostly_has() {
    let mut meter = Meter::new(None);
    meter.begin_round(ms(0));
    let mut total = Bytes::ZERO;
    for step in 0..=9 {
        meter.received(ms(20 * step), total);
        // Each third measure is half as fast.
        let rate = if step % 3 == 0 { GIGABIT.get() / 2 } else { GIGABIT.get() };
        total += BytesPerSecond::new(rate).bytes_in(ms(20));
    }
    assert_eq!(meter.rate(Care::Likely), Some(GIGABIT));
    assert_eq!(meter.rate(Care::Surely), Some(BytesPerSecond::new(GIGABIT.get() / 2)));
}

#[test]
fn before_anything_was_sent_every_page_goes_whole() {
    let rounds = Rounds::new();
    for care in [Care::Likely, Care::Surely] {
        for load in [load(1, 0), load(0, 1), load(500, 500)] {
            let page = rounds.page(load, care);
            assert!((4096.0..4200.0).contains(&page), "{care:?} {load:?}: {page}");
        }
    }
    let whole = GIGABIT.time_for(PAGE_SIZE);
    assert!(rounds.meter.slot(load(1, 0)) >= whole && rounds.meter.slot(load(0, 1)) >= whole);
}

#[test]
fn a_page_costs_what_it_lately_cost() {
    let mut meter = Meter::new(Some(GIGABIT));
    meter.begin_round(ms(0));
    meter.batch_sent(ms(1), Bytes::new(100_000), load(0, 1000));
    meter.end_round(true);
    meter.received(ms(2), Bytes::new(100_000));
    // The link would take 0.8 µs for each of the small pages, encoding took 1 µs.
    assert_eq!(meter.time_for(load(0, 1000), Care::Likely), ms(1));
    assert_eq!(meter.time_for(load(0, 1000), Care::Surely), ms(1));
}

#[test]
fn the_first_time_and_again_are_learned_apart() {
    let mut rounds = Rounds::new();
    rounds.round(load(10_000, 0), 20_000_000, true);
    assert!(about(rounds.page(load(100, 0), Care::Likely), 2000.0));
    assert!(about(rounds.page(load(0, 100), Care::Likely), 2000.0), "not known to be less");
    rounds.round(load(0, 1000), 300_000, true);
    assert!(about(rounds.page(load(0, 100), Care::Likely), 300.0));
    assert!(about(rounds.page(load(100, 0), Care::Likely), 2000.0));
    assert!(about(rounds.page(load(50, 50), Care::Likely), 1150.0));
}

#[test]
fn of_a_mixed_load_the_larger_part_is_learned() {
    let mut rounds = Rounds::new();
    rounds.round(load(10_000, 0), 41_000_000, true);
    rounds.round(load(100, 900), 410_000 + 270_000, true);
    assert!(about(rounds.page(load(0, 100), Care::Likely), 300.0));
    rounds.round(load(900, 100), 900 * 3000 + 30_000, true);
    assert!(about(rounds.page(load(100, 0), Care::Likely), 3000.0));
    assert!(about(rounds.page(load(0, 100), Care::Likely), 300.0));
}

#[test]
fn what_others_may_have_cost_makes_no_page_cheaper() {
    let mut rounds = Rounds::new();
    rounds.round(load(10_000, 0), 41_000_000, true);
    rounds.round(load(0, 1000), 1_000_000, true);
    // The pages that went for the first time were zero and took nothing.
    rounds.round(load(200, 800), 800_000, true);
    assert!(about(rounds.page(load(0, 100), Care::Likely), 1000.0));
}

#[test]
fn pages_that_were_left_out_surely_cost_no_less_than_whole_ones() {
    let mut rounds = Rounds::new();
    rounds.round(load(10_000, 0), 20_000_000, false);
    rounds.round(load(0, 1000), 300_000, false);
    assert!(about(rounds.page(load(0, 100), Care::Likely), 300.0));
    assert!(rounds.page(load(0, 100), Care::Surely) > 4096.0);
    assert!(rounds.page(load(100, 0), Care::Surely) > 4096.0, "the next may be fuller");
    // Once all have been sent, it is known of about so many.
    rounds.round(load(0, 400), 400_000, true);
    assert!(about(rounds.page(load(0, 800), Care::Surely), 1000.0));
    assert!(rounds.page(load(0, 1600), Care::Surely) > 2500.0);
    let in_time = GIGABIT.time_for(Bytes::new(800_000 + 100 * 4112));
    let pages = rounds.meter.surely_again_in(in_time).get();
    assert!((895..=900).contains(&pages), "{pages}");
}

#[test]
fn a_round_that_cost_more_counts_at_once_and_one_that_cost_less_does_not() {
    let mut rounds = Rounds::new();
    for _ in 0..3 {
        rounds.round(load(0, 1000), 300_000, true);
    }
    rounds.round(load(0, 1000), 4_000_000, true);
    assert!(about(rounds.page(load(0, 1000), Care::Surely), 4000.0));
    for _ in 0..4 {
        rounds.round(load(0, 1000), 4_000_000, true);
    }
    rounds.round(load(0, 1000), 300_000, true);
    assert!(about(rounds.page(load(0, 1000), Care::Surely), 4000.0));
}

#[test]
fn few_pages_tell_together() {
    let mut rounds = Rounds::new();
    for _ in 0..3 {
        rounds.round(load(0, 12), 12 * 300, true);
    }
    assert!(about(rounds.page(load(0, 20), Care::Surely), 300.0));
}

#[test]
fn what_is_on_its_way_has_to_arrive_first() {
    let mut meter = Meter::new(Some(GIGABIT));
    meter.sent(Bytes::new(125_000));
    assert_eq!(meter.time_for(load(0, 0), Care::Likely), ms(1));
}
