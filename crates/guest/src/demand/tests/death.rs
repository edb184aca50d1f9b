//! The death of a pager: nobody may read a zero.

use super::*;

fn pager_process(paged: &Paged, role: &str) -> Victim {
    let argument = format!("{} {}", paged.victim.pid().as_raw_pid(), paged.path.to_str().unwrap());
    Victim::start_as("demand::tests::victim::victim", role, &argument)
}

/// What a thread of the process waits in, if the kernel tells.
fn waits_for_a_page(paged: &Paged) -> bool {
    let pid = paged.victim.pid().as_raw_pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().any(|task| {
        fs::read_to_string(task.path().join("wchan")).is_ok_and(|place| place.contains("userfault"))
    })
}

#[test]
fn faults_that_a_killed_pager_had_read_are_raised_again() {
    let mut paged = Paged::start();
    let mut dead = pager_process(&paged, "deaf");
    paged.victim.begin("send 16 17");
    dead.expect("told 16");
    dead.child.kill().unwrap();
    dead.child.wait().unwrap();
    drop(dead);
    eventually("a thread that waits for its page", || waits_for_a_page(&paged));
    let pager = paged.take_over(&paged.all());
    let fault = pager.next_fault(LONG).unwrap().unwrap();
    assert_eq!(fault.pages, run(16, 17));
    deliver(&pager, fault.pages).unwrap();
    paged.victim.expect("done");
    deliver(&pager, run(0, PAGES)).unwrap();
    pager.finish().unwrap();
    paged.victim.order("check");
}

#[test]
fn faults_raised_while_there_is_no_pager_wait_for_the_next() {
    let mut paged = Paged::start();
    drop(paged.attach(&paged.all()));
    paged.victim.begin("work 3");
    eventually("a fault", || waits_for_a_page(&paged));
    let pager = paged.take_over(&paged.all());
    let ((), faults) = while_answered(&pager, || paged.victim.expect("done"));
    assert!(faults > 0);
}

#[test]
fn pagers_killed_in_the_middle_of_anything_lose_and_double_nothing() {
    let mut paged = Paged::start();
    let files = paged.victim.open_files();
    let mut state = 11;
    drop(paged.attach(&paged.all()));
    paged.victim.begin("work 3");
    for _ in 0..4 {
        let mut pager = pager_process(&paged, "heir");
        for _ in 0..random(&mut state) % 400 {
            pager.next_line();
        }
        pager.child.kill().unwrap();
        pager.child.wait().unwrap();
    }
    let pager = paged.take_over(&paged.all());
    let left = pager.missing().len();
    println!("{left} left after four deaths");
    while_answered(&pager, || {
        paged.victim.expect("done");
        push(&pager, 3, 1);
    });
    pager.finish().unwrap();
    paged.victim.order("check");
    assert_eq!(paged.victim.open_files(), files);
    assert_eq!(paged.watched_mappings(), 0);
}

#[test]
fn the_death_of_the_process_is_told() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    paged.victim.begin("touch 5 6");
    assert!(pager.next_fault(LONG).unwrap().is_some());
    // SIGKILL ends a thread that waits for a page.
    paged.victim.child.kill().unwrap();
    paged.victim.child.wait().unwrap();
    let gone = |error: DemandError| {
        assert!(
            matches!(error, DemandError::Process(crate::trace::TraceError::Gone { .. })),
            "{error}"
        );
    };
    gone(pager.next_fault(LONG).unwrap_err());
    gone(pager.fill(run(5, 6), &contents(run(5, 6))).unwrap_err());
    assert_eq!(pager.missing(), paged.all());
}
