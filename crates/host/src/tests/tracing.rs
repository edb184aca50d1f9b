//! Traces, recorded through the API of a real daemon from a machine that is not QEMU's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use punctual_guest::fake::{Call, Fake};
use punctual_trace::Trace;
use punctual_units::{Bytes, PageIndex, Probability};

use super::{Host, Site, request, two_hosts};
use crate::api::{MachineState, ProblemKind, TraceEvent, TraceRequest, TraceSummary};
use crate::client::ClientError;

fn wanted(length: Duration) -> TraceRequest {
    TraceRequest { length, cost: Probability::saturating(0.02) }
}

/// Records and returns the last event.
fn record(site: &Site, request: TraceRequest) -> Result<TraceEvent, ClientError> {
    site.ask(|client| async move {
        let mut events = client.record("web", &request).await?;
        while let Some(event) = events.next().await? {
            if !matches!(event, TraceEvent::Progress { .. }) {
                return Ok(event);
            }
        }
        panic!("the stream ended without a last event")
    })
}

fn summary(event: Result<TraceEvent, ClientError>) -> TraceSummary {
    let Ok(TraceEvent::Recorded(summary)) = event else { panic!("{event:?}") };
    summary
}

fn last(site: &Site) -> Result<Trace, ClientError> {
    let file = site.ask(|client| async move { client.last_trace("web").await })?;
    Ok(Trace::decode(&file).unwrap())
}

fn kind<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (ProblemKind, String) {
    let Err(ClientError::Problem(problem)) = answer else { panic!("{answer:?}") };
    (problem.kind, format!("{}: {}", problem.what, problem.remedy))
}

/// A host with a machine `web` whose guest writes to its first 16 pages while `work` goes on.
fn while_it_writes(host: &Host, work: impl FnOnce(&Site, &Fake)) {
    let (site, fakes) = host;
    site.run("web");
    let guest = fakes.get("web").unwrap();
    /// Ends the writing, also where the work panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&ended);
        scope.spawn(|| {
            for write in (0_u64..).take_while(|_| !ended.load(Ordering::Relaxed)) {
                guest.guest_writes(PageIndex(write % 16), Bytes::new(8), &write.to_le_bytes());
                thread::yield_now();
            }
        });
        work(site, &guest);
    });
}

#[test]
fn what_a_machine_writes_is_recorded_and_kept() {
    let (_directory, host, _) = two_hosts();
    while_it_writes(&host, |site, guest| {
        assert_eq!(kind(last(site)).0, ProblemKind::Unknown, "nothing is kept yet");
        let told = summary(record(site, wanted(Duration::from_millis(700))));
        assert!(!guest.is_traced());
        assert_eq!(site.machines(), [("web".to_owned(), MachineState::Running)]);

        let trace = last(site).unwrap();
        assert!(trace.duration() >= Duration::from_millis(700));
        assert_eq!((trace.duration(), trace.scans().len()), (told.duration, told.scans));
        let about = trace.about();
        assert_eq!((about.machine.as_str(), about.layout.pages().get()), ("web", 1024));
        let written: Vec<_> = trace.written().iter().map(|page| page.0).collect();
        assert_eq!(written, (0..16).collect::<Vec<_>>());
        assert!((0.0..4096.0).contains(&about.content.again), "{:?}", about.content);
        assert!(about.guest_cost <= Probability::saturating(0.02), "{}", about.guest_cost);
    });
}

#[test]
fn meanwhile_the_machine_is_not_to_be_had() {
    let (_directory, host, (b, _)) = two_hosts();
    while_it_writes(&host, |site, guest| {
        let other = |text: &str| {
            assert!(text.contains("a recording of its page writes is under way"), "{text}");
            assert!(text.contains("`punctual cancel web`"), "{text}");
        };
        let day = wanted(Duration::from_secs(24 * 3600));
        let mut events =
            site.ask(|client| async move { client.record("web", &day).await }).unwrap();
        let first = site.ask(|_| async { events.next().await }).unwrap();
        assert!(matches!(first, Some(TraceEvent::Progress { .. })), "{first:?}");
        assert!(guest.is_traced());
        assert_eq!(site.machines(), [("web".to_owned(), MachineState::Traced)]);

        let again = site.ask(|client| async move { client.record("web", &day).await });
        let (refused, text) = kind(again.map(drop));
        assert_eq!(refused, ProblemKind::Refused);
        other(&text);
        other(&site.migrate(&request("web", &b)).report.unwrap().reason);
        other(&kind(site.ask(|client| async move { client.stop("web").await })).1);

        // Ended early, with what there was.
        site.ask(|client| async move { client.end_recording("web").await }).unwrap();
        let ended = site.ask(|_| async {
            loop {
                match events.next().await?.expect("a last event") {
                    TraceEvent::Progress { .. } => {}
                    last => return Ok(last),
                }
            }
        });
        let told = summary(ended);
        assert!(told.scans > 0);
        assert_eq!(last(site).unwrap().scans().len(), told.scans);
        let nothing = site.ask(|client| async move { client.end_recording("web").await });
        assert!(kind(nothing).1.contains("no recording"));
    });
}

#[test]
fn who_leaves_ends_the_recording() {
    let (_directory, host, _) = two_hosts();
    while_it_writes(&host, |site, guest| {
        site.ask(|client| async move {
            let mut events = client.record("web", &wanted(Duration::from_secs(3600))).await?;
            events.next().await.map(drop)
        })
        .unwrap();
        while site.machines() != [("web".to_owned(), MachineState::Running)] {
            thread::yield_now();
        }
        assert!(!guest.is_traced());
        assert!(!last(site).unwrap().scans().is_empty());
    });
}

#[test]
fn a_machine_that_cannot_be_traced_runs_on() {
    let (_directory, host, _) = two_hosts();
    while_it_writes(&host, |site, guest| {
        for call in [Call::StartTracing, Call::CollectWritten] {
            guest.fail_next(call, 1);
            let event = record(site, wanted(Duration::from_secs(3600)));
            let Ok(TraceEvent::Failed(problem)) = event else { panic!("{event:?}") };
            assert!(problem.what.contains("machine `web`"), "{problem}");
            assert!(!guest.is_traced());
            assert_eq!(site.machines(), [("web".to_owned(), MachineState::Running)]);
        }
    });
}

#[test]
fn what_cannot_be_recorded_is_said_at_once() {
    let (_directory, host, _) = two_hosts();
    let (site, _) = &host;
    let unknown = record(site, wanted(Duration::from_secs(1)));
    assert_eq!(kind(unknown).0, ProblemKind::Unknown);
    site.run("web");
    for wrong in [
        wanted(Duration::ZERO),
        wanted(Duration::from_secs(1 << 20)),
        TraceRequest { cost: Probability::ZERO, ..wanted(Duration::from_secs(1)) },
    ] {
        assert_eq!(kind(record(site, wrong)).0, ProblemKind::Usage, "{wrong:?}");
    }
}

#[test]
fn a_trace_goes_with_its_machine() {
    let (_directory, host, _) = two_hosts();
    while_it_writes(&host, |site, _| {
        summary(record(site, wanted(Duration::from_millis(50))));
        last(site).unwrap();
        site.ask(|client| async move { client.stop("web").await }).unwrap();
        site.run("web");
        assert_eq!(kind(last(site)).0, ProblemKind::Unknown, "that was another machine");
    });
}
