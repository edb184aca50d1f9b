//! What may be said of moves and of plans for them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use punctual_engine::report::{Engine, Mode, OnMiss, Policy};
use punctual_units::{BytesPerSecond, Probability, parse};

use super::time;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The machine
    #[arg(required_unless_present = "plan")]
    pub(crate) name: Option<String>,
    /// Where to: a peer of the daemon, or ADDRESS:PORT of the other daemon
    #[arg(long, value_name = "HOST", required_unless_present = "plan")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// How long to look at the machine before it is moved; 0 looks at nothing but a trace that is
    /// there [default: 2s, or a trace of the last ten minutes]
    #[arg(long, value_name = "TIME", value_parser = look, conflicts_with = "plan")]
    pub(crate) look: Option<Duration>,
    /// How the machine changes hosts: auto, pre-copy, post-copy, hybrid, stop-and-copy or restart
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = mode)]
    pub(crate) mode: ModeChoice,
    /// Never let it run there while pages of it are still here
    #[arg(long)]
    pub(crate) no_post_copy: bool,
    /// What to do where the promise turns out to be unreachable: cancel, extend, throttle or
    /// post-copy
    #[arg(long, default_value = "cancel", value_name = "WAY", value_parser = on_miss)]
    pub(crate) on_miss: OnMiss,
    /// How the memory is moved: pre-copy, ordered, held-back or continuous [default: as the plan
    /// says]
    #[arg(long, value_name = "NAME", value_parser = policy)]
    pub(crate) policy: Option<Policy>,
    /// What moves it: external (Punctual), native (QEMU's own migration), or auto: Punctual, and
    /// QEMU where its memory cannot be traced
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = engine)]
    pub(crate) engine: EngineChoice,
    /// Refuse it where it would have to wait until others have left, or have come in there
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Move it also where what is asked will not be kept, at the best moment there is
    #[arg(long)]
    pub(crate) force: bool,
    /// Carry out a plan that `punctual plan` wrote, at most an hour old; it says the limits
    #[arg(long, value_name = "FILE", conflicts_with_all = ["downtime", "within", "bandwidth", "confidence"])]
    pub(crate) plan: Option<PathBuf>,
    /// Compare a digest of the whole RAM at both ends while the guest stands; what that takes comes
    /// on top of the interruption
    #[arg(long)]
    pub(crate) verify: bool,
    /// Only check and predict, and show the command line at the destination
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A machine, or a file that `punctual trace` wrote. What has a `/` in it, or is there as a
    /// file, is a file
    #[arg(value_name = "NAME|TRACE")]
    pub(crate) subject: String,
    /// Where to: a peer of the daemon, or ADDRESS:PORT of the other daemon
    #[arg(long, value_name = "HOST")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// How the machine is to change hosts: auto, pre-copy, post-copy, hybrid, stop-and-copy or restart
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = mode)]
    pub(crate) mode: ModeChoice,
    /// Leave out the ways in which it runs there while pages of it are still here
    #[arg(long)]
    pub(crate) no_post_copy: bool,
    /// How long the machine is traced [default: 2s, or a trace of the last ten minutes]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) look: Option<Duration>,
    /// Where the plan is written, for `punctual migrate --plan`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What is asked of a move.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// The longest interruption
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = time)]
    pub(crate) downtime: Duration,
    /// Give up after this time, with the machine running on where it is
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = time)]
    pub(crate) within: Duration,
    /// Send no faster; refuse if the link is slower [default: what the link gives]
    #[arg(long, value_name = "RATE")]
    pub(crate) bandwidth: Option<BytesPerSecond>,
    /// With which probability both times are to be kept
    #[arg(long, default_value = "0.99", value_name = "SHARE", value_parser = confidence)]
    pub(crate) confidence: Probability,
}

fn look(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => parse::duration(text).map_err(|error| error.to_string()),
    }
}

/// A mode, or the plan's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModeChoice(pub(crate) Option<Mode>);

impl ModeChoice {
    /// Sees whether the mode may be had at all.
    pub(crate) fn check(self, no_post_copy: bool) -> Result<(), Failure> {
        match self.0.filter(|mode| no_post_copy && mode.may_depend()) {
            None => Ok(()),
            Some(mode) => Err(Failure::usage(
                format!("--mode {mode} and --no-post-copy exclude each other"),
                "leave one of them away",
            )),
        }
    }
}

fn mode(text: &str) -> Result<ModeChoice, String> {
    if text == "auto" {
        return Ok(ModeChoice(None));
    }
    let named = Mode::ALL.into_iter().find(|mode| mode.name() == text);
    named
        .map(|mode| ModeChoice(Some(mode)))
        .ok_or_else(|| format!("there are auto, {}", Mode::ALL.map(Mode::name).join(", ")))
}

/// An engine, or the one that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineChoice(pub(crate) Option<Engine>);

fn engine(text: &str) -> Result<EngineChoice, String> {
    match text {
        "auto" => Ok(EngineChoice(None)),
        "external" => Ok(EngineChoice(Some(Engine::External))),
        "native" => Ok(EngineChoice(Some(Engine::Native))),
        _ => Err("there are auto, external, native".to_owned()),
    }
}

fn on_miss(text: &str) -> Result<OnMiss, String> {
    let named = OnMiss::ALL.into_iter().find(|way| way.name() == text);
    named.ok_or_else(|| format!("there are {}", OnMiss::ALL.map(OnMiss::name).join(", ")))
}

fn policy(text: &str) -> Result<Policy, String> {
    let named = Policy::ALL.into_iter().find(|policy| policy.name() == text);
    named.ok_or_else(|| format!("there are {}", Policy::ALL.map(Policy::name).join(", ")))
}

/// A probability from a half to almost one, as `0.99` or `99%`.
fn confidence(text: &str) -> Result<Probability, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share =
        number.ok().filter(|share| (0.5..=0.999).contains(share)).and_then(Probability::new);
    share.ok_or_else(|| {
        format!(
            "`{text}` is no confidence: write 0.5 to 0.999, or 50% to 99.9%; nothing is certain"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_cannot_be_asked_for() {
        assert_eq!(confidence("99%"), confidence("0.99"));
        for wrong in ["1", "100%", "0.4", "often", "-0.9", "NaN"] {
            assert!(confidence(wrong).unwrap_err().contains("0.999"), "{wrong}");
        }
    }

    #[test]
    fn no_look_is_a_look_of_no_time() {
        assert_eq!(look("0"), Ok(Duration::ZERO));
        assert_eq!(look("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(look("fast").is_err());
    }

    #[test]
    fn each_policy_can_be_named() {
        assert!(Policy::ALL.iter().all(|known| policy(known.name()) == Ok(*known)));
        assert!(policy("best").unwrap_err().contains("held-back"));
    }
}
