//! The API: what it answers, also to what is wrong.

use std::os::unix::fs::PermissionsExt;

use super::{request, two_hosts};
use crate::api::{AttachRequest, MachineState, ProblemKind, RunRequest};
use crate::client::ClientError;

fn problem<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (ProblemKind, String) {
    let Err(ClientError::Problem(problem)) = answer else { panic!("{answer:?}") };
    (problem.kind, format!("{}: {}", problem.what, problem.remedy))
}

#[test]
fn machines_come_and_go() {
    let (_directory, (a, fakes), _b) = two_hosts();
    assert_eq!(a.machines(), []);
    a.run("web");
    assert_eq!(a.machines(), [("web".to_owned(), MachineState::Running)]);
    let details = a.ask(|client| async move { client.machine("web").await }).unwrap();
    assert_eq!((details.summary.name.as_str(), details.ram.len()), ("web", 1));

    let attach = AttachRequest { name: "mail".to_owned(), qmp: "/run/web".into() };
    a.ask(|client| async move { client.attach(&attach).await }).unwrap();
    assert_eq!(a.machines().len(), 2);

    a.ask(|client| async move { client.stop("web").await }).unwrap();
    assert!(fakes.get("web").is_none());
    // What was attached under another name went with it.
    assert_eq!(a.machines(), [("mail".to_owned(), MachineState::Gone)]);
    a.ask(|client| async move { client.stop("mail").await }).unwrap();
    assert_eq!(a.machines(), []);
}

#[test]
fn the_host_tells_about_itself() {
    let (_directory, (a, _), _b) = two_hosts();
    let facts = a.ask(|client| async move { client.host().await }).unwrap();
    assert_eq!((facts.name.as_str(), &facts.listen), ("a", &a.address));
    assert!(facts.fixed_costs.sum() > std::time::Duration::ZERO);
}

#[test]
fn what_is_wrong_is_told_by_its_kind() {
    let (_directory, (a, _), (b, _)) = two_hosts();
    let run = |spec: &str| {
        let request = RunRequest { spec: spec.to_owned(), directory: "/".into() };
        a.ask(|client| async move { client.run(&request).await })
    };
    assert_eq!(problem(run("")).0, ProblemKind::Usage);
    assert_eq!(problem(run("../web")).0, ProblemKind::Usage);
    assert_eq!(problem(run("broken")).0, ProblemKind::Failed);
    assert_eq!(a.machines(), [], "one that did not start leaves no record");
    run("web").unwrap();
    let (kind, text) = problem(run("web"));
    assert_eq!(kind, ProblemKind::Refused);
    assert!(text.contains("`web`") && text.contains("choose another name"), "{text}");

    let unknown = a.ask(|client| async move { client.machine("nope").await });
    assert_eq!(problem(unknown).0, ProblemKind::Unknown);
    let mut nowhere = request("web", &b);
    nowhere.to = "atlantis".to_owned();
    let (kind, text) = problem(a.ask(|client| async move { client.migrate(&nowhere).await }));
    assert_eq!(kind, ProblemKind::Usage);
    assert!(text.contains("--peer atlantis=ADDRESS:PORT"), "{text}");
}

#[test]
fn only_the_owner_may_ask() {
    let (_directory, (a, _), _b) = two_hosts();
    let mode = std::fs::metadata(a.client.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
