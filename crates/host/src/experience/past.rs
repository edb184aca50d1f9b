//! What one move told, of which the next can learn.

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_engine::report::{Ending, Holder, Measured, Mode, Phases, Report};
use punctual_engine::times::in_seconds_if_any;
use punctual_model::quantile::Outcome;
use punctual_plan::Simulated;
use punctual_plan::predict::scans_while_stopped;
use punctual_units::{Bytes, BytesPerSecond, Pages};
use serde::{Deserialize, Serialize};

/// A shorter copy tells more of starting and ending than of the link.
const TELLING_COPY: Duration = Duration::from_millis(500);
/// Fewer pages found written tell nothing of how fast a guest writes.
const TELLING_WRITES: f64 = 100.0;

/// What one move told. What it did not come to is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// The address of the host that it went to.
    pub to: String,
    /// How pages followed the machine: all of them (post-copy), or those that rounds had left (hybrid,
    /// whatever the mode). `None` where none did, and of moves of which older versions told.
    #[serde(default)]
    pub followed: Option<Mode>,
    /// What its interruption took beside the last pages.
    pub fixed: Option<FixedCost>,
    /// From the offer to the first page.
    #[serde(rename = "preparing_s", with = "in_seconds_if_any", default)]
    pub preparing: Option<Duration>,
    /// The rate of its copy, as a share of what had been measured of the link.
    pub bandwidth: Option<f64>,
    /// Pages that the guest wrote while it was copied, over what its trace had let expect.
    pub writing: Option<f64>,
    /// Its interruption in seconds: what simulated moves had said, and what was measured.
    pub downtime: Option<Outcome>,
    /// The same of the time from the offer to the end.
    pub total: Option<Outcome>,
}

/// What was known of a move before it began, and is compared with what came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expectation<'a> {
    /// What was measured of the link, or the lower rate that was asked for.
    pub bandwidth: Option<BytesPerSecond>,
    /// How many pages the guest was expected to write.
    pub writes: Option<&'a Writes>,
    /// What simulated moves had said of it.
    pub simulated: Option<Simulated>,
    /// Whether pages follow in these.
    pub follows: bool,
    /// How much of the memory holds anything.
    pub populated: Bytes,
}

/// How many distinct pages a guest is expected to write within a time, at some lengths of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writes(Vec<(Duration, f64)>);

impl Past {
    /// What a move to `to` told, also one that came to nothing: it prepared and copied all the same.
    pub(crate) fn of(to: &str, report: &Report, expected: Expectation<'_>) -> Self {
        let measured = &report.measured;
        let came = report.outcome == Ending::Completed && report.owner == Holder::Destination;
        let bandwidth = expected
            .bandwidth
            .zip(copied(report))
            .map(|(expected, seen)| seen.get() as f64 / expected.get().max(1) as f64);
        let followed = followed(report);
        // What was said of another kind of handover tells nothing of how well this one is foreseen.
        let simulated =
            expected.simulated.filter(|_| came && expected.follows == followed.is_some());
        let outcome =
            |forecast, actual: Duration| Outcome { forecast, actual: actual.as_secs_f64() };
        let downtime = simulated.zip(net_downtime(measured));
        Self {
            to: to.to_owned(),
            followed,
            fixed: came.then(|| fixed(report, expected)),
            preparing: measured.preparing,
            bandwidth,
            writing: expected.writes.and_then(|writes| writes.ratio(report)),
            downtime: downtime.map(|(said, actual)| outcome(said.downtime, actual)),
            total: simulated.map(|said| outcome(said.total, net_total(measured))),
        }
    }

    /// Whether it told anything.
    pub(crate) fn is_telling(&self) -> bool {
        self.fixed.is_some() || self.preparing.is_some() || self.bandwidth.is_some()
    }
}

/// How pages followed the machine, if any did.
fn followed(report: &Report) -> Option<Mode> {
    report.measured.post_copy.filter(|followed| followed.missing > Pages::ZERO)?;
    Some(if report.mode == Mode::PostCopy { Mode::PostCopy } else { Mode::Hybrid })
}

