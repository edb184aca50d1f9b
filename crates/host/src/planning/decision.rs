//! What is done with a plan: which way the machine goes, or why it does not.

use std::time::Duration;

use punctual_engine::report::{Mode, Policy, Predicted};
use punctual_plan::{Ask, Choice, Forecast, Plan, Reachable, Simulated, Way};

use crate::api::{MigrateRequest, Problem};

/// How memory is moved where nobody says and nothing is known of the machine's writes: without a past
/// an order has nothing to go by, and its legs cost some time.
const POLICY: Policy = Policy::PreCopy;

/// How a machine is moved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    pub(crate) mode: Mode,
    /// How its memory is copied while it runs.
    pub(crate) policy: Policy,
    /// What that will take, where it is known.
    pub(crate) forecast: Option<Forecast>,
}

/// Why it is not moved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub(crate) problem: Problem,
    /// What the way that comes nearest would have taken.
    pub(crate) predicted: Option<Box<Predicted>>,
}

impl Decision {
    /// A move of which nothing is known.
    pub(crate) fn blind(request: &MigrateRequest) -> Self {
        let mode = request.mode.unwrap_or_default();
        Self { mode, policy: request.policy.unwrap_or(POLICY), forecast: None }
    }

    fn of(plan: &Plan, way: Way) -> Self {
        let forecast = plan.forecast(way).cloned();
        Self { mode: way.mode(), policy: way.copies_by(), forecast }
    }

    /// What is predicted of it.
    pub(crate) fn predicted(&self) -> Option<Predicted> {
        self.forecast.as_ref()?.predicted
    }

    /// Whether that is a move behind which pages follow.
    pub(crate) fn follows(&self) -> bool {
        self.forecast.as_ref().is_some_and(|forecast| forecast.exposure.is_some())
    }

    /// What simulated moves alone said of it.
    pub(crate) fn simulated(&self) -> Option<Simulated> {
        self.forecast.as_ref()?.simulated
    }
}

/// Decides by a plan. Where a policy is named for a pre-copy, only that one counts; with `force` the
/// machine is moved also where what was asked will not be kept.
pub(crate) fn decide(plan: &Plan, request: &MigrateRequest) -> Result<Decision, Refused> {
    let named = request.policy.filter(|_| !request.mode.is_some_and(|mode| mode != Mode::PreCopy));
    if let Some(policy) = named {
        return by_policy(plan, policy, request.force);
    }
    let decision = match &plan.choice {
        Choice::Take { way, .. } => {
            allowed(plan, *way, request)?;
            Decision::of(plan, *way)
        }
        Choice::None { best, .. } if request.force => {
            Decision::of(plan, forced(request.mode, best.map(|best| best.way)))
        }
        Choice::None { best, why } => {
            let nearest = best.and_then(|best| plan.forecast(best.way));
            return Err(Refused {
                problem: refused(plan, why, remedy(*best)),
                predicted: nearest.and_then(|forecast| forecast.predicted).map(Box::new),
            });
        }
    };
    Ok(Decision { policy: request.policy.unwrap_or(decision.policy), ..decision })
}

/// A plan may have been made for another mode than is asked for now.
fn allowed(plan: &Plan, way: Way, request: &MigrateRequest) -> Result<(), Refused> {
    let MigrateRequest { mode, post_copy, .. } = *request;
    let ask = Ask { mode, post_copy, ..plan.ask.clone() };
    let Some(reason) = way.excluded(&ask).filter(|_| mode.is_some() || !post_copy) else {
        return Ok(());
    };
    let why = format!("the plan takes `{way}`, but {reason}");
    let remedy = "plan again, and say there what is to be left out".to_owned();
    Err(Refused { problem: refused(plan, &why, remedy), predicted: None })
}

/// How a machine is moved in any case, the best way being `best`: one that copies it while it stands
/// gives way to one that copies while it runs, unless it was asked for.
fn forced(mode: Option<Mode>, best: Option<Way>) -> Way {
    match (mode, best) {
        (None, Some(best)) if best.mode() == Mode::StopAndCopy => Way::by(POLICY),
        (_, Some(best)) => best,
        (None | Some(Mode::PreCopy), None) => Way::HeldBack,
        (Some(Mode::Hybrid), None) => Way::Hybrid,
        (Some(Mode::PostCopy), None) => Way::PostCopy,
        (Some(Mode::StopAndCopy), None) => Way::StopAndCopy,
        (Some(Mode::Restart), None) => Way::Restart,
    }
}

fn by_policy(plan: &Plan, policy: Policy, force: bool) -> Result<Decision, Refused> {
    let way = Way::by(policy);
    if !Policy::OWN.contains(&policy) {
        // It stops by a rule of its own, whatever is promised: nothing is predicted of it.
        return Ok(Decision::of(plan, way));
    }
    let forecast = plan.forecast(way);
    let keeps = forecast.is_some_and(|forecast| forecast.keeps >= plan.ask.confidence);
    if keeps || force {
        return Ok(Decision::of(plan, way));
    }
    let percent = forecast.map_or(0.0, |forecast| forecast.keeps.get() * 100.0);
    let why = format!("`{policy}` keeps what was asked in {percent:.0} % of simulated moves only");
    let remedy = match &plan.choice {
        Choice::Take { way, .. } => {
            format!("leave --policy away: `{way}` keeps it; or move it anyway with --force")
        }
        Choice::None { best, .. } => remedy(*best),
    };
    let predicted = forecast.and_then(|forecast| forecast.predicted).map(Box::new);
    Err(Refused { problem: refused(plan, &why, remedy), predicted })
}

