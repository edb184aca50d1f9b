use std::time::Duration;

use punctual_engine::report::{Interval, Intervals, Predicted, Quantiles};
use punctual_model::{Calibration, quantile};
use punctual_units::{Bytes, Pages, Probability};

use crate::{Ask, AtMost, Exposure, Facts, Forecast, Simulated, Way};

/// What is wrong about a short interruption comes on top of it, in milliseconds: below this many
/// seconds errors count by their difference, not by their ratio.
const APART: f64 = 0.03;

/// What came of one simulated move.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Whether the promise was kept.
    pub(crate) kept: bool,
    /// The interruption and the whole move, in seconds, where it came to its end.
    pub(crate) times: Option<(f64, f64)>,
    /// What followed the machine, where anything did.
    pub(crate) missing: Option<Missing>,
    pub(crate) wire_bytes: Bytes,
    /// Why it ended so; empty where there is nothing to say.
    pub(crate) reason: String,
}

/// What was missing at the handover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) pages: u64,
    /// How long it took until nothing was, in seconds.
    pub(crate) follow: f64,
}

/// What came of many.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<Sample>);

impl FromIterator<Sample> for Samples {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

impl Samples {
    fn share(&self, of: impl Fn(&Sample) -> bool) -> Probability {
        let count = self.0.iter().filter(|sample| of(sample)).count();
        Probability::saturating(count as f64 / self.0.len().max(1) as f64)
    }

    /// How often the promise was kept.
    pub(crate) fn kept(&self) -> Probability {
        self.share(|sample| sample.kept)
    }

    /// What they say of the next move.
    pub(crate) fn forecast(&self, way: Way, facts: &Facts, ask: &Ask) -> Forecast {
        let times: Vec<_> = self.0.iter().filter_map(|sample| sample.times).collect();
        let downtimes: Vec<_> = times.iter().map(|(downtime, _)| *downtime).collect();
        let totals: Vec<_> = times.iter().map(|(_, total)| *total).collect();
        let simulated = quantile::Forecast::apart(&downtimes, APART)
            .zip(quantile::Forecast::of(&totals))
            .map(|(downtime, total)| Simulated { downtime, total });
        let kept = self.kept() >= ask.confidence;
        let judged = simulated.as_ref().map(|simulated| {
            let (downtime, total) = (&simulated.downtime, &simulated.total);
            let most = (ask.downtime, ask.confidence);
            let downtime = Judged { of: downtime, by: &facts.downtime, most: kept.then_some(most) };
            (downtime, Judged { of: total, by: &facts.total, most: None })
        });
        let at_most = |level| {
            let (downtime, total) = judged.as_ref()?;
            let downtime = downtime.at_most(level)?;
            Some(AtMost { downtime, total: total.at_most(level)?.max(downtime) })
        };
        let predicted = || {
            let [p50, p99] = [0.5, 0.99].map(Probability::saturating);
            let (downtime, total) = judged.as_ref()?;
            Some(Predicted {
                downtime: Quantiles { p50: downtime.at_most(p50)?, p99: downtime.at_most(p99)? },
                total: Quantiles { p50: total.at_most(p50)?, p99: total.at_most(p99)? },
                wire_bytes: self.wire_bytes(),
                interval95: Intervals { downtime: downtime.interval()?, total: total.interval()? },
            })
        };
        Forecast {
            way,
            excluded: way.excluded(ask),
            keeps: self.kept(),
            gives_up: self.share(|sample| sample.times.is_none()),
            predicted: predicted(),
            at_most: at_most(ask.confidence),
            exposure: self.exposure(facts),
            simulated,
            remarks: self.remark().into_iter().collect(),
        }
    }

    /// How long the machine depends on two hosts. It hangs on the link as the whole move does, and so
    /// past errors of that are made up for here as well.
    fn exposure(&self, facts: &Facts) -> Option<Exposure> {
        let follow: Vec<_> =
            self.0.iter().filter_map(|sample| Some(sample.missing?.follow)).collect();
        let simulated = quantile::Forecast::of(&follow)?;
        let judged = Judged { of: &simulated, by: &facts.total, most: None };
        let [p50, p99] = [0.5, 0.99].map(Probability::saturating);
        let Interval { low, high } = judged.interval()?;
        Some(Exposure {
            p50: judged.at_most(p50)?,
            p99: judged.at_most(p99)?,
            low,
            high,
            missing: Pages::new(self.missing()),
            waits: 0,
        })
    }

    /// Whether pages follow the machine in more of them than not.
    pub(crate) fn mostly_follow(&self) -> bool {
        self.share(|sample| sample.missing.is_some()).get() > 0.5
    }

    /// How many pages are missing at the handover: the median of those at which any are.
    pub(crate) fn missing(&self) -> u64 {
        let mut pages: Vec<_> =
            self.0.iter().filter_map(|sample| Some(sample.missing?.pages)).collect();
        pages.sort_unstable();
        pages.get(pages.len() / 2).copied().unwrap_or_default()
    }

    /// The median of what those that came to their end sent.
    fn wire_bytes(&self) -> Bytes {
        let completed = self.0.iter().filter(|sample| sample.times.is_some());
        let mut bytes: Vec<_> = completed.map(|sample| sample.wire_bytes).collect();
        bytes.sort_unstable();
        bytes.get(bytes.len() / 2).copied().unwrap_or_default()
    }

    /// Why some came to nothing, by the first of them.
    fn remark(&self) -> Option<String> {
        let failed: Vec<_> = self.0.iter().filter(|sample| sample.times.is_none()).collect();
        let reason = &failed.first()?.reason;
        Some(format!("gives up {} of {} times: {reason}", failed.len(), self.0.len()))
    }
}

/// What samples say in seconds, and how far past predictions of the kind were off.
struct Judged<'a> {
    of: &'a quantile::Forecast,
    by: &'a Calibration,
    /// What is kept up to a level by whoever carries the move out: a guest is stopped only when its
    /// interruption will be as short as was asked, with the confidence that was asked for.
    most: Option<(Duration, Probability)>,
}

impl Judged<'_> {
    fn at_most(&self, level: Probability) -> Option<Duration> {
        self.by.at_most(self.of, level).map(|time| self.limited(seconds(time), level))
    }

    fn interval(&self) -> Option<Interval> {
        let interval = self.by.widen(self.of, Probability::saturating(0.95))?;
        let high = self.limited(seconds(interval.high), Probability::saturating(0.975));
        Some(Interval { low: seconds(interval.low).min(high), high })
    }

    fn limited(&self, time: Duration, level: Probability) -> Duration {
        match self.most {
            Some((most, confidence)) if level <= confidence => time.min(most),
            _ => time,
        }
    }
}

/// A calibrated time may come out negative or without bounds.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
