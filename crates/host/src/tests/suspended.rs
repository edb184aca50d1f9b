//! Machines in files, through the API of real daemons, with machines that are not QEMU's.

mod crashes;

use std::fs;
use std::path::{Path, PathBuf};

use punctual_guest::fake::{Call, Fake, Status};
use punctual_units::{Bytes, PageIndex};

use super::{Host, Site, two_hosts};
use crate::api::{
    CloneRequest, MachineState, Problem, ProblemKind, Restored, ResumeRequest, Saved,
    SnapshotEvent, SuspendRequest,
};
use crate::client::{Client, ClientError, Events};
use crate::hypervisor::{Disk, Links};

/// Asks, and returns the last event.
fn last<F>(site: &Site, question: impl FnOnce(Client) -> F) -> Result<SnapshotEvent, ClientError>
where
    F: Future<Output = Result<Events<SnapshotEvent>, ClientError>>,
{
    site.ask(|client| async move {
        let mut events = question(client).await?;
        while let Some(event) = events.next().await? {
            if !matches!(event, SnapshotEvent::Progress(_)) {
                return Ok(event);
            }
        }
        panic!("the stream ended without a last event")
    })
}

fn suspend(site: &Site, file: &Path, keep_running: bool) -> Result<SnapshotEvent, ClientError> {
    let request = SuspendRequest { file: file.to_owned(), keep_running };
    last(site, |client| async move { client.suspend("web", &request).await })
}

fn resume(site: &Site, request: &ResumeRequest) -> Result<SnapshotEvent, ClientError> {
    last(site, |client| async move { client.resume(request).await })
}

fn saved(event: Result<SnapshotEvent, ClientError>) -> Saved {
    let Ok(SnapshotEvent::Saved(saved)) = event else { panic!("{event:?}") };
    saved
}

fn restored(event: Result<SnapshotEvent, ClientError>) -> Restored {
    let Ok(SnapshotEvent::Restored(restored)) = event else { panic!("{event:?}") };
    restored
}

/// Why it was refused before anything was begun.
fn refused(event: Result<SnapshotEvent, ClientError>) -> Problem {
    let Err(ClientError::Problem(problem)) = event else { panic!("{event:?}") };
    assert_eq!(problem.kind, ProblemKind::Refused, "{problem:?}");
    problem
}

/// Why it came to nothing after it was begun.
fn failed(event: Result<SnapshotEvent, ClientError>) -> Problem {
    let Ok(SnapshotEvent::Failed(problem)) = event else { panic!("{event:?}") };
    problem
}