/// What does not depend on the link that it was seen on, nor on the machine.
fn fixed(report: &Report, expected: Expectation<'_>) -> FixedCost {
    let Phases { stop, final_copy, device_state, commit, resume, .. } = report.measured.phases;
    // Where pages follow none is copied: the device state is all that goes.
    let saving = match followed(report) {
        Some(_) => final_copy.saturating_sub(scans_while_stopped(expected.populated.pages())),
        None => Duration::ZERO,
    };
    let link = expected.bandwidth.or(copied(report));
    let on_the_link = link.map_or(Duration::ZERO, |rate| rate.time_for(FixedCost::STATE));
    let device_state = (saving + device_state).saturating_sub(on_the_link);
    FixedCost { stop, device_state: device_state.max(Duration::from_micros(100)), commit, resume }
}

/// Digests are not predicted.
fn net_downtime(measured: &Measured) -> Option<Duration> {
    measured.downtime.map(|downtime| downtime.saturating_sub(measured.phases.verify))
}

fn net_total(measured: &Measured) -> Duration {
    measured.total.saturating_sub(measured.phases.verify)
}

/// The rate at which pages went out while the guest ran; `None` if that was too short to tell.
fn copied(report: &Report) -> Option<BytesPerSecond> {
    let rounds = || report.samples.iter().filter(|sample| sample.round > 0);
    let (first, last) = (rounds().next()?, rounds().next_back()?);
    let time = last.at.saturating_sub(first.at);
    let bytes: Bytes = last.sent.saturating_sub(first.sent);
    (time >= TELLING_COPY).then(|| bytes.per(time)).flatten()
}

impl Writes {
    /// The lengths that are looked at; between them it is interpolated.
    const LENGTHS: [u64; 6] = [20, 100, 500, 2_000, 10_000, 50_000];

    /// Asks `expect` for some lengths of time.
    pub(crate) fn expected(expect: impl Fn(Duration) -> f64) -> Self {
        let lengths = Self::LENGTHS.map(Duration::from_millis);
        Self(lengths.into_iter().map(|length| (length, expect(length))).collect())
    }

    /// How many within `time`: linear in the logarithms of both, and in proportion beyond the ends.
    fn within(&self, time: Duration) -> f64 {
        let after = self.0.partition_point(|(length, _)| *length < time).clamp(1, self.0.len() - 1);
        let ((t0, n0), (t1, n1)) = (self.0[after - 1], self.0[after]);
        let [t, t0, t1] = [time, t0, t1].map(|time| time.as_secs_f64());
        if t <= t0 || n0 <= 0.0 || n1 <= 0.0 {
            return n0 * (t / t0);
        }
        let share = ((t / t0).ln() / (t1 / t0).ln()).min(1.0);
        n0 * (n1 / n0).powf(share)
    }

    /// What was written over what had been expected, by the scans of a move; `None` if that was too
    /// little to tell.
    fn ratio(&self, report: &Report) -> Option<f64> {
        let mut before = report.measured.preparing?;
        let (mut written, mut expected) = (0.0, 0.0);
        for sample in &report.samples {
            if sample.round > 0 && sample.written.get() > 0 && sample.at > before {
                written += sample.written.get() as f64;
                expected += self.within(sample.at - before);
                before = sample.at;
            }
        }
        (expected >= TELLING_WRITES).then_some(written / expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_lengths_it_is_interpolated() {
        // A thousand a second, of ten thousand pages.
        let all = 10_000.0;
        let expect = |time: Duration| all * (1.0 - (-1000.0 * time.as_secs_f64() / all).exp());
        let writes = Writes::expected(expect);
        for milliseconds in [1, 20, 50, 300, 1_000, 7_000, 50_000, 90_000] {
            let time = Duration::from_millis(milliseconds);
            let (found, exact) = (writes.within(time), expect(time));
            assert!((found / exact - 1.0).abs() < 0.12, "{time:?}: {found}, {exact}");
        }
        assert_eq!(Writes::expected(|_| 0.0).within(Duration::from_secs(1)), 0.0);
    }
}
