//! How hot each page is: frequency on two time scales, and recency.

mod clock;
mod count;
mod phase;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use punctual_units::{PageIndex, PageRange, PageSet, Pages, Probability};

use crate::{Activity, Sample, Spread};
use clock::Clock;
use count::Count;
use phase::{Outlook, Phase};

/// Half of what is known on the fast scale is forgotten in this time.
const FAST: Duration = Duration::from_millis(500);
/// The same on the slow scale.
const SLOW: Duration = Duration::from_secs(24);

/// How often each page of a machine is written, from the intervals in which it was found written.
///
/// A page is found written at most once per interval, however often it is written in it, and the
/// intervals differ in length. So for each page two decayed *counts of intervals* are kept (half
/// lives ½ s and 24 s), and for all pages together how long the intervals were: the rate λ is that
/// at which a Poisson writer would have been found in as many. A page found in every interval gets
/// the highest rate that the shortest intervals can vouch for.
///
/// The fast count follows bursts and phases, the slow one keeps them in memory; which of them speaks
/// for now is weighed by the evidence that something changed (`docs/model.md`, "Heat").
///
/// State: 8 bytes a page (128 MiB for a machine of 64 GiB), and memory that is never written is
/// not touched. Times are kept in milliseconds, for 49 days.
#[derive(Clone)]
pub struct Heat {
    pages: Vec<u64>,
    fast: Clock,
    slow: Clock,
    /// Pages found written for the first time, decayed like the fast scale.
    fresh: f64,
    seen: u64,
    now: Duration,
    activity: Activity,
}

impl Heat {
    /// Nothing is known yet of a machine of so many pages.
    #[must_use]
    pub fn new(pages: Pages) -> Self {
        Self {
            // Zeroed memory comes from the kernel as it is first written.
            pages: vec![0; pages.get() as usize],
            fast: Clock::new(FAST),
            slow: Clock::new(SLOW),
            fresh: 0.0,
            seen: 0,
            now: Duration::ZERO,
            activity: Activity::default(),
        }
    }

    /// How many pages the machine has.
    #[must_use]
    pub fn pages(&self) -> Pages {
        Pages::new(self.pages.len() as u64)
    }

    /// Adds an interval: the disjoint runs of pages found written between the last call (or the
    /// beginning) and `at`, since the watching began. A call that is not later than the last one
    /// counts as an interval of a microsecond.
    ///
    /// Cost: some 10 ns for each page written.
    ///
    /// # Panics
    /// The machine has no such page.
    pub fn record(&mut self, at: Duration, written: impl IntoIterator<Item = PageRange>) {
        let interval = at.saturating_sub(self.now).max(Duration::from_micros(1));
        self.now += interval;
        self.fresh *= self.fast.advance(interval);
        self.slow.advance(interval);
        let now = Recorded::tick(self.now);
        let (mut count, mut first) = (0, 0);
        for range in written {
            assert!(
                range.end.0 <= self.pages().get(),
                "page {} of a machine of {}",
                range.end.0,
                self.pages()
            );
            for state in &mut self.pages[range.start.0 as usize..range.end.0 as usize] {
                first += u64::from(*state == 0);
                *state = Recorded::unpack(*state).written(now, &self.fast, &self.slow).pack();
            }
            count += range.len().get();
        }
        self.fresh += first as f64;
        self.seen += first;
        self.activity.push(Sample { at: self.now, interval, written: Pages::new(count) });
    }

    /// How long the machine has been watched.
    #[must_use]
    pub fn observed(&self) -> Duration {
        self.now
    }

    /// How often the page is being written now, in writes a second (λ).
    ///
    /// # Panics
    /// The machine has no such page.
    #[must_use]
    pub fn rate(&self, page: PageIndex) -> f64 {
        f64::from(self.phase_of(self.pages[page.0 as usize]).now)
    }

    /// The probability π = 1 − e^(−Λ) that the page is written within a slot that begins now, Λ being
    /// the writes expected in it: λ·slot for a slot shorter than the machine's phases.
    ///
    /// # Panics
    /// The machine has no such page.
    #[must_use]
    pub fn probability(&self, page: PageIndex, slot: Duration) -> Probability {
        let phase = self.phase_of(self.pages[page.0 as usize]);
        Probability::saturating(Outlook::new(slot).probability(phase))
    }

    /// How long ago the page was last found written; `None` if it never was.
    ///
    /// # Panics
    /// The machine has no such page.
    #[must_use]
    pub fn unwritten_for(&self, page: PageIndex) -> Option<Duration> {
        let state = self.pages[page.0 as usize];
        (state != 0).then(|| Duration::from_millis(u64::from(self.age(state))))
    }

