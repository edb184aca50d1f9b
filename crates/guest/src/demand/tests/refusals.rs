use super::*;
use crate::trace::{TraceError, Tracer};

#[test]
fn it_does_not_end_while_something_is_missing() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    deliver(&pager, run(0, PAGES - 2)).unwrap();
    let error = pager.finish().unwrap_err();
    assert!(matches!(error, DemandError::StillMissing { missing, .. } if missing == Pages::new(2)));
    assert_eq!(paged.watched_mappings(), 2);
    paged.victim.begin(&format!("touch {} {PAGES}", PAGES - 1));
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages.start, PageIndex(PAGES - 1));
    deliver(&pager, run(PAGES - 2, PAGES)).unwrap();
    paged.victim.expect("done");
    pager.finish().unwrap();
}

#[test]
fn a_page_that_somebody_else_has_filled_is_found() {
    let paged = Paged::start();
    let pager = paged.attach(&paged.all());
    paged.ram.write(PageIndex(9), &[1; PAGE]).unwrap();
    let error = pager.fill(run(5, 20), &contents(run(5, 20))).unwrap_err();
    assert!(matches!(error, DemandError::Occupied { page: PageIndex(9), .. }), "{error}");
    let mut missing = paged.all();
    missing.remove_range(run(5, 9));
    assert_eq!(pager.missing(), missing);
}

#[test]
fn what_is_watched_already_is_refused_and_left_as_it_was() {
    let mut paged = Paged::start();
    let mut tracer = Tracer::attach(paged.victim.pid(), &paged.ram).unwrap();
    let files = paged.victim.open_files();
    let error = Pager::attach(paged.victim.pid(), &paged.ram, &paged.all()).unwrap_err();
    let watched = |error: &DemandError| {
        matches!(error, DemandError::Process(TraceError::AlreadyWatched { .. }))
    };
    assert!(watched(&error), "{error}");
    assert_eq!(paged.victim.open_files(), files);
    paged.victim.order("spoil 3 4");
    let mut written = paged.some(run(0, 0));
    tracer.collect(&mut written).unwrap();
    assert_eq!(written, paged.some(run(3, 4)), "it is traced as before");
    drop(tracer);

    let pager = paged.attach(&paged.all());
    let error = Tracer::attach(paged.victim.pid(), &paged.ram).unwrap_err();
    assert!(matches!(error, TraceError::AlreadyWatched { .. }), "{error}");
    let error = Pager::attach(paged.victim.pid(), &paged.ram, &paged.all()).unwrap_err();
    assert!(watched(&error), "{error}");
    assert_eq!(paged.watched_mappings(), 2);
    paged.victim.begin("touch 5 6");
    deliver(&pager, pager.next_fault(LONG).unwrap().unwrap().pages).unwrap();
    paged.victim.expect("done");
}

#[test]
fn there_is_nothing_to_take_over_before_and_after() {
    let paged = Paged::start();
    let nothing = || {
        let error = Pager::take_over(paged.victim.pid(), &paged.ram, &paged.all()).unwrap_err();
        assert!(matches!(error, DemandError::NothingLeft { .. }), "{error}");
    };
    nothing();
    let pager = paged.attach(&paged.all());
    pager.fill_zero(run(0, PAGES)).unwrap();
    pager.finish().unwrap();
    nothing();
}

#[test]
fn a_process_without_privileges_is_refused_unless_the_host_allows_it() {
    let allowed = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").unwrap();
    let mut paged = Paged::start_as("nobody");
    match Pager::attach(paged.victim.pid(), &paged.ram, &paged.all()) {
        Ok(pager) if allowed.trim() == "1" => work_until_finished(&mut paged, &pager, 1),
        Err(error @ DemandError::UserFaultsOnly { .. }) => {
            assert_eq!(allowed.trim(), "0", "{error}");
            paged.victim.order("touch 0 1");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn ram_that_is_not_mapped_is_refused() {
    let paged = Paged::start();
    let other = Paged::start();
    let error = Pager::attach(other.victim.pid(), &paged.ram, &paged.all()).unwrap_err();
    assert!(matches!(error, DemandError::Process(TraceError::NotMapped { .. })), "{error}");
}

#[test]
fn what_was_taken_away_and_is_not_to_come_is_told() {
    let mut paged = Paged::start();
    let pid = paged.victim.pid();
    let holes = paged.some(run(10, 12));
    let missing = paged.some(run(11, 40));
    let refused = Pager::attach_with_holes(pid, &paged.ram, &missing, &holes).unwrap_err();
    assert!(matches!(refused, DemandError::Lost { page: PageIndex(10), .. }), "{refused}");
    assert_eq!(paged.watched_mappings(), 0);
    // Holes that somebody has filled nevertheless are taken away again.
    paged.ram.write(PageIndex(11), &contents(run(12, 13))).unwrap();
    let holes = paged.some(run(11, 12));
    let pager = Pager::attach_with_holes(pid, &paged.ram, &missing, &holes).unwrap();
    assert!(paged.ram.populated().unwrap().is_empty());
    while_answered(&pager, || paged.victim.order("touch 11 12"));
}
