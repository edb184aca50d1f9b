//! A trace as people read it, and as JSON.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use punctual_trace::{Content, Trace};
use punctual_units::{Bytes, Pages, Probability};
use serde::Serialize;

/// The windows whose working sets the table has, of those of the curve.
const WINDOWS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(100),
];

/// What `--json` prints of a trace.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    machine: &'a str,
    recorded_at: u64,
    duration_s: f64,
    scans: usize,
    memory: Bytes,
    populated: Bytes,
    direct_io: bool,
    guest_cost: Probability,
    content: Content,
    written_pages: Pages,
    found_pages_per_s: f64,
    working_set: Vec<Point>,
    heat: Vec<Class>,
}

/// One point of the working-set curve.
#[derive(Debug, Serialize)]
struct Point {
    window_ms: f64,
    windows: usize,
    mean_pages: f64,
    most_pages: Pages,
}

/// Pages found written in more than the share `above` of the scans, and at most in that of `to`.
#[derive(Debug, Serialize)]
struct Class {
    above: Probability,
    to: Probability,
    pages: Pages,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(trace: &'a Trace) -> Self {
        let about = trace.about();
        let points = trace.working_set_curve().into_iter().map(|set| Point {
            window_ms: set.length.as_secs_f64() * 1e3,
            windows: set.windows,
            mean_pages: set.mean,
            most_pages: set.most,
        });
        let classes = trace.heat_classes().into_iter();
        Self {
            machine: &about.machine,
            recorded_at: about.recorded_at,
            duration_s: trace.duration().as_secs_f64(),
            scans: trace.scans().len(),
            memory: about.layout.pages().bytes(),
            populated: about.populated.len().bytes(),
            direct_io: about.direct_io,
            guest_cost: about.guest_cost,
            content: about.content,
            written_pages: trace.written().len(),
            found_pages_per_s: trace.write_rate(),
            working_set: points.collect(),
            heat: classes
                .map(|class| Class { above: class.above, to: class.to, pages: class.pages })
                .collect(),
        }
    }
}

/// A trace in few lines.
pub(crate) fn table(trace: &Trace) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    let about = trace.about();
    let mut row = |name: &str, value: String, more: String| {
        table.add_row([name.to_owned(), value, more]);
    };
    let scans = format!("in {} scans", trace.scans().len());
    row(&about.machine, format!("{:.1} s", trace.duration().as_secs_f64()), scans);
    row("memory", about.layout.pages().bytes().to_string(), String::new());
    let zero = format!("{} of it all zero", percent(about.content.zero));
    row("  populated", about.populated.len().bytes().to_string(), zero);
    row("  written", trace.written().len().bytes().to_string(), String::new());
    row("writes found", format!("{:.0} pages/s", trace.write_rate()), String::new());
    row("working set", String::new(), "most".to_owned());
    for set in trace.working_set_curve().iter().filter(|set| WINDOWS.contains(&set.window)) {
        let most = set.most.bytes().to_string();
        row(&format!("  in {}", window(set.window)), mebibytes(set.mean), most);
    }
    row("found written in", String::new(), String::new());
    for class in trace.heat_classes().iter().rev() {
        let share = match class.above.get() {
            0.0 => format!("  up to {} of the scans", percent(class.to)),
            _ => format!("  {} to {}", percent(class.above), percent(class.to)),
        };
        row(&share, class.pages.bytes().to_string(), String::new());
    }
    row(
        "packed page",
        format!("{:.0} B first", about.content.first),
        format!("{:.0} B again", about.content.again),
    );
    row("cost to the guest", percent(about.guest_cost), "estimated".to_owned());
    if about.direct_io {
        row("direct I/O", "yes".to_owned(), "what disks write may be missing".to_owned());
    }
    let column = table.column_mut(1).expect("the table has three columns");
    column.set_cell_alignment(CellAlignment::Right);
    table
}

/// A share as people read it.
pub(crate) fn percent(share: Probability) -> String {
    let hundredths = share.get() * 100.0;
    if hundredths == hundredths.round() {
        format!("{hundredths:.0} %")
    } else {
        format!("{hundredths:.2} %")
    }
}

fn window(time: Duration) -> String {
    match time.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        _ => format!("{} s", time.as_secs()),
    }
}

fn mebibytes(pages: f64) -> String {
    format!("{:.1} MiB", pages * Pages::new(1).bytes().get() as f64 / Bytes::mib(1).get() as f64)
}

#[cfg(test)]
mod tests {
    use punctual_trace::{About, Scan};
    use punctual_units::{MemoryLayout, PageRange, PageSet, Region};

    use super::*;

    fn trace() -> Trace {
        let region = Region { name: "ram0".to_owned(), size: Bytes::mib(64) };
        let layout = MemoryLayout::new(vec![region]).unwrap();
        let about = About {
            machine: "web".to_owned(),
            populated: PageSet::full(layout.pages()),
            layout,
            direct_io: true,
            content: Content { again: 345.4, ..Content::UNKNOWN },
            recorded_at: 7,
            guest_cost: Probability::saturating(0.0123),
        };
        let scans = (1..=20).map(|scan| Scan {
            at: Duration::from_millis(100) * scan,
            written: vec![PageRange::new(0, 512)],
        });
        Trace::new(about, scans.collect()).unwrap()
    }

    #[test]
    fn the_table_has_working_set_heat_and_cost() {
        let table = table(&trace()).to_string();
        for expected in ["2.0 s", "in 100 ms", "2.0 MiB", "90 % to 100 %", "1.23 %", "345 B again"]
        {
            assert!(table.contains(expected), "{expected} in\n{table}");
        }
        assert!(!table.contains("in 10 ms"), "it was never scanned so soon:\n{table}");
    }

    #[test]
    fn json_has_units_in_its_names() {
        let trace = trace();
        let json = serde_json::to_value(Shown::of(&trace)).unwrap();
        assert_eq!(json["duration_s"], 2.0);
        assert_eq!(json["written_pages"], 512);
        assert_eq!(json["found_pages_per_s"], 5120.0);
        assert_eq!(json["working_set"][0]["mean_pages"], 512.0);
        assert_eq!(json["heat"].as_array().unwrap().last().unwrap()["pages"], 512);
    }
}