    /// How many of `pages` will be written within `time` from now.
    ///
    /// Mean Σp, variance Σp(1−p) widened by how much activity has differed between windows of this
    /// length ([`Activity::dispersion`]): pages are not written independently of each other.
    ///
    /// Cost: some 20 ns for each page of the set that was ever found written.
    #[must_use]
    pub fn expect_written(&self, pages: &PageSet, time: Duration) -> Spread {
        self.expect(pages.ranges(), time)
    }

    /// The same for all pages that are not in `but`.
    #[must_use]
    pub fn expect_written_except(&self, but: &PageSet, time: Duration) -> Spread {
        let mut others = PageSet::full(self.pages());
        others.subtract(but);
        self.expect(others.ranges(), time)
    }

    /// The same for all pages.
    #[must_use]
    pub fn expect_written_all(&self, time: Duration) -> Spread {
        self.expect([PageRange::new(0, self.pages().get())], time)
    }

    /// How much was written in the last intervals, by all pages together.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    fn expect(&self, ranges: impl IntoIterator<Item = PageRange>, time: Duration) -> Spread {
        let outlook = Outlook::new(time);
        let never = outlook.probability(self.phase_of(0));
        let mut spread = Spread::default();
        for range in ranges {
            for &state in &self.pages[range.start.0 as usize..range.end.0 as usize] {
                let p = match state {
                    0 => never,
                    _ => outlook.probability(self.phase_of(state)),
                };
                spread.mean += p;
                spread.variance += p * (1.0 - p);
            }
        }
        spread.variance += spread.mean * spread.mean * self.activity.dispersion(time);
        spread
    }

    /// The rates of each page of a run, in order.
    pub(crate) fn rates(&self, range: PageRange) -> impl Iterator<Item = f32> {
        let never = self.phase_of(0).now;
        self.pages[range.start.0 as usize..range.end.0 as usize]
            .iter()
            .map(move |&state| if state == 0 { never } else { self.phase_of(state).now })
    }

    /// For each page of a run, how many milliseconds ago it was found written, 0 being the last
    /// interval; `u32::MAX` if it never was.
    pub(crate) fn ages(&self, range: PageRange) -> impl Iterator<Item = u32> {
        self.pages[range.start.0 as usize..range.end.0 as usize]
            .iter()
            .map(|&state| if state == 0 { u32::MAX } else { self.age(state) })
    }

    fn age(&self, state: u64) -> u32 {
        Recorded::tick(self.now).saturating_sub(Recorded::unpack(state).last)
    }

    fn phase_of(&self, state: u64) -> Phase {
        if state == 0 {
            return Phase::steady(self.fresh_rate() as f32);
        }
        let page = Recorded::unpack(state);
        let age = Recorded::tick(self.now).saturating_sub(page.last);
        let recent = self.fast.rate(page.fast.decayed(self.fast.codes(age)));
        let usual = self.slow.rate(page.slow.decayed(self.slow.codes(age)));
        Phase::weigh(recent, usual, age as f32 / 1000.0)
    }

    /// The rate of a page that was never found written: as many pages as were found for the first
    /// time lately will be again, shared among all that are left. Source: Good, "The population
    /// frequencies of species and the estimation of population parameters" (1953), in time.
    fn fresh_rate(&self) -> f64 {
        let left = self.pages.len() as u64 - self.seen;
        if left == 0 || self.fast.exposure() <= 0.0 {
            return 0.0;
        }
        self.fresh / self.fast.exposure() / left as f64
    }
}

impl fmt::Debug for Heat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heat({} of {} found written in {:?})", self.seen, self.pages(), self.now)
    }
}

/// What is kept of a page, packed into 8 bytes; 0 is a page never found written.
#[derive(Debug, Clone, Copy)]
struct Recorded {
    /// When it was last found written, in milliseconds and never 0.
    last: u32,
    /// In how many intervals, on both scales, as of then.
    fast: Count,
    slow: Count,
}

impl Recorded {
    fn tick(at: Duration) -> u32 {
        u32::try_from(at.as_millis() + 1).unwrap_or(u32::MAX)
    }

    fn unpack(state: u64) -> Self {
        Self {
            last: (state >> 32) as u32,
            fast: Count::from_code((state >> 16) as u16),
            slow: Count::from_code(state as u16),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.last) << 32 | u64::from(self.fast.code()) << 16 | u64::from(self.slow.code())
    }

    fn written(self, now: u32, fast: &Clock, slow: &Clock) -> Self {
        let age = now.saturating_sub(self.last);
        // Codes are rounded by the toss of a coin that differs from page to page and time to time.
        let coin = count::coin(self.pack() ^ u64::from(now));
        Self {
            last: now,
            fast: self.fast.plus_one(fast.codes(age), coin),
            slow: self.slow.plus_one(slow.codes(age), coin),
        }
    }
}
