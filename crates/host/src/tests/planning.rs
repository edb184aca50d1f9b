//! What is found out before a machine moves, and what becomes of it.

use std::time::Duration;

use punctual_engine::report::{Ending, Holder, Policy, Promise};
use punctual_guest::fake::Status;
use punctual_plan::{Ask, Choice, Plan};
use punctual_units::{BytesPerSecond, Probability};

use super::moves::fill;
use super::{Site, request, two_hosts};
use crate::api::{
    MachineState, MigrateRequest, PlanEvent, PlanRequest, Problem, ProblemKind, SurveyRequest,
};
use crate::client::ClientError;

/// Long enough to see what a machine does that does nothing.
const LOOK: Duration = Duration::from_millis(150);

fn ask(to: &Site, downtime: Duration) -> Ask {
    Ask::new(&to.address, downtime, Duration::from_secs(60), Probability::saturating(0.99))
}

fn plan(site: &Site, machine: &str, ask: Ask) -> Result<Plan, Problem> {
    let request = PlanRequest { machine: machine.to_owned(), ask, look: Some(LOOK) };
    let answer = site.ask(|client| async move {
        let mut events = client.plan(&request).await?;
        let mut last = None;
        while let Some(event) = events.next().await? {
            last = Some(event);
        }
        Ok(last)
    });
    match answer {
        Ok(Some(PlanEvent::Planned(plan))) => Ok(*plan),
        Ok(Some(PlanEvent::Failed(problem))) | Err(ClientError::Problem(problem)) => Err(problem),
        other => panic!("{other:?}"),
    }
}

fn carry_out(plan: Plan) -> MigrateRequest {
    let (machine, to) = (plan.machine.clone(), plan.ask.to.clone());
    let never = Duration::from_nanos(1);
    MigrateRequest {
        plan: Some(Box::new(plan)),
        ..MigrateRequest::new(&machine, &to, never, never)
    }
}

#[test]
fn another_host_and_the_link_to_it_are_looked_at_without_a_machine() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    let to = b.address.clone();
    let request = SurveyRequest { to: to.clone(), bandwidth: None };
    let facts = a.ask(|client| async move { client.survey(&request).await }).unwrap();
    assert!(facts.bandwidth.get() > 1_000_000, "{facts:?}");
    assert!(facts.round_trip > Duration::ZERO);
    assert_eq!(b.machines(), []);

    drop(b);
    let gone = SurveyRequest { to, bandwidth: None };
    let answer = a.ask(|client| async move { client.survey(&gone).await });
    let Err(ClientError::Problem(problem)) = answer else { panic!("{answer:?}") };
    assert_eq!(problem.kind, ProblemKind::Refused);
    assert!(problem.what.contains("punctual host"), "{problem:?}");
}

