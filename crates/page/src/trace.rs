//! The page of one trace.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use punctual_model::Heat;
use punctual_trace::Trace;
use punctual_units::{Bytes, Pages};

use crate::chart::{BLUE, Chart, ChartError, GREEN, ORANGE, Series, Style};
use crate::head::head;
use crate::migration::drawn;
use crate::trace_map::{Map, legend};

/// The slots for which the distribution of π is shown.
const SLOTS: [(Duration, &str); 3] = [
    (Duration::from_millis(10), "within 10 ms"),
    (Duration::from_millis(100), "within 100 ms"),
    (Duration::from_secs(1), "within 1 s"),
];
/// The steps of π in a distribution.
const STEPS: u32 = 50;

/// The page of one trace: what was recorded and at what cost, which pages were written when, the
/// working set over windows of all lengths, the rate of writing, and how probable it is for how many
/// pages to be written soon.
///
/// # Errors
/// A chart could not be drawn.
pub fn trace(trace: &Trace) -> Result<String, ChartError> {
    let title = format!(
        "{}: page writes over {:.1} s",
        trace.about().machine,
        trace.duration().as_secs_f64()
    );
    let working_set = drawn(&working_set(trace))?;
    let rate = drawn(&rate(trace))?;
    let probabilities = drawn(&probabilities(trace))?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header { h1 { (title) } }
                section { h2 { "What was recorded" } (summary(trace)) }
                section {
                    h2 { "Which pages were written when" }
                    (map(trace))
                    p.note {
                        "Downwards: the pages that were written at all, in the order of their addresses. "
                        "The shade says which share of a cell's pages was written between two scans."
                    }
                }
                section {
                    h2 { "Working set" }
                    (working_set)
                    p.note { "Pages written within a window of this length, each counted once." }
                }
                section {
                    h2 { "Rate of writing" }
                    (rate)
                    p.note {
                        "Each dot is the time between two scans. A page written several times in it counts "
                        "once, so short gaps between scans show more."
                    }
                }
                section {
                    h2 { "How probable a write is" }
                    (probabilities)
                    p.note {
                        "How many pages are written with at least the probability π within a while that "
                        "begins at the end of the trace, by the model."
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn summary(trace: &Trace) -> Markup {
    let about = trace.about();
    let content = about.content;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    html! {
        table {
            tr { th { "memory" } td { (about.layout.pages().bytes()) } }
            tr { th { "of it populated" } td { (about.populated.len().bytes()) } }
            tr { th { "of that all zero" } td { (percent(content.zero.get())) } }
            tr { th { "written at all" } td { (trace.written().len().bytes()) } }
            tr { th { "scans" } td { (trace.scans().len()) } }
            tr { th { "pages found written a second" } td { (format!("{:.0}", trace.write_rate())) } }
            tr { th { "packed, a page sent first" } td { (format!("{:.0} B", content.first)) } }
            tr { th { "packed, a page sent again" } td { (format!("{:.0} B", content.again)) } }
            tr { th { "cost to the guest (estimated)" } td { (percent(about.guest_cost.get())) } }
            tr { th { "disks with direct I/O" } td { (if about.direct_io { "yes" } else { "no" }) } }
        }
    }
}

fn map(trace: &Trace) -> Markup {
    html! {
        ul.legend {
            @for (colour, share) in legend() {
                li { span.swatch style=(format!("background: {colour}")) {} (share) }
            }
        }
        (PreEscaped(Map::of(trace).svg()))
    }
}

fn mebibytes(pages: f64) -> f64 {
    pages * Pages::new(1).bytes().get() as f64 / Bytes::mib(1).get() as f64
}

fn series(name: &str, colour: plotters::style::RGBColor, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), colour, style: Style::Line, points }
}

fn working_set(trace: &Trace) -> Chart<'static> {
    let curve = trace.working_set_curve();
    let points = |of: fn(&punctual_trace::WorkingSet) -> f64| {
        curve.iter().map(|set| (set.length.as_secs_f64(), mebibytes(of(set)))).collect()
    };
    Chart {
        title: "working set",
        x: "length of the window [s]",
        y: "MiB",
        series: vec![
            series("mean", BLUE, points(|set| set.mean)),
            series("most of any window", ORANGE, points(|set| set.most.get() as f64)),
        ],
        marks: vec![],
    }
}

