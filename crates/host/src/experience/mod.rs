//! What past moves from this host took, to tell what the next will.

mod past;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_model::quantile::{self, Outcome};
use punctual_model::{Calibration, Mode};
use punctual_plan::predict::{self, Usual, following};
use punctual_plan::{Facts, Following};
use punctual_units::Probability;
use serde::{Deserialize, Serialize};

pub(crate) use past::{Expectation, Past, Writes};

use crate::durable;
use crate::survey::Survey;

/// How many moves are remembered: some 100 KB of JSON.
const REMEMBERED: usize = 256;
/// How many of the last ones tell what an interruption takes beside the pages.
const LATELY: usize = 64;
/// Fewer moves than this are no rule.
const RULE: usize = 4;
/// A guest is not believed to write slower or faster than this, as a multiple of what was traced.
const WRITING: (f64, f64) = (0.5, 2.0);

/// The last moves from this host, kept in its state directory.
#[derive(Debug)]
pub(crate) struct Experience {
    path: PathBuf,
    /// Oldest first.
    moves: Vec<Past>,
}

#[derive(Serialize, Deserialize)]
struct File {
    experience_version: u32,
    moves: Vec<Past>,
}

const VERSION: u32 = 1;

impl Experience {
    /// Reads what is kept. What is missing or cannot be read begins anew: it is an estimate.
    pub(crate) fn open(path: &Path) -> Self {
        let moves = read(path).unwrap_or_else(|why| {
            let path = path.display();
            tracing::warn!(%path, why, "what past moves took cannot be read; it is learnt anew");
            Vec::new()
        });
        Self { path: path.to_owned(), moves }
    }

    /// Remembers one more move. That it cannot be written is logged and no more.
    pub(crate) fn add(&mut self, past: Past) {
        if !past.is_telling() {
            return;
        }
        self.moves.push(past);
        let forget = self.moves.len().saturating_sub(REMEMBERED);
        self.moves.drain(..forget);
        let file = File { experience_version: VERSION, moves: std::mem::take(&mut self.moves) };
        let text = serde_json::to_vec(&file).expect("numbers are JSON");
        self.moves = file.moves;
        if let Err(error) = durable::replace(&self.path, &text) {
            tracing::warn!(path = %self.path.display(), %error, "cannot keep what a move took");
        }
    }

    /// What an interruption is expected to take beside the pages, and what is to be added so that
    /// it is not exceeded with this probability. Of moves behind which no page follows.
    pub(crate) fn fixed(&self, confidence: Probability) -> (FixedCost, Duration) {
        predict::expected(&self.handovers(None), FixedCost::default(), confidence)
    }

    /// What comes on top of both where pages follow a move in this mode, over a link with this round trip.
    /// In any mode but post-copy they are what rounds have left.
    pub(crate) fn following(
        &self,
        mode: Mode,
        round_trip: Duration,
        confidence: Probability,
    ) -> Duration {
        let mode = if mode == Mode::PostCopy { mode } else { Mode::Hybrid };
        let (seen, ordinary) = (self.handovers(Some(mode)), self.handovers(None));
        let handovers = following::handovers(&seen, &ordinary, mode, round_trip);
        let assumed = following::longer(FixedCost::default(), mode, round_trip);
        let most = |(fixed, spread): (FixedCost, Duration)| fixed.sum() + spread;
        let following = most(predict::expected(&handovers, assumed, confidence));
        following.saturating_sub(most(self.fixed(confidence)))
    }

    /// What is known of a move to a host of which `survey` was seen just now.
    pub(crate) fn facts(&self, to: &str, survey: &Survey) -> Facts {
        let there = self.to(to);
        let preparing = there.iter().filter_map(|past| past.preparing).collect();
        let Following { fixed, downtime, total } = self.learnt(None);
        Facts {
            round_trip: survey.round_trip,
            fixed,
            preparing,
            writing: self.writing(),
            bandwidth_spread: bandwidth_spread(&there),
            downtime,
            total,
            hybrid: self.learnt(Some(Mode::Hybrid)),
            post_copy: self.learnt(Some(Mode::PostCopy)),
            ..Facts::assumed(survey.bandwidth)
        }
    }

    /// What is learnt of moves behind which pages followed like this, or none.
    fn learnt(&self, followed: Option<Mode>) -> Following {
        let ordinary = self.ordinary(followed);
        Following {
            fixed: self.handovers(followed),
            downtime: calibration(ordinary.iter().filter_map(|past| past.downtime)),
            total: calibration(ordinary.iter().filter_map(|past| past.total)),
        }
    }

    /// The last handovers of a kind, oldest first, without those that the link drew out.
    fn handovers(&self, followed: Option<Mode>) -> Vec<FixedCost> {
        let all: Vec<_> = self.ordinary(followed).iter().filter_map(|past| past.fixed).collect();
        all[all.len().saturating_sub(LATELY)..].to_vec()
    }

    /// The moves of a kind in whose handover the link was not down: that is no rule, and must not make
    /// a host refuse what it can do, least of all since refused moves teach nothing.
    fn ordinary(&self, followed: Option<Mode>) -> Vec<&Past> {
        let of_the_kind = || self.moves.iter().filter(|past| past.followed == followed);
        let fixed: Vec<_> = of_the_kind().filter_map(|past| past.fixed).collect();
        let usual = Usual::of(&fixed);
        let was_down = |past: &Past| past.fixed.is_some_and(|cost| usual.link_was_down(&cost));
        of_the_kind().filter(|past| !was_down(past)).collect()
    }

    /// The moves to a host; those to every host while there are few.
    fn to(&self, to: &str) -> Vec<&Past> {
        let there: Vec<_> = self.moves.iter().filter(|past| past.to == to).collect();
        if there.len() >= RULE { there } else { self.moves.iter().collect() }
    }

    fn writing(&self) -> f64 {
        let mut ratios: Vec<_> =
            self.moves.iter().rev().filter_map(|past| past.writing).take(LATELY).collect();
        ratios.sort_by(f64::total_cmp);
        match ratios.len() < RULE {
            true => 1.0,
            false => ratios[ratios.len() / 2].clamp(WRITING.0, WRITING.1),
        }
    }
}

/// The standard deviation of the bandwidth from move to move, as a share of it.
fn bandwidth_spread(moves: &[&Past]) -> f64 {
    let mut ratios: Vec<_> = moves.iter().filter_map(|past| past.bandwidth).collect();
    ratios.sort_by(f64::total_cmp);
    if ratios.len() < RULE {
        return Facts::BANDWIDTH_SPREAD;
    }
    let median = ratios[ratios.len() / 2].max(f64::MIN_POSITIVE);
    (quantile::deviation(&ratios) / median).clamp(Facts::BANDWIDTH_SPREAD, 0.5)
}

fn calibration(outcomes: impl Iterator<Item = Outcome>) -> Calibration {
    let mut calibration = Calibration::default();
    outcomes.for_each(|outcome| calibration.push(outcome.forecast, outcome.actual));
    calibration
}

fn read(path: &Path) -> Result<Vec<Past>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let file: File = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match file.experience_version {
        VERSION => Ok(file.moves),
        other => Err(format!("it has version {other}, this program reads version {VERSION}")),
    }
}

#[cfg(test)]
mod tests;
