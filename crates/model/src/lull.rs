//! When the machine will write little for a while.

use std::time::Duration;

use punctual_units::Probability;

use crate::{Activity, Sample};

/// A stretch of time in which little is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lull {
    /// Fewer distinct pages a second than this are written ...
    pub below: f64,
    /// ... for at least this long.
    pub lasting: Duration,
}

/// What is known of the time until the next lull, from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// The times it took, rising; none for those that did not end within the horizon.
    taken: Vec<Duration>,
    /// How many moments were looked at.
    moments: usize,
}

impl Wait {
    /// The probability that the lull comes within the horizon.
    ///
    /// Of n moments in the past from which it came k times this is (k + ½)/(n + 1): what never failed
    /// is not certain yet. Source: Krichevsky and Trofimov, "The performance of universal encoding"
    /// (1981).
    #[must_use]
    pub fn within(&self) -> Probability {
        Probability::saturating((self.taken.len() as f64 + 0.5) / (self.moments as f64 + 1.0))
    }

    /// The time that the wait does not exceed with this probability; `None` if that is longer than the
    /// horizon, or more than so few moments can tell.
    #[must_use]
    pub fn quantile(&self, probability: Probability) -> Option<Duration> {
        let rank = ((self.moments as f64 + 1.0) * probability.get()).ceil() as usize;
        self.taken.get(rank.max(1) - 1).copied()
    }
}

/// How long it takes from now until `lull` begins, if the machine goes on as it did; `None` if no such
/// lull was seen yet, or no moment like this one.
///
/// The past is searched for moments like this one: those at which the machine had been as busy (or as
/// quiet) as now for about as long, so that what returns regularly is foreseen. From each of them the
/// wait until the next lull is one sample. Moments whose wait reaches beyond what was seen are left out
/// if less than `horizon` was seen after them: their wait is not known.
///
/// A lull counts from its beginning, and one that is under way counts as long as there is `lasting`
/// left of it. Cost: O(n) for n remembered intervals, at most 1,024.
#[must_use]
pub fn foresee(activity: &Activity, lull: Lull, horizon: Duration) -> Option<Wait> {
    let samples: Vec<Sample> = activity.iter().copied().collect();
    let stretches = stretches(&samples, lull.below);
    let lulls: Vec<_> =
        stretches.iter().filter(|s| s.quiet && s.length() >= lull.lasting).collect();
    if lulls.is_empty() {
        return None;
    }
    let now = stretches.last()?;
    let present = now.length();
    let seen_until = now.end;
    let mut wait = Wait { taken: Vec::new(), moments: 0 };
    // The moments of the past at which a stretch of this kind was as old as the present one is now.
    for stretch in &stretches[..stretches.len() - 1] {
        if stretch.quiet != now.quiet || stretch.length() < present {
            continue;
        }
        let moment = stretch.begin + present;
        let next = lulls.iter().find(|it| it.end >= moment + lull.lasting);
        match next.map(|it| it.begin.saturating_sub(moment)) {
            Some(taken) if taken <= horizon => wait.taken.push(taken),
            None if seen_until < moment + horizon => continue,
            _ => {}
        }
        wait.moments += 1;
    }
    wait.taken.sort_unstable();
    (wait.moments > 0).then_some(wait)
}

/// A stretch of intervals that all are quiet, or all are not.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    quiet: bool,
    begin: Duration,
    end: Duration,
}

impl Stretch {
    fn length(&self) -> Duration {
        self.end - self.begin
    }
}