fn rate(trace: &Trace) -> Chart<'static> {
    let points = trace.intervals().map(|interval| {
        let middle = (interval.from + interval.to).as_secs_f64() / 2.0;
        (middle, interval.rate())
    });
    Chart {
        title: "rate of writing",
        x: "time [s]",
        y: "pages a second",
        series: vec![Series {
            name: "distinct pages found a second".to_owned(),
            colour: BLUE,
            style: Style::Dots,
            points: points.collect(),
        }],
        marks: vec![],
    }
}

fn probabilities(trace: &Trace) -> Chart<'static> {
    let mut heat = Heat::new(trace.about().layout.pages());
    for scan in trace.scans() {
        heat.record(scan.at, scan.written.iter().copied());
    }
    let written = trace.written();
    let of_slot = |slot: Duration| {
        let mut at = [0_u64; STEPS as usize + 1];
        for page in written.iter() {
            at[(heat.probability(page, slot).get() * f64::from(STEPS)) as usize] += 1;
        }
        // From the most probable down, summed up.
        let mut least = 0;
        let summed = (0..=STEPS).rev().map(|step| {
            least += at[step as usize];
            (f64::from(step) / f64::from(STEPS), mebibytes(least as f64))
        });
        let mut points: Vec<_> = summed.collect();
        points.reverse();
        points
    };
    let colours = [BLUE, ORANGE, GREEN];
    let slots = SLOTS.into_iter().zip(colours);
    Chart {
        title: "distribution of the probability of a write",
        x: "π at least",
        y: "MiB",
        series: slots.map(|((slot, name), colour)| series(name, colour, of_slot(slot))).collect(),
        marks: vec![],
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use punctual_trace::{About, Content, Scan};
    use punctual_units::{MemoryLayout, PageRange, PageSet, Probability, Region};

    use super::*;

    /// Scans so many milliseconds after each other, with what they found.
    type Scans<'a> = &'a [(u64, &'a [PageRange])];

    /// A trace of these scans and those.
    pub(crate) fn traced(scans: Scans<'_>, more: Scans<'_>) -> Trace {
        let region = Region { name: "ram0".to_owned(), size: Bytes::mib(512) };
        let layout = MemoryLayout::new(vec![region]).unwrap();
        let about = About {
            machine: "<web>".to_owned(),
            populated: PageSet::full(layout.pages()),
            layout,
            direct_io: false,
            content: Content { again: 345.0, ..Content::UNKNOWN },
            recorded_at: 0,
            guest_cost: Probability::saturating(0.0123),
        };
        let mut at = Duration::ZERO;
        let scans = scans.iter().chain(more).map(|(gap, runs)| {
            at += Duration::from_millis(*gap);
            Scan { at, written: runs.to_vec() }
        });
        Trace::new(about, scans.collect()).unwrap()
    }

    #[test]
    fn shows_what_was_recorded() {
        let most = [PageRange::new(0, 256), PageRange::new(1000, 1010)];
        let few = [PageRange::new(0, 8)];
        let page = trace(&traced(&vec![(100, &most[..]); 20], &[(5, &few)])).unwrap();
        for expected in ["&lt;web&gt;", "2.0 s", "345 B", "1.2 %", "within 100 ms"] {
            assert!(page.contains(expected), "{expected}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
    }

    #[test]
    fn a_machine_that_writes_nothing_has_a_page_too() {
        let page = trace(&traced(&[(100, &[])], &[])).unwrap();
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(!page.contains("NaN") && !page.contains("inf"));
        trace(&traced(&[], &[])).unwrap();
    }
}
