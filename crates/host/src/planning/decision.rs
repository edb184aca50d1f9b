//! What is done with a plan: which way the machine goes, or why it does not.

use std::time::Duration;

use punctual_engine::report::{Policy, Predicted};
use punctual_plan::{Choice, Forecast, Plan, Reachable, Simulated, Way};

use crate::api::Problem;

/// How memory is moved where nobody says and nothing is known of the machine's writes: without a past
/// an order has nothing to go by, and its legs cost some time.
const POLICY: Policy = Policy::PreCopy;

/// How a machine is moved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
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
    pub(crate) fn blind(policy: Option<Policy>) -> Self {
        Self { policy: policy.unwrap_or(POLICY), forecast: None }
    }

    fn of(policy: Policy, forecast: Option<&Forecast>) -> Self {
        Self { policy, forecast: forecast.cloned() }
    }

    /// What is predicted of it.
    pub(crate) fn predicted(&self) -> Option<Predicted> {
        self.forecast.as_ref()?.predicted
    }

    /// What simulated moves alone said of it.
    pub(crate) fn simulated(&self) -> Option<Simulated> {
        self.forecast.as_ref()?.simulated
    }
}

/// Decides by a plan. With a `policy` only that one counts; with `force` the machine is moved also
/// where what was asked will not be kept.
pub(crate) fn decide(
    plan: &Plan,
    policy: Option<Policy>,
    force: bool,
) -> Result<Decision, Refused> {
    if let Some(policy) = policy {
        return by_policy(plan, policy, force);
    }
    match &plan.choice {
        Choice::Take { way, .. } => Ok(by_way(plan, *way)),
        Choice::None { best, .. } if force => {
            Ok(by_way(plan, best.map_or(Way::HeldBack, |best| best.way)))
        }
        Choice::None { best, why } => {
            let nearest = best.and_then(|best| plan.forecast(best.way));
            Err(Refused {
                problem: refused(plan, why, remedy(*best)),
                predicted: nearest.and_then(|forecast| forecast.predicted).map(Box::new),
            })
        }
    }
}

/// A way that is not a live one gives way to the one that is live and leaves the least to the stop.
fn by_way(plan: &Plan, way: Way) -> Decision {
    let policy = way.policy().unwrap_or(POLICY);
    let live = plan.ways.iter().find(|forecast| forecast.way.policy() == Some(policy));
    Decision::of(policy, live)
}

fn by_policy(plan: &Plan, policy: Policy, force: bool) -> Result<Decision, Refused> {
    let forecast = plan.ways.iter().find(|forecast| forecast.way.policy() == Some(policy));
    let keeps = forecast.is_some_and(|forecast| forecast.keeps >= plan.ask.confidence);
    if keeps || force {
        return Ok(Decision::of(policy, forecast));
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
            keeps: Probability::saturating(keeps),
            gives_up: Probability::ZERO,
            predicted: None,
            at_most: None,
            simulated: None,
            remarks: vec![],
        }
    }

    fn plan(choice: Choice) -> Plan {
        Plan {
            plan_version: Plan::VERSION,
            machine: "web".to_owned(),
            process: None,
            ask: punctual_plan::Ask {
                to: "b".to_owned(),
                downtime: Duration::from_millis(50),
                within: Duration::from_secs(60),
                confidence: Probability::saturating(0.99),
                bandwidth: None,
            },
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

    #[test]
    fn the_way_of_the_plan_is_gone() {
        assert_eq!(decide(&taken(), None, false).unwrap().policy, Policy::Ordered);
        assert_eq!(Decision::blind(None).policy, POLICY);
    }

    #[test]
    fn a_policy_that_is_named_must_keep_it_too() {
        let refused = decide(&taken(), Some(Policy::PreCopy), false).unwrap_err().problem;
        assert!(refused.what.contains("`pre-copy` keeps what was asked in 50 %"), "{refused:?}");
        assert!(refused.remedy.contains("`ordered` keeps it"), "{refused:?}");
        let forced = decide(&taken(), Some(Policy::PreCopy), true).unwrap();
        assert_eq!(forced.policy, Policy::PreCopy);
    }

    #[test]
    fn a_refusal_says_what_could_be_had_and_force_takes_a_live_way() {
        let refused = decide(&none(Way::PreCopy), None, false).unwrap_err().problem;
        assert!(refused.remedy.contains("--downtime 78ms"), "{refused:?}");
        assert_eq!(decide(&none(Way::PreCopy), None, true).unwrap().policy, Policy::PreCopy);
        assert_eq!(decide(&none(Way::StopAndCopy), None, true).unwrap().policy, POLICY);
    }
}