fn refused(plan: &Plan, why: &str, remedy: String) -> Problem {
    let what = format!("machine `{}`: refused beforehand: {why}", plan.machine);
    Problem::refused(what, remedy)
}

fn remedy(best: Option<Reachable>) -> String {
    let anyway = "move it anyway with --force";
    match best {
        Some(best) => {
            format!("ask for --downtime {} or more, or {anyway}", ceiled(best.at_most.downtime))
        }
        None => format!("allow more with --within, or {anyway}"),
    }
}

/// As `--downtime` takes it, and no shorter than it is.
fn ceiled(time: Duration) -> String {
    format!("{}ms", (time.as_secs_f64() * 1e3).ceil())
}

#[cfg(test)]
mod tests {
    use punctual_plan::{AtMost, Basis};
    use punctual_units::{Bytes, BytesPerSecond, Probability};

    use super::*;

    fn forecast(way: Way, keeps: f64) -> Forecast {
        Forecast {
            way,
            excluded: None,
            keeps: Probability::saturating(keeps),
            gives_up: Probability::ZERO,
            predicted: None,
            at_most: None,
            exposure: None,
            simulated: None,
            remarks: vec![],
        }
    }

    fn plan(choice: Choice) -> Plan {
        Plan {
            plan_version: Plan::VERSION,
            machine: "web".to_owned(),
            process: None,
            ask: Ask::new(
                "b",
                Duration::from_millis(50),
                Duration::from_secs(60),
                Probability::saturating(0.99),
            ),
            basis: Basis {
                trace: Duration::from_secs(2),
                recorded_at: 0,
                populated: Bytes::ZERO,
                written_rate: 0.0,
                bandwidth: BytesPerSecond::megabits(1000),
                samples: 16,
                thinning: 1,
                assumed: vec![],
            },
            ways: vec![forecast(Way::PreCopy, 0.5), forecast(Way::Ordered, 1.0)],
            cheapest_bandwidth: None,
            choice,
        }
    }

    fn taken() -> Plan {
        plan(Choice::Take { way: Way::Ordered, why: String::new() })
    }

    fn none(way: Way) -> Plan {
        let at_most =
            AtMost { downtime: Duration::from_micros(77_300), total: Duration::from_secs(9) };
        plan(Choice::None { best: Some(Reachable { way, at_most }), why: "no way".to_owned() })
    }

    fn request() -> MigrateRequest {
        let (downtime, within) = (Duration::from_millis(50), Duration::from_secs(60));
        MigrateRequest::new("web", "b", downtime, within)
    }

    fn forced() -> MigrateRequest {
        MigrateRequest { force: true, ..request() }
    }

    #[test]
    fn the_way_of_the_plan_is_gone() {
        let decision = decide(&taken(), &request()).unwrap();
        assert_eq!((decision.mode, decision.policy), (Mode::PreCopy, Policy::Ordered));
        assert_eq!(Decision::blind(&request()).policy, POLICY);
    }

    #[test]
    fn a_policy_that_is_named_must_keep_it_too() {
        let by = |policy| MigrateRequest { policy: Some(policy), ..request() };
        let refused = decide(&taken(), &by(Policy::PreCopy)).unwrap_err().problem;
        assert!(refused.what.contains("`pre-copy` keeps what was asked in 50 %"), "{refused:?}");
        assert!(refused.remedy.contains("`ordered` keeps it"), "{refused:?}");
        let forced = MigrateRequest { force: true, ..by(Policy::PreCopy) };
        assert_eq!(decide(&taken(), &forced).unwrap().policy, Policy::PreCopy);
    }

    #[test]
    fn a_refusal_says_what_could_be_had_and_force_takes_a_live_way() {
        let refused = decide(&none(Way::PreCopy), &request()).unwrap_err().problem;
        assert!(refused.remedy.contains("--downtime 78ms"), "{refused:?}");
        assert_eq!(decide(&none(Way::PreCopy), &forced()).unwrap().policy, Policy::PreCopy);
        let live = decide(&none(Way::StopAndCopy), &forced()).unwrap();
        assert_eq!((live.mode, live.policy), (Mode::PreCopy, POLICY));
        let named = MigrateRequest { mode: Some(Mode::StopAndCopy), ..forced() };
        assert_eq!(decide(&none(Way::StopAndCopy), &named).unwrap().mode, Mode::StopAndCopy);
    }

    #[test]
    fn a_plan_for_another_mode_is_not_carried_out() {
        let plan = plan(Choice::Take { way: Way::Hybrid, why: String::new() });
        let decision = decide(&plan, &request()).unwrap();
        assert_eq!((decision.mode, decision.policy), (Mode::Hybrid, Policy::Ordered));
        let by = MigrateRequest {
            mode: Some(Mode::Hybrid),
            policy: Some(Policy::HeldBack),
            ..request()
        };
        assert_eq!(decide(&plan, &by).unwrap().policy, Policy::HeldBack);
        let never = MigrateRequest { post_copy: false, ..request() };
        let refused = decide(&plan, &never).unwrap_err().problem;
        assert!(refused.what.contains("--no-post-copy"), "{refused:?}");
    }
}
