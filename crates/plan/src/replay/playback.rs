use std::time::Duration;

use punctual_units::{PageIndex, PageSet};

use super::rates::Rates;
use super::{Interval, Replay, Run};
use crate::chance;
use crate::simulate::Writes;

/// A guest that writes what a trace shows, from one of its moments on.
///
/// **Parts of an interval.** A scan tells that a page was written between it and the one before, not
/// when. Each page found is given one moment in the interval, and more of them as its own rate
/// lets expect, all by a hash of the seed, the page and the interval. So a page written a
/// thousand times a second is in every part of the interval, one written once a minute in one part.
///
/// **Beyond the end.** A trace that is too short begins again. It does not run backwards: at its
/// turning point the same pages would be written twice in a row, so fewer distinct pages would be
/// dirty than ever were. Pages that were seen written only once in the whole trace come back as
/// others of their kind (as many as a longer trace would have shown), since a guest that
/// writes all over its memory does not write the same pages again because nobody watched longer.
#[derive(Debug, Clone)]
pub struct Playback<'a> {
    replay: &'a Replay,
    start: Duration,
    speed: f64,
    seed: u64,
    at: Place,
}

/// An interval of the trace in one of its repetitions.
#[derive(Debug, Clone, Copy)]
struct Place {
    pass: u32,
    interval: usize,
}

impl<'a> Playback<'a> {
    /// Plays `replay` from `start` on, `speed` times as fast as it was recorded.
    #[must_use]
    pub fn new(replay: &'a Replay, start: Duration, speed: f64, seed: u64) -> Self {
        let interval = replay.intervals.partition_point(|interval| interval.end <= start);
        let at = match interval < replay.intervals.len() {
            true => Place { pass: 0, interval },
            false => Place { pass: 1, interval: 0 },
        };
        let start = start.min(replay.duration());
        Self { replay, start, speed, seed: chance::mix(seed), at }
    }

    fn begins(&self, at: Place) -> Duration {
        self.replay.duration() * at.pass + self.replay.intervals[at.interval].begin
    }

    fn ends(&self, at: Place) -> Duration {
        self.replay.duration() * at.pass + self.replay.intervals[at.interval].end
    }

    fn next(&self, at: Place) -> Place {
        if at.interval + 1 < self.replay.intervals.len() {
            Place { interval: at.interval + 1, ..at }
        } else {
            Place { pass: at.pass + 1, interval: 0 }
        }
    }

    /// Whether this interval has been played before, so that pages seen once are others now.
    fn is_again(&self, at: Place) -> bool {
        let first = u32::from(self.replay.intervals[at.interval].end <= self.start);
        at.pass > first
    }

    /// Adds what is written in the share of an interval between `from` and `until`.
    fn play(&self, at: Place, from: f64, until: f64, written: &mut PageSet) {
        let found = self.replay.found(at.interval);
        let whole = from <= 0.0 && until >= 1.0;
        let again = self.is_again(at) && !self.replay.once.is_empty();
        if whole && !again {
            for run in found {
                written.insert_range(run.range());
            }
            return;
        }
        let seed = chance::mix(self.seed ^ (u64::from(at.pass) << 32 | at.interval as u64));
        let mut moments = self.moments(at.interval, seed, from, until);
        for Run { start, end } in found {
            for page in *start..*end {
                let seen = self.replay.rates.seen()[page as usize];
                if !whole && !moments.has(page, seen) {
                    continue;
                }
                let page = if again && seen == 1 { self.other(seed, page) } else { page };
                written.insert(PageIndex(u64::from(page)));
            }
        }
    }

    fn moments(&self, interval: usize, seed: u64, from: f64, until: f64) -> Moments<'a> {
        let Interval { begin, end, .. } = self.replay.intervals[interval];
        let length = (end - begin).as_secs_f64();
        Moments { rates: &self.replay.rates, seed, from, until, length, more: vec![] }
    }

    /// The page that one seen once is this time.
    fn other(&self, seed: u64, page: u32) -> u32 {
        let once = &self.replay.once;
        once[chance::pick(seed ^ u64::from(page), once.len() as u64) as usize]
    }
}

impl Writes for Playback<'_> {
    fn between(&mut self, from: Duration, until: Duration, written: &mut PageSet) {
        if self.replay.duration().is_zero() {
            return;
        }
        let mut from = self.start + from.mul_f64(self.speed);
        let until = self.start + until.mul_f64(self.speed);
        while from < until {
            let (begins, ends) = (self.begins(self.at), self.ends(self.at));
            if ends <= from {
                self.at = self.next(self.at);
                continue;
            }
            let length = (ends - begins).as_secs_f64();
            let share = |time: Duration| time.saturating_sub(begins).as_secs_f64() / length;
            self.play(self.at, share(from), share(until.min(ends)), written);
            from = ends.min(until);
        }
    }
}

/// When in an interval its pages are written: from a share of it to another.
struct Moments<'a> {
    rates: &'a Rates,
    seed: u64,
    from: f64,
    until: f64,
    /// Of the whole interval, in seconds.
    length: f64,
    /// By the number of sightings: how likely a page is written in this part beside its one moment.
    more: Vec<Option<f64>>,
}

impl Moments<'_> {
    /// Whether a page that was found written in the interval is written in this part of it.
    fn has(&mut self, page: u32, seen: u16) -> bool {
        let seed = self.seed ^ u64::from(page).wrapping_mul(0xa24b_aed4_963e_e407);
        let moment = chance::unit(seed);
        if (self.from..self.until).contains(&moment) {
            return true;
        }
        chance::unit(seed.rotate_left(17) ^ self.from.to_bits()) < self.probability(seen)
    }

    fn probability(&mut self, seen: u16) -> f64 {
        let index = usize::from(seen);
        if self.more.len() <= index {
            self.more.resize(index + 1, None);
        }
        if let Some(probability) = self.more[index] {
            return probability;
        }
        // Of the writes that a page found written has on average, one has been placed.
        let mean = self.rates.rate(seen) * self.length;
        let more = if mean < 1e-3 { mean / 2.0 } else { mean / -(-mean).exp_m1() - 1.0 };
        let probability = -(-more * (self.until - self.from)).exp_m1();
        self.more[index] = Some(probability);
        probability
    }
}
