//! `punctual plan`

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use punctual_host::Threads;
use punctual_host::api::{PlanEvent, PlanRequest, SurveyRequest};
use punctual_plan::{Ask, Choice, Facts, Plan, plan_with};

use super::trace;
use crate::arguments::{Global, Limits, Plan as Said};
use crate::failure::{Exit, Failure};
use crate::output::{self, seconds};
use crate::{daemon, plan_output};

pub(super) async fn run(global: &Global, said: Said) -> Result<ExitCode, Failure> {
    let Said { subject, to, limits, mode, no_post_copy, look, output } = said;
    mode.check(no_post_copy)?;
    let ask = Ask { mode: mode.0, post_copy: !no_post_copy, ..ask(to, &limits) };
    let plan = match file(&subject) {
        Some(path) => of_trace(global, path, &ask).await?,
        None => of_machine(global, subject, ask, look).await?,
    };
    if let Some(path) = &output {
        fs::write(path, plan.encode()).map_err(|error| unwritable(path, &error))?;
    }
    if global.json {
        output::line(plan.encode())?;
    } else {
        output::line(plan_output::table(&plan))?;
        plan_output::notes(&plan).into_iter().try_for_each(output::line)?;
        if let Some(path) = &output {
            output::line(format_args!("plan: {}", path.display()))?;
        }
    }
    Ok(match plan.choice {
        Choice::Take { .. } => ExitCode::SUCCESS,
        // It has been told why.
        Choice::None { .. } => Exit::Refused.into(),
    })
}

/// Reads a plan from a file.
pub(super) fn read(path: &Path) -> Result<Plan, Failure> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(named(&error), "name a file that `punctual plan -o FILE` wrote")
    })?;
    Plan::decode(&text).map_err(|error| Failure::usage(named(&error), ""))
}

fn ask(to: String, limits: &Limits) -> Ask {
    let Limits { downtime, within, bandwidth, confidence } = *limits;
    Ask { bandwidth, ..Ask::new(to, downtime, within, confidence) }
}

/// A machine's name has no `/`, so that what has one is a file; so is what is there as one.
fn file(subject: &str) -> Option<&Path> {
    let path = Path::new(subject);
    (subject.contains('/') || path.is_file()).then_some(path)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()), "name another file with --output")
}

/// The daemon traces the machine and plans.
async fn of_machine(
    global: &Global,
    machine: String,
    ask: Ask,
    look: Option<Duration>,
) -> Result<Plan, Failure> {
    let name = machine.clone();
    let mut events = daemon::client(global)?.plan(&PlanRequest { machine, ask, look }).await?;
    let display = Display::new(global.json);
    let ended = async {
        while let Some(event) = events.next().await? {
            match event {
                PlanEvent::Planned(plan) => return Ok(*plan),
                PlanEvent::Failed(problem) => return Err(problem.into()),
                event => display.show(&name, &event),
            }
        }
        let what = format!("machine `{name}`: the plan did not come to an end");
        Err(Failure::failed(what, "see the daemon's log; the machine runs on"))
    };
    let ended = ended.await;
    display.end();
    ended
}

/// The trace says what the machine does; the daemon, if there is one, what is known of the hosts.
async fn of_trace(global: &Global, path: &Path, ask: &Ask) -> Result<Plan, Failure> {
    let trace = trace::read(path)?;
    let surveyed = match daemon::client(global) {
        Ok(client) => {
            let request = SurveyRequest { to: ask.to.clone(), bandwidth: ask.bandwidth };
            client.survey(&request).await.map_err(Failure::from)
        }
        Err(no_daemon) => Err(no_daemon),
    };
    let (facts, assumed) = match surveyed {
        Ok(facts) => (facts, None),
        Err(why) => assumed(ask, &why)?,
    };
    let mut plan = plan_with(&trace, &facts, ask, &Threads);
    plan.basis.assumed.extend(assumed);
    Ok(plan)
}

/// What is taken for granted where nobody could look at the other host.
fn assumed(ask: &Ask, why: &Failure) -> Result<(Facts, Option<String>), Failure> {
    let Some(rate) = ask.bandwidth else {
        return Err(Failure::refused(
            format!("the link to host `{}` could not be measured: {}", ask.to, why.what()),
            "state what it carries with --bandwidth",
        ));
    };
    let facts = Facts::assumed(rate);
    let sentence = format!(
        "host `{}` was not looked at: a link of {rate} and a round trip of {} ms",
        ask.to,
        facts.round_trip.as_secs_f64() * 1e3
    );
    Ok((facts, Some(sentence)))
}

/// A line that follows the plan as it comes about, on a terminal.
struct Display(ProgressBar);

impl Display {
    fn new(silent: bool) -> Self {
        let style = ProgressStyle::with_template("{msg}").expect("the template is sound");
        let bar = if silent { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        Self(bar.with_style(style))
    }

    fn show(&self, name: &str, event: &PlanEvent) {
        let text = match event {
            PlanEvent::Surveying => format!("{name}: looking at the other host and the link"),
            PlanEvent::Looking { elapsed, length, rate, cost } => format!(
                "{name}: traced for {} of {}, {rate:.0} pages/s found written, cost {}",
                seconds(*elapsed),
                seconds(*length),
                plan_output::percent(*cost)
            ),
            PlanEvent::Planning => format!("{name}: simulating moves"),
            PlanEvent::Planned(_) | PlanEvent::Failed(_) => return,
        };
        self.0.set_message(text);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use punctual_units::BytesPerSecond;

    use super::*;

    #[test]
    fn a_file_is_what_looks_like_one_or_is_there() {
        assert!(file("./web").is_some() && file("/run/web.trace").is_some());
        assert!(file("no-such-file-here").is_none());
        assert!(file("Cargo.toml").is_some(), "tests run in the crate's directory");
    }

    #[test]
    fn without_a_daemon_the_bandwidth_must_be_said() {
        let why = Failure::failed("no daemon runs", "");
        let (downtime, within) = (Duration::from_millis(50), Duration::from_secs(60));
        let confidence = punctual_units::Probability::saturating(0.99);
        let mut ask = Ask::new("b", downtime, within, confidence);
        let refused = assumed(&ask, &why).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.to_string().contains("--bandwidth"), "{refused}");
        ask.bandwidth = Some(BytesPerSecond::megabits(200));
        let (facts, sentence) = assumed(&ask, &why).unwrap();
        assert_eq!(facts.bandwidth, BytesPerSecond::megabits(200));
        assert!(sentence.unwrap().contains("200 Mbit/s"));
    }
}