#[test]
fn a_plan_is_made_carried_out_and_learnt_from() {
    let (directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let plan = plan(&a, "web", ask(&b, Duration::from_secs(2))).unwrap();
    assert!(matches!(plan.choice, Choice::Take { .. }), "{:?}", plan.choice);
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)], "it is free again");
    assert!(!here.get("web").unwrap().is_traced());
    assert_eq!(b.machines(), []);

    let report = a.moves(&carry_out(plan.clone()));
    assert_eq!((report.outcome, report.promise), (Ending::Completed, Some(Promise::Kept)));
    assert_eq!(report.promised.downtime, Duration::from_secs(2), "the plan says what is promised");
    assert_eq!(report.predicted, plan.instructions().unwrap().predicted);
    assert_eq!(report.measured.planned, None, "it had been planned before");
    assert_eq!(there.get("web").unwrap().status(), Status::Running);
    let kept = std::fs::read_to_string(directory.path().join("a-state/experience.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let learnt = &kept["moves"][0];
    assert!(learnt["fixed"].is_object() && learnt["downtime"]["forecast"].is_object(), "{kept}");
    assert!(learnt["total"]["actual"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_plan_is_for_one_process_one_host_and_a_while() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    a.run("web");
    a.run("mail");
    let plan = plan(&a, "web", ask(&b, Duration::from_secs(2))).unwrap();
    let refused = |plan: Plan| {
        let report = a.migrate(&carry_out(plan));
        let report = a.follow(report.id, |migration| migration.has_ended()).report.unwrap();
        assert_eq!((report.outcome, report.owner), (Ending::Refused, Holder::Source));
        assert!(report.reason.contains("plan again: `punctual plan web"), "{}", report.reason);
        report.reason
    };
    let other = Plan { process: Some("a/0".to_owned()), ..plan.clone() };
    assert!(refused(other).contains("another process"));
    assert!(refused(Plan { process: None, ..plan.clone() }).contains("made from a trace"));
    let mut old = plan.clone();
    old.basis.recorded_at -= 7200;
    assert!(refused(old).contains("120 minutes ago"));

    let usage = |request: MigrateRequest| {
        let answer = a.ask(|client| async move { client.migrate(&request).await });
        let Err(ClientError::Problem(problem)) = answer else { panic!("{answer:?}") };
        assert_eq!(problem.kind, ProblemKind::Usage);
        problem.what
    };
    let wrong = MigrateRequest { machine: "mail".to_owned(), ..carry_out(plan.clone()) };
    assert!(usage(wrong).contains("the plan is for machine `web`, not for `mail`"));
    let wrong = MigrateRequest { to: "127.0.0.1:1".to_owned(), ..carry_out(plan) };
    assert!(usage(wrong).contains("the plan is for a move to host"));
    let running = |name: &str| (name.to_owned(), MachineState::Running);
    assert_eq!(a.machines(), [running("mail"), running("web")]);
}

#[test]
fn what_cannot_be_kept_is_refused_before_anything_is_touched_and_done_if_forced() {
    let (_directory, (a, here), (b, there)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let request = MigrateRequest {
        downtime: Duration::from_micros(1),
        within: Duration::from_secs(3),
        look: Some(LOOK),
        verify: false,
        ..request("web", &b)
    };
    let report = a.moves(&request);
    assert_eq!((report.outcome, report.promise), (Ending::Refused, Some(Promise::Refused)));
    assert!(report.reason.contains("refused beforehand"), "{}", report.reason);
    assert!(report.reason.contains("--force"), "{}", report.reason);
    assert!(there.get("web").is_none() && !here.get("web").unwrap().is_traced());

    // The look is kept: nobody waits for it again.
    let forced = MigrateRequest { force: true, look: None, ..request };
    let report = a.moves(&forced);
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert_eq!(report.promise, Some(Promise::Broken));
    assert!(report.measured.planned.is_some());
}

#[test]
fn a_policy_that_is_named_is_taken() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    a.run("web");
    let report = a.moves(&MigrateRequest {
        policy: Some(Policy::Ordered),
        look: Some(LOOK),
        ..request("web", &b)
    });
    assert_eq!((report.outcome, report.policy), (Ending::Completed, Policy::Ordered));
    assert!(report.predicted.is_some(), "{report:?}");
}

#[test]
fn a_slow_link_is_seen() {
    let (_directory, (a, here), (b, _)) = two_hosts();
    a.run("web");
    fill(&here, "web");
    let slow = Ask {
        bandwidth: Some(BytesPerSecond::megabits(1)),
        within: Duration::from_secs(10),
        ..ask(&b, Duration::from_secs(2))
    };
    // 4 MiB at 1 Mbit/s take half a minute.
    let plan = plan(&a, "web", slow).unwrap();
    let Choice::None { why, .. } = &plan.choice else { panic!("{:?}", plan.choice) };
    assert!(why.contains("1 Mbit/s"), "{why}");
    assert!(plan.cheapest_bandwidth.unwrap() > BytesPerSecond::megabits(2), "{plan:?}");
}
