//! What a move promised and what it took: one object, printed, stored and plotted alike.

mod missed;
mod predicted;
mod promise;
mod throttled;

use std::time::Duration;

use punctual_units::{Bytes, Pages};
use punctual_wire::HostName;
use serde::{Deserialize, Serialize};

pub use missed::Missed;
pub use predicted::{Interval, Intervals, Predicted, Quantiles};
pub use promise::Promise;
pub use punctual_model::{Mode, OnMiss, Policy};
pub use punctual_wire::Engine;
pub use throttled::Throttled;

use crate::times::{in_milliseconds, in_milliseconds_if_any, in_seconds, in_seconds_if_any};

/// The report of one attempt to move one machine.
///
/// In JSON, times are numbers in the unit that their name ends with: `_ms` or `_s`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine's name.
    pub machine: String,
    /// The host it ran on.
    pub from: HostName,
    /// The host it was to run on.
    pub to: HostName,
    /// What moved it.
    pub engine: Engine,
    /// How it changed hosts, in the end.
    #[serde(default)]
    pub mode: Mode,
    /// How its memory was moved while it ran.
    pub policy: Policy,
    /// What was promised beforehand.
    pub promised: Promised,
    /// What was expected beforehand, where somebody had looked.
    #[serde(default)]
    pub predicted: Option<Predicted>,
    /// What was measured.
    pub measured: Measured,
    /// Whether both sides computed one digest of the memory, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_digest_equal: Option<bool>,
    /// How the attempt ended.
    pub outcome: Ending,
    /// What became of the promise; `None` where the attempt ended for a reason of its own before
    /// the guest was stopped: it was cancelled, rehearsed, or a host or the link failed.
    #[serde(default)]
    pub promise: Option<Promise>,
    /// Who may run the machine now.
    pub owner: Holder,
    /// Why it ended so, and what to do about it; empty where there is nothing to say.
    pub reason: String,
    /// Where a host refused: a stable word for each of its reasons, for programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    /// The course of the move, in order of time, for plots.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

/// What was promised before the move began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Promised {
    /// The longest interruption.
    #[serde(rename = "downtime_ms", with = "in_milliseconds")]
    pub downtime: Duration,
    /// The longest time from the offer to the machine running at the destination.
    #[serde(rename = "total_s", with = "in_seconds")]
    pub total: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// From the stop of the processors until the source learnt that the machine runs again, there
    /// or here, by the source's clock. It includes the way of that message, so the interruption
    /// itself is shorter by half a round trip. `None` where the machine was never stopped.
    #[serde(rename = "downtime_ms", with = "in_milliseconds_if_any", default)]
    pub downtime: Option<Duration>,
    /// The longest silence that a client saw around the handover; only a lab can measure it.
    #[serde(
        rename = "client_gap_ms",
        with = "in_milliseconds_if_any",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub client_gap: Option<Duration>,
    /// From the offer to the end of the attempt.
    #[serde(rename = "total_s", with = "in_seconds")]
    pub total: Duration,
    /// From the offer to the first page; `None` where none was sent.
    #[serde(
        rename = "preparing_s",
        with = "in_seconds_if_any",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub preparing: Option<Duration>,
    /// What looking beforehand took: the measure of the link, the trace, the plan. It was over
    /// before the offer, so it is no part of the total. `None` where nobody looked.
    #[serde(
        rename = "planned_s",
        with = "in_seconds_if_any",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub planned: Option<Duration>,
    /// What the source put on the connection, frames and device state included.
    pub wire_bytes: Bytes,
    /// Pages sent, counted each time they were sent, zero pages included.
    pub pages_sent: Pages,
    /// Rounds of copying while the machine ran; the final copy is not one.
    pub rounds: u32,
    /// Where the downtime went. The parts follow each other and add up to it.
    pub phases: Phases,
    /// Where the machine ran on before all its pages were there: what it took until they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_copy: Option<PostCopy>,
    /// Where the promise turned out to be unreachable and the move went on: what was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Where the guest was slowed down for that: how far, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Throttled>,
}

