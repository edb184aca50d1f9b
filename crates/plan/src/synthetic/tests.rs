use punctual_units::PageSet;

use super::*;

fn pages_written(text: &str) -> PageSet {
    text.parse::<Synthetic>().unwrap().trace().written()
}

#[test]
fn each_shape_has_a_trace_that_is_the_same_each_time() {
    for shape in Shape::all() {
        let workload = Synthetic { duration: Duration::from_secs(2), ..Synthetic::new(shape) };
        let trace = workload.trace();
        assert_eq!(trace, workload.trace());
        assert_eq!(trace.duration(), Duration::from_secs(2), "{}", shape.name());
        let rate = trace.write_rate();
        assert!(rate > 0.0 && rate <= workload.rate, "{}: {rate}", shape.name());
    }
}

#[test]
fn a_workload_is_what_its_text_says() {
    let workload: Synthetic = "hot-cold:memory=4GiB,set=512MiB,rate=20000,share=1".parse().unwrap();
    assert_eq!((workload.memory, workload.rate), (Bytes::mib(4096), 20_000.0));
    assert_eq!(workload.shape, Shape::HotCold { share: Probability::ONE });
    assert_eq!(workload.to_string(), "hot-cold:memory=4GiB,set=512MiB,rate=20000");
    assert_eq!("idle".parse(), Ok(Synthetic::new(Shape::Idle)));
}

#[test]
fn writes_stay_in_their_set() {
    let set = Bytes::mib(4).pages();
    for text in ["uniform:set=4MiB", "sweep:set=4MiB", "zipf:set=4MiB", "phases:set=4MiB"] {
        let written = pages_written(text);
        assert!(written.len() <= set, "{text}: {written:?}");
        assert!(written.len().get() * 10 >= set.get() * 9, "{text}: {written:?}");
    }
    assert!(pages_written("hot-cold:set=4MiB").len() > set);
    assert_eq!(pages_written("sweep:set=4MiB").ranges().count(), 1);
}

#[test]
fn quiet_phases_are_quiet() {
    let trace = "phases:busy=1s,quiet=1s,for=4s".parse::<Synthetic>().unwrap().trace();
    let rate =
        |from, to| trace.slice(Duration::from_secs(from)..Duration::from_secs(to)).write_rate();
    assert!(rate(0, 1) > 5.0 * rate(1, 2) && rate(2, 3) > 5.0 * rate(3, 4));
}

#[test]
fn what_is_wrong_is_told_with_what_would_be_right() {
    let error = |text: &str| text.parse::<Synthetic>().unwrap_err().to_string();
    assert_eq!(
        error("wild"),
        "there is no workload `wild`: there are idle, uniform, hot-cold, zipf, sweep, phases"
    );
    assert!(error("zipf:rate").contains("write KEY=VALUE"));
    assert!(error("sweep:share=1").contains("`sweep` has no `share`: it has memory, set"));
    assert!(error("phases:share=1").contains("again, seed, busy, quiet"));
    assert_eq!(error("uniform:set=2GiB"), "a set of 2 GiB does not fit into a memory of 1 GiB");
    assert!(error("uniform:memory=much").contains("memory: `much` is not a size"));
    assert!(error("uniform:rate=-1").contains("`-1` is not a number of writes a second"));
    assert!(error("uniform:rate=1e7,for=1h").contains("ask for less"));
    assert!(error("uniform:set=0").contains("does not fit"));
}
