//! A migration as it goes on: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use punctual_engine::{Phase, Progress};
use punctual_host::api::Queued;
use punctual_units::Pages;

use crate::output::{milliseconds, seconds};

/// Shows one migration on the error output.
pub(crate) enum Display {
    /// On a terminal.
    Bar { bar: ProgressBar, round: Round },
    /// Anywhere else: one line for each phase and round.
    Lines { last: Option<(Phase, u32)> },
    /// For programs.
    Silent,
}

/// The round under way, and how much it had to send.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    number: u32,
    pages: Pages,
}

impl Display {
    /// `silent` where the caller wants nothing but the result.
    pub(crate) fn new(silent: bool) -> Self {
        if silent {
            Self::Silent
        } else if io::stderr().is_terminal() {
            let style =
                ProgressStyle::with_template("{prefix:>13} [{bar:16}] {percent:>3}%  {wide_msg}")
                    .expect("the template is sound");
            let bar = ProgressBar::new(1).with_style(style.progress_chars("=> "));
            Self::Bar { bar, round: Round::default() }
        } else {
            Self::Lines { last: None }
        }
    }

    /// Shows where the migration stands.
    pub(crate) fn show(&mut self, progress: &Progress) {
        match self {
            Self::Bar { bar, round } => {
                *round = round.at(progress);
                bar.set_prefix(progress.phase.to_string());
                bar.set_length(round.pages.get().max(1));
                bar.set_position(round.pages.saturating_sub(progress.round_left).get());
                bar.set_message(describe(progress));
            }
            Self::Lines { last } => {
                let now = Some((progress.phase, progress.round));
                if *last != now {
                    *last = now;
                    eprintln!("{:>13}  {}", progress.phase.to_string(), describe(progress));
                }
            }
            Self::Silent => {}
        }
    }

    /// Shows how the migration waits for its turn.
    pub(crate) fn wait(&mut self, waits: &Queued) {
        match self {
            Self::Bar { bar, .. } => {
                bar.set_prefix("queued");
                bar.set_message(queued(waits));
            }
            Self::Lines { .. } => eprintln!("{:>13}  {}", "queued", queued(waits)),
            Self::Silent => {}
        }
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Bar { bar, .. } => bar.suspend(|| eprintln!("{text}")),
            Self::Lines { .. } => eprintln!("{text}"),
            Self::Silent => {}
        }
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

impl Round {
    fn at(self, progress: &Progress) -> Self {
        let pages = match self.number == progress.round {
            true => self.pages.max(progress.round_left),
            false => progress.round_left,
        };
        Self { number: progress.round, pages }
    }
}

/// How a migration waits for its turn.
pub(crate) fn queued(queued: &Queued) -> String {
    let Queued { position, starts_in, because } = queued;
    let start = starts_in.map_or_else(
        || "its start cannot be foretold yet".to_owned(),
        |time| format!("starts in some {:.0} s", time.as_secs_f64().ceil()),
    );
    format!("queued as number {position}, {start}: {because}")
}

/// Rate, what is left, and when it is expected to be over.
pub(crate) fn describe(progress: &Progress) -> String {
    let mut parts = Vec::new();
    if progress.round > 0 {
        parts.push(format!("round {}", progress.round));
        parts.push(format!("{} left", progress.round_left.bytes()));
    }
    if progress.rate.get() > 0 {
        parts.push(progress.rate.to_string());
    }
    if let Some(eta) = progress.ends_in.or_else(|| eta(progress)) {
        parts.push(format!("ETA {}", seconds(eta)));
    }
    let asked = milliseconds(progress.downtime_asked);
    match (progress.downtime_predicted, progress.downtime_now) {
        (Some(predicted), Some(now)) => parts.push(format!(
            "downtime {} at the end, now {} (asked {asked})",
            milliseconds(predicted),
            milliseconds(now)
        )),
        (predicted, now) => {
            if let Some(downtime) = predicted.or(now) {
                parts.push(format!("downtime {} (asked {asked})", milliseconds(downtime)));
            }
        }
    }
    if let Some(share) = progress.throttled {
        parts.push(format!("guest slowed down to {:.0} %", share.get() * 100.0));
    }
    if parts.is_empty() {
        parts.push(format!("since {}", seconds(progress.elapsed)));
    }
    parts.join(", ")
}

/// The time until the machine runs at the other host if no more rounds are needed than are known
/// of: the end of this round, the pages found written since at the same rate, or the stop.
fn eta(progress: &Progress) -> Option<Duration> {
    let round = progress.round_ends_in?;
    let after = progress.dirty.saturating_sub(progress.round_left).bytes();
    let after =
        if progress.rate.get() > 0 { progress.rate.time_for(after) } else { Duration::ZERO };
    Some(round + after)
}

#[cfg(test)]
mod tests {
    use punctual_units::{Bytes, BytesPerSecond, Probability};

    use super::*;

    fn progress() -> Progress {
        Progress {
            machine: "web".to_owned(),
            phase: Phase::Copying,
            elapsed: Duration::from_secs(1),
            round: 2,
            round_left: Pages::new(256),
            dirty: Pages::new(512),
            pages_sent: Pages::new(1000),
            sent: Bytes::mib(4),
            rate: BytesPerSecond::new(1 << 20),
            round_ends_in: Some(Duration::from_secs(1)),
            downtime_now: Some(Duration::from_millis(80)),
            ends_in: Some(Duration::from_secs(2)),
            downtime_predicted: Some(Duration::from_millis(40)),
            downtime_asked: Duration::from_millis(50),
            throttled: None,
        }
    }

    #[test]
    fn a_look_tells_rate_rest_and_end() {
        assert_eq!(
            describe(&progress()),
            "round 2, 1 MiB left, 8.4 Mbit/s, ETA 2.00 s, downtime 40.0 ms at the end, now 80.0 ms \
             (asked 50.0 ms)"
        );
    }

    #[test]
    fn a_guest_that_is_slowed_down_is_said_to_be() {
        let slowed = Progress { throttled: Some(Probability::saturating(0.35)), ..progress() };
        assert!(
            describe(&slowed).ends_with(", guest slowed down to 35 %"),
            "{}",
            describe(&slowed)
        );
    }

    #[test]
    fn who_waits_learns_when_it_begins() {
        let waits = |starts_in| {
            queued(&Queued { position: 2, starts_in, because: "others leave first".to_owned() })
        };
        assert_eq!(
            waits(Some(Duration::from_millis(11_200))),
            "queued as number 2, starts in some 12 s: others leave first"
        );
        assert!(waits(None).contains("cannot be foretold"));
    }

    #[test]
    fn a_round_has_as_many_pages_as_were_seen_of_it() {
        let mut now = progress();
        let round = Round::default().at(&now);
        now.round_left = Pages::new(100);
        assert_eq!(round.at(&now).pages, Pages::new(256));
        now.round = 3;
        assert_eq!(round.at(&now).pages, Pages::new(100));
    }
}