/// Starts `web` on the host and has its guest write here and there.
fn busy(host: &Host) -> Fake {
    host.0.run("web");
    let guest = host.1.get("web").unwrap();
    for page in 0..200_u64 {
        assert!(guest.guest_writes(PageIndex(page * 5), Bytes::new(8), &page.to_le_bytes()));
    }
    guest
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory for snapshots in that of the hosts, and a file in it.
fn place(directory: &tempfile::TempDir) -> (PathBuf, PathBuf) {
    let snapshots = directory.path().join("snapshots");
    fs::create_dir(&snapshots).unwrap();
    let file = snapshots.join("web.snap");
    (snapshots, file)
}

#[test]
fn a_suspended_machine_is_gone_and_resumes_on_another_host_once() {
    let (directory, a, b) = two_hosts();
    let (snapshots, file) = place(&directory);
    let guest = busy(&a);
    let before = guest.registers();
    let saved = saved(suspend(&a.0, &file, false));
    assert_eq!(guest.status(), Status::Gone);
    assert!(a.0.machines().is_empty());
    assert_eq!(names(&snapshots), ["web.snap"]);
    assert_eq!(saved.size.get(), fs::metadata(&file).unwrap().len());
    assert_eq!(saved.ram_digest, guest.ram().digest().unwrap().to_string());
    assert!(!saved.keeps_running);

    let restored = restored(resume(&b.0, &ResumeRequest::new(&file)));
    let there = b.1.get("web").unwrap();
    assert_eq!(b.0.machines(), [("web".to_owned(), MachineState::Running)]);
    assert_eq!(there.registers(), before);
    assert_eq!(there.ram().digest().unwrap().to_string(), saved.ram_digest);
    assert_eq!(restored.ram_digest, saved.ram_digest);
    assert_eq!(b.1.links(), Some(Links::AsTheyWere));
    assert_eq!(names(&snapshots), ["web.snap.resumed"]);

    let again = refused(resume(&a.0, &ResumeRequest::new(&file)));
    assert!(again.remedy.contains("was resumed before"), "{again:?}");
    assert!(a.0.machines().is_empty());
}

#[test]
fn a_copy_leaves_the_machine_running_and_can_be_resumed_beside_it() {
    let (directory, a, _b) = two_hosts();
    let (snapshots, file) = place(&directory);
    let disk = directory.path().join("web.iso");
    fs::write(&disk, "only read").unwrap();
    a.1.tie(Disk { path: disk, writable: false });
    let guest = busy(&a);
    let saved = saved(suspend(&a.0, &file, true));
    assert!(saved.notes.is_empty(), "{saved:?}");
    assert_eq!((guest.status(), guest.is_traced()), (Status::Running, false));
    assert!(saved.keeps_running);
    guest.guest_writes(PageIndex(3), Bytes::ZERO, b"later");

    let taken = refused(resume(&a.0, &ResumeRequest::new(&file)));
    assert!(taken.remedy.contains("--name"), "{taken:?}");
    for name in ["one", "two"] {
        let request = ResumeRequest { name: Some(name.to_owned()), ..ResumeRequest::new(&file) };
        let restored = restored(resume(&a.0, &request));
        let copy = a.1.get(name).unwrap();
        assert_eq!(copy.ram().digest().unwrap().to_string(), saved.ram_digest);
        assert_eq!(a.1.links(), Some(Links::Down));
        assert!(restored.notes[0].contains("links are down"), "{restored:?}");
    }
    assert_eq!(names(&snapshots), ["web.snap"], "a copy is not used up");
    assert_eq!(a.0.machines().len(), 3);
    let link_up =
        ResumeRequest { name: Some("three".into()), link_up: true, ..ResumeRequest::new(&file) };
    restored(resume(&a.0, &link_up));
    assert_eq!(a.1.links(), Some(Links::AsTheyWere));
}

#[test]
fn a_machine_that_cannot_be_saved_runs_on() {
    let (directory, a, _b) = two_hosts();
    let (snapshots, file) = place(&directory);
    let guest = busy(&a);
    let calls = [
        Call::StartTracing,
        Call::Settle,
        Call::CollectWritten,
        Call::PrepareStop,
        Call::Stop,
        Call::SaveDeviceState,
    ];
    for call in calls {
        for keep_running in [false, true] {
            guest.fail_next(call, 1);
            let problem = failed(suspend(&a.0, &file, keep_running));
            assert!(problem.what.contains("runs on, and no file is left"), "{call:?}: {problem:?}");
            assert_eq!((guest.status(), guest.is_traced()), (Status::Running, false), "{call:?}");
            assert_eq!(a.0.machines(), [("web".to_owned(), MachineState::Running)]);
            assert!(names(&snapshots).is_empty(), "{call:?}");
        }
    }
    saved(suspend(&a.0, &file, false));
}

#[test]
fn what_is_in_the_way_is_said_before_anything_is_touched() {
    let (directory, a, b) = two_hosts();
    let (_, file) = place(&directory);
    let guest = busy(&a);
    let relative = suspend(&a.0, Path::new("web.snap"), false);
    assert!(matches!(&relative, Err(ClientError::Problem(p)) if p.kind == ProblemKind::Usage));
    refused(suspend(&a.0, Path::new("/nonexistent/web.snap"), false));
    fs::write(&file, "precious").unwrap();
    assert!(refused(suspend(&a.0, &file, false)).what.contains("is there already"));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(!guest.calls().contains(&Call::Stop) && guest.status() == Status::Running);

    assert!(refused(resume(&b.0, &ResumeRequest::new(&file))).what.contains("no snapshot"));
    refused(resume(&b.0, &ResumeRequest::new("/nonexistent/web.snap")));
    assert!(b.0.machines().is_empty());
}

#[test]
fn a_damaged_file_runs_nothing() {
    let (directory, a, b) = two_hosts();
    let (_, file) = place(&directory);
    busy(&a);
    saved(suspend(&a.0, &file, false));
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 0x10;
    fs::write(&file, &damaged).unwrap();
    let problem = failed(resume(&b.0, &ResumeRequest::new(&file)));
    assert!(problem.what.contains("is damaged at byte"), "{problem:?}");
    fs::write(&file, &whole[..middle]).unwrap();
    let problem = refused(resume(&b.0, &ResumeRequest::new(&file)));
    assert!(problem.what.contains("too early"), "{problem:?}");
    assert!(
        b.0.machines().is_empty()
            && b.1.get("web").is_none_or(|left| left.status() == Status::Gone)
    );
    fs::write(&file, &whole).unwrap();
    restored(resume(&b.0, &ResumeRequest::new(&file)));
}

#[test]
fn a_machine_that_does_not_run_gives_its_file_back() {
    let (directory, a, b) = two_hosts();
    let (snapshots, file) = place(&directory);
    busy(&a);
    saved(suspend(&a.0, &file, false));
    for call in [Call::DeviceState, Call::WaitLoaded, Call::Resume] {
        b.1.fail_next_arrival(call);
        failed(resume(&b.0, &ResumeRequest::new(&file)));
        assert_eq!(names(&snapshots), ["web.snap"], "{call:?}");
        assert!(b.0.machines().is_empty(), "{call:?}");
    }
    restored(resume(&b.0, &ResumeRequest::new(&file)));
}

#[test]
fn disks_that_were_written_since_are_refused_unless_forced() {
    let (directory, a, b) = two_hosts();
    let (_, file) = place(&directory);
    let disk = directory.path().join("web.img");
    fs::write(&disk, "as it was").unwrap();
    for fakes in [&a.1, &b.1] {
        fakes.tie(Disk { path: disk.clone(), writable: true });
    }
    busy(&a);
    saved(suspend(&a.0, &file, false));
    fs::write(&disk, "as it is now").unwrap();
    let problem = refused(resume(&b.0, &ResumeRequest::new(&file)));
    assert!(problem.what.contains("web.img") && problem.remedy.contains("--force"), "{problem:?}");
    let forced = ResumeRequest { force: true, ..ResumeRequest::new(&file) };
    let restored = restored(resume(&b.0, &forced));
    assert!(restored.notes.iter().any(|note| note.contains("web.img")), "{restored:?}");
}

#[test]
fn a_clone_runs_beside_the_machine_that_it_is_like() {
    let (directory, a, _b) = two_hosts();
    let guest = busy(&a);
    let clone = |name: &str| {
        let request = CloneRequest { name: name.to_owned(), link_up: false };
        last(&a.0, |client| async move { client.clone_machine("web", &request).await })
    };
    let restored = restored(clone("twin"));
    let twin = a.1.get("twin").unwrap();
    assert_eq!(twin.ram().digest().unwrap().to_string(), restored.ram_digest);
    assert_eq!((guest.status(), twin.status()), (Status::Running, Status::Running));
    assert_eq!(restored.file, None);
    assert!(names(&directory.path().join("a-state/clones")).is_empty());

    assert!(refused(clone("twin")).what.contains("`twin`"));
    let disk = directory.path().join("web.img");
    fs::write(&disk, "").unwrap();
    a.1.tie(Disk { path: disk, writable: true });
    assert!(refused(clone("third")).what.contains("and its clone would, too"));
    assert_eq!(a.0.machines().len(), 2);
    assert_eq!(guest.status(), Status::Running);
}
