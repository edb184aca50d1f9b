use punctual_trace::Scan;

use super::*;
use crate::synthetic::Synthetic;

/// A server that writes some of its pages all the time, and others now and then.
fn streaming() -> Trace {
    "zipf:memory=27MiB,set=6MiB,rate=3000,exponent=1.1,for=20s"
        .parse::<Synthetic>()
        .unwrap()
        .trace()
}

#[test]
fn the_published_table_has_ours_beside_it() {
    let ours = reproduce(&streaming(), None);
    assert_eq!((ours.pages, ours.rows.len(), ours.claims.len()), (PAGES, 12, 3));
    let row = |rounds, variant| {
        ours.rows.iter().find(|row| row.rounds == rounds && row.variant == variant).unwrap()
    };
    let (standard, lru) = (row(1, Variant::Standard), row(1, Variant::Lru));
    assert_eq!(standard.published.unwrap().downtime, Duration::from_millis(570));
    // A round of all pages takes 4.26 s; what was written meanwhile comes on top.
    let total = standard.ours.total - standard.ours.downtime;
    assert!(
        total > Duration::from_millis(4259) && total < Duration::from_millis(4300),
        "{total:?}"
    );
    assert!(lru.ours.downtime < standard.ours.downtime, "{lru:?} {standard:?}");
    assert!(standard.range.0 <= standard.range.1 && standard.left.get() > 0);
    let published: Vec<_> =
        ours.claims.iter().map(|claim| (claim.published * 100.0).round()).collect();
    assert_eq!(published, [47.0, 19.0, 27.0]);
}

#[test]
fn a_server_without_writes_stops_for_nothing() {
    let idle = "idle:memory=32MiB,rate=0,for=5s".parse::<Synthetic>().unwrap().trace();
    let ours = reproduce(&idle, None);
    assert!(ours.rows.iter().all(|row| row.ours.downtime < Duration::from_millis(1)));
}

#[test]
fn mapped_pages_are_read_and_those_of_the_server_come_first() {
    let mapped: MappedPages = "anonymous 3\n10..12\n20..21\nfile 2\n1..3\n".parse().unwrap();
    assert_eq!(mapped.region(), [1, 2, 10, 11, 20]);
    let trace = streaming();
    assert_eq!(mapped.check(&trace), Ok(()));
    let many: MappedPages = "anonymous 9000\n0..9000".parse().unwrap();
    assert_eq!(many.region().len(), 6500);
    let error = many.check(&trace).unwrap_err().to_string();
    assert!(
        error.contains("page 8999 is mapped, but the trace is of a machine of 6912"),
        "{error}"
    );
    let error = "anonymous 1\n7".parse::<MappedPages>().unwrap_err().to_string();
    assert!(error.starts_with("line 2 of the mapped pages, `7`"), "{error}");
    assert_eq!("file 0".parse::<MappedPages>(), Err(MappedPagesError::Empty));
}

#[test]
fn a_trace_is_restricted_to_the_pages_of_the_server() {
    use punctual_units::PageRange;
    let about = streaming().about().clone();
    let scan = Scan {
        at: Duration::from_secs(1),
        written: vec![PageRange::new(0, 15), PageRange::new(20, 30)],
    };
    let trace = Trace::new(about, vec![scan]).unwrap();
    let restricted = region::restrict(&trace, &[3, 4, 16, 20, 29, 40]);
    assert_eq!(restricted.about().layout.pages(), Pages::new(6));
    assert_eq!(restricted.scans()[0].written, [PageRange::new(0, 2), PageRange::new(3, 5)]);
}
