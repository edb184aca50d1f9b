use super::*;
use crate::trace::Tracer;

#[test]
fn a_guest_at_work_finds_every_byte_while_pages_arrive() {
    let mut paged = Paged::start();
    let files = paged.victim.open_files();
    let pager = paged.attach(&paged.all());
    assert_eq!(paged.watched_mappings(), 2);
    work_until_finished(&mut paged, &pager, 1);
    assert_eq!(paged.watched_mappings(), 0);
    assert_eq!(paged.victim.open_files(), files, "a descriptor stayed open");
    let mut tracer = Tracer::attach(paged.victim.pid(), &paged.ram).unwrap();
    pager.finish().unwrap();
    paged.victim.order("spoil 3 4");
    let mut written = paged.some(run(0, 0));
    tracer.collect(&mut written).unwrap();
    assert_eq!(written, paged.some(run(3, 4)), "it can be moved on, and is traced for that");
    assert!(paged.victim.finish().success());
}

#[test]
fn a_fault_tells_page_thread_and_way_and_is_told_once() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    assert_eq!(pager.next_fault(Duration::ZERO).unwrap(), None);
    paged.victim.begin("touch 5 6");
    let fault = pager.next_fault(LONG).unwrap().unwrap();
    assert_eq!((fault.pages, fault.write), (run(5, 6), false));
    let threads = format!("/proc/{}/task", paged.victim.pid().as_raw_pid());
    assert!(fs::exists(format!("{threads}/{}", fault.thread)).unwrap());
    assert_eq!(pager.waited_for().iter().collect::<Vec<_>>(), [PageIndex(5)]);
    assert_eq!(deliver(&pager, run(0, 10)).unwrap(), 10);
    assert!(pager.waited_for().is_empty());
    paged.victim.expect("done");
    assert_eq!(deliver(&pager, run(0, 12)).unwrap(), 2);
    paged.victim.begin("spoil 20 21");
    let fault = pager.next_fault(LONG).unwrap().unwrap();
    assert_eq!((fault.pages, fault.write), (run(20, 21), true));
}

#[test]
fn the_kernel_waits_on_behalf_of_the_process() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    for (order, page, write) in
        [("send 8", 8, false), ("receive 17", 17, true), ("direct 26", 26, true)]
    {
        paged.victim.begin(&format!("{order} {}", page + 1));
        let fault = pager.next_fault(LONG).unwrap().unwrap();
        assert_eq!(fault.pages, run(page, page + 1), "{order}");
        assert_eq!(deliver(&pager, fault.pages).unwrap(), 1);
        if paged.victim.next_line().starts_with("SKIP") {
            println!("SKIP: no direct I/O where this program lies");
            paged.victim.expect("done");
        } else {
            assert_eq!(fault.write, write, "{order}");
        }
    }
}

#[test]
fn who_waits_at_a_second_mapping_is_woken_as_well() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    while_answered(&pager, || paged.victim.order(&format!("again {} {PAGES}", PAGES / 2)));
    // What was pushed without a fault is found there, too.
    deliver(&pager, run(0, PAGES)).unwrap();
    pager.finish().unwrap();
    paged.victim.order("check");
}

#[test]
fn a_late_page_does_not_undo_a_write() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    deliver(&pager, run(0, 100)).unwrap();
    paged.victim.order("spoil 40 41");
    assert_eq!(deliver(&pager, run(30, 110)).unwrap(), 10);
    let mut found = vec![0; PAGE];
    paged.ram.read(run(40, 41), &mut found).unwrap();
    assert_eq!(found, [0x77; PAGE]);
}

#[test]
fn zero_pages_take_no_memory_until_they_are_touched() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    assert_eq!(pager.fill_zero(run(0, 1000)).unwrap(), Pages::new(1000));
    assert!(paged.ram.populated().unwrap().is_empty());
    paged.victim.begin("touch 10 13");
    // Nothing is told of them, but who asks for faults lets them go on.
    let ((), faults) = while_answered(&pager, || paged.victim.expect("done"));
    assert_eq!(faults, 0);
    assert_eq!(paged.ram.populated().unwrap().ranges().collect::<Vec<_>>(), [run(10, 13)]);
    // Who waits already is let go on at once.
    paged.victim.begin("touch 1003 1004");
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages, run(1003, 1004));
    assert_eq!(pager.fill_zero(run(1000, PAGES)).unwrap(), Pages::new(PAGES - 1000));
    paged.victim.expect("done");
    pager.finish().unwrap();
}

#[test]
fn a_page_given_back_by_the_guest_is_zero_and_not_asked_for() {
    let mut paged = Paged::start();
    let pager = paged.attach(&paged.all());
    deliver(&pager, run(0, 100)).unwrap();
    paged.victim.order("drop 40 42");
    let ((), faults) = while_answered(&pager, || paged.victim.order("touch 40 41"));
    assert_eq!(faults, 0);
    assert_eq!(deliver(&pager, run(40, 42)).unwrap(), 0);
    assert!(paged.ram.is_zero(PageIndex(40)).unwrap());
}