/// The part of a move in which the machine depends on two hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PostCopy {
    /// The pages that were missing when the machine was handed over.
    pub missing: Pages,
    /// From the commit until nothing was missing: a failure of either host or of the link in this
    /// time stops the machine until it is mended.
    #[serde(rename = "dependence_s", with = "in_seconds")]
    pub dependence: Duration,
    /// How often somebody waited for a page.
    pub faults: u64,
    /// From the fault until the page was there: the median.
    #[serde(rename = "fault_median_ms", with = "in_milliseconds")]
    pub fault_median: Duration,
    /// What 99 of 100 did not exceed.
    #[serde(rename = "fault_p99_ms", with = "in_milliseconds")]
    pub fault_p99: Duration,
    /// How often the link was lost meanwhile, and came back.
    #[serde(default)]
    pub recoveries: u32,
}

/// The parts of the downtime, in their order. All zero where the machine was never stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// From the stop of the processors until the machine was known to be quiet.
    #[serde(rename = "stop_ms", with = "in_milliseconds")]
    pub stop: Duration,
    /// Until the last page was sent.
    #[serde(rename = "final_copy_ms", with = "in_milliseconds")]
    pub final_copy: Duration,
    /// Until the destination had loaded the device state.
    #[serde(rename = "device_state_ms", with = "in_milliseconds")]
    pub device_state: Duration,
    /// What computing the digests took, where they were asked for.
    #[serde(
        rename = "verify_ms",
        with = "in_milliseconds",
        default,
        skip_serializing_if = "Duration::is_zero"
    )]
    pub verify: Duration,
    /// The durable write of the commit.
    #[serde(
        rename = "commit_ms",
        with = "in_milliseconds",
        default,
        skip_serializing_if = "Duration::is_zero"
    )]
    pub commit: Duration,
    /// From the commit until the machine was known to run.
    #[serde(rename = "resume_ms", with = "in_milliseconds")]
    pub resume: Duration,
}

impl Phases {
    /// All parts together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.stop + self.final_copy + self.device_state + self.verify + self.commit + self.resume
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The machine runs at the destination.
    Completed,
    /// Something was in the way before anything moved.
    Refused,
    /// It was cancelled on request; the machine runs on at the source.
    Cancelled,
    /// It could not be finished. [`Report::owner`] tells who holds the machine.
    Failed,
}

/// Who may run the machine after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The source, where it runs on.
    Source,
    /// The destination.
    Destination,
    /// This side does not know: its machine stays paused until the log of the source is read.
    Unknown,
}

/// The state of a move at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, since the offer.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// The round, counted from 1; 0 before the first. The final copy counts as one more.
    pub round: u32,
    /// Pages found written since the sample before; scans happen at the ends of rounds, so it is
    /// zero in between.
    pub written: Pages,
    /// Pages that the destination lacks or has in an old version, as far as is known.
    pub dirty: Pages,
    /// What has been put on the connection so far.
    pub sent: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            machine: "web".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            engine: Engine::External,
            mode: Mode::PreCopy,
            policy: Policy::PreCopy,
            promised: Promised {
                downtime: Duration::from_millis(50),
                total: Duration::from_secs(60),
            },
            predicted: None,
            measured: Measured {
                downtime: Some(Duration::from_micros(23_500)),
                total: Duration::from_millis(2_710),
                wire_bytes: Bytes::new(349),
                pages_sent: Pages::new(7),
                rounds: 3,
                ..Measured::default()
            },
            ram_digest_equal: None,
            outcome: Ending::Completed,
            promise: Some(Promise::Kept),
            owner: Holder::Destination,
            reason: String::new(),
            codes: Vec::new(),
            samples: vec![],
        }
    }

    #[test]
    fn the_fields_have_the_names_that_are_promised_to_programs() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["engine"], "external");
        assert_eq!(json["policy"], "pre-copy");
        assert_eq!(json["outcome"], "completed");
        assert_eq!(json["promise"], "kept");
        assert!(json["predicted"].is_null());
        assert_eq!(json["promised"]["downtime_ms"], 50.0);
        assert_eq!(json["promised"]["total_s"], 60.0);
        assert_eq!(json["measured"]["downtime_ms"], 23.5);
        assert_eq!(json["measured"]["total_s"], 2.71);
        assert_eq!(json["measured"]["phases"]["final_copy_ms"], 0.0);
        assert!(json["measured"].get("client_gap_ms").is_none());
        assert!(json["measured"]["phases"].get("verify_ms").is_none());
        assert!(json.get("ram_digest_equal").is_none());
    }

    #[test]
    fn a_report_can_be_read_again() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }

    #[test]
    fn a_negative_time_is_refused() {
        let wrong = r#"{"downtime_ms":-1.0,"total_s":1.0}"#;
        assert!(serde_json::from_str::<Promised>(wrong).is_err());
    }
}