fn stretches(samples: &[Sample], below: f64) -> Vec<Stretch> {
    let mut stretches = Vec::<Stretch>::new();
    for sample in samples {
        let quiet = sample.rate() < below;
        match stretches.last_mut() {
            Some(last) if last.quiet == quiet => last.end = sample.at,
            _ => stretches.push(Stretch {
                quiet,
                begin: sample.at.saturating_sub(sample.interval),
                end: sample.at,
            }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use punctual_units::Pages;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const TICK: Duration = Duration::from_millis(100);
    const LULL: Lull = Lull { below: 100.0, lasting: Duration::from_secs(2) };

    /// A hundred milliseconds each: busy or quiet.
    fn series(busy: impl IntoIterator<Item = bool>) -> Activity {
        let mut activity = Activity::default();
        for (n, busy) in busy.into_iter().enumerate() {
            let written = Pages::new(if busy { 50 } else { 1 });
            activity.push(Sample { at: TICK * (n as u32 + 1), interval: TICK, written });
        }
        activity
    }

    /// A second busy, four quiet.
    fn periodic(ticks: usize) -> Activity {
        series((0..ticks).map(|n| n % 50 < 10))
    }

    fn level(p: f64) -> Probability {
        Probability::new(p).unwrap()
    }

    #[test]
    fn in_a_periodic_burst_the_lull_comes_when_the_burst_ends() {
        // Half a second into the tenth burst.
        let wait = foresee(&periodic(455), LULL, Duration::from_secs(10)).unwrap();
        assert!(wait.within().get() > 0.9, "{wait:?}");
        assert_eq!(wait.quantile(level(0.5)), Some(TICK * 5));
        assert_eq!(wait.quantile(level(0.9)), Some(TICK * 5));
        // Nine bursts cannot vouch for 99 %.
        assert_eq!(wait.quantile(level(0.99)), None);
    }

    #[test]
    fn in_a_lull_that_goes_on_there_is_no_wait_and_at_its_end_one_for_the_next() {
        let early = foresee(&periodic(450 + 15), LULL, Duration::from_secs(10)).unwrap();
        assert_eq!(early.quantile(level(0.5)), Some(Duration::ZERO));
        // Three seconds into four: the second that is left is too short; the next begins in two.
        let late = foresee(&periodic(450 + 40), LULL, Duration::from_secs(10)).unwrap();
        assert_eq!(late.quantile(level(0.5)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn no_lull_seen_is_none_foreseen() {
        let horizon = Duration::from_secs(10);
        assert_eq!(foresee(&Activity::default(), LULL, horizon), None);
        assert_eq!(foresee(&series(vec![true; 300]), LULL, horizon), None);
        // Quiet now and then, but never for two seconds.
        assert_eq!(foresee(&series((0..900).map(|n| n % 20 < 5)), LULL, horizon), None);
    }

    #[test]
    fn a_burst_longer_than_any_before_foresees_nothing() {
        let busy = (0..500).map(|n| n % 50 < 10).chain(vec![true; 100]);
        assert_eq!(foresee(&series(busy), LULL, Duration::from_secs(10)), None);
    }

    #[test]
    fn a_lull_behind_the_horizon_does_not_count() {
        // Ten seconds busy, five quiet; now one second into a busy stretch.
        let activity = series((0..160 + 450).map(|n| (n % 150) < 100));
        let far = foresee(&activity, LULL, Duration::from_secs(5)).unwrap();
        assert!(far.within().get() < 0.2, "{far:?}");
        assert_eq!(far.quantile(level(0.5)), None);
        let near = foresee(&activity, LULL, Duration::from_secs(12)).unwrap();
        assert!(near.within().get() > 0.8, "{near:?}");
    }

    #[test]
    fn random_bursts_end_as_often_as_foreseen() {
        // Busy and quiet stretches of random length: the forecast against what then happens.
        let mut chance = StdRng::seed_from_u64(9);
        let horizon = Duration::from_secs(3);
        let (mut foreseen, mut came, mut cases) = (0.0, 0.0, 0.0);
        for _ in 0..300 {
            let mut busy = Vec::new();
            while busy.len() < 900 {
                let ticks = 1 + (-(chance.random::<f64>().ln()) * 25.0) as usize;
                let next = !busy.last().copied().unwrap_or(false);
                busy.extend(vec![next; ticks]);
            }
            let cut = busy.len() - 60;
            if !busy[cut - 1] {
                continue;
            }
            let Some(wait) = foresee(&series(busy[..cut].to_vec()), LULL, horizon) else {
                continue;
            };
            let quiet_from = |at: usize| busy[at..].iter().take(20).filter(|b| !**b).count() == 20;
            cases += 1.0;
            foreseen += wait.within().get();
            came += f64::from(u8::from((cut..=cut + 30).any(quiet_from)));
        }
        // Bursts last 2.5 s on average: some come in time, some do not.
        assert!(cases > 100.0 && came > 0.1 * cases && came < 0.9 * cases, "{came} of {cases}");
        assert!(
            (foreseen - came).abs() < 0.12 * cases,
            "{foreseen} foreseen, {came} came of {cases}"
        );
    }
}
