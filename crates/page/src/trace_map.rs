//! Which pages were written when, as a map: time to the right, pages downwards.

use std::fmt::Write;
use std::time::Duration;

use punctual_trace::{Interval, Trace};
use punctual_units::{PageRange, PageSet};

/// The most cells in either direction.
const COLUMNS: usize = 300;
const ROWS: usize = 200;
/// A cell on the page, in units of the picture.
const CELL: (f64, f64) = (2.8, 1.8);
/// Room for the axis.
const LEFT: f64 = 60.0;
const BELOW: f64 = 40.0;

/// From hardly to wholly written, light to dark: readable without colours too.
const SHADES: [&str; 7] =
    ["#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08306b"];
/// Cells up to this share of pages written have the shade of the same place.
const BOUNDS: [f64; SHADES.len()] = [0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0];

/// The shares of pages written, by row and column.
pub(crate) struct Map {
    columns: usize,
    duration: Duration,
    rows: Vec<Vec<f64>>,
    /// The pages that have a place on the map, and how many each row has (the last perhaps fewer).
    pages: u64,
    pages_a_row: u64,
}

impl Map {
    /// The map of all pages that were written at all, in the order of their addresses.
    pub(crate) fn of(trace: &Trace) -> Self {
        let written = trace.written();
        let pages = written.len().get();
        let pages_a_row = pages.div_ceil(ROWS as u64).max(1);
        let rows = pages.div_ceil(pages_a_row) as usize;
        let columns = COLUMNS.min(trace.scans().len()).max(1);
        let duration = trace.duration();
        let mut map =
            Self { columns, duration, rows: vec![vec![0.0; columns]; rows], pages, pages_a_row };
        let places = Places::of(&written);
        for interval in trace.intervals() {
            map.add(&interval, &places);
        }
        map
    }

    /// An interval counts for each column by the share of the column that it covers.
    fn add(&mut self, interval: &Interval<'_>, places: &Places) {
        let mut found = vec![0_u64; self.rows.len()];
        for run in interval.written {
            let (mut at, end) = places.of_run(*run);
            while at < end {
                let row = at / self.pages_a_row;
                let next = end.min((row + 1) * self.pages_a_row);
                found[row as usize] += next - at;
                at = next;
            }
        }
        let column = self.duration.as_secs_f64() / self.columns as f64;
        let (from, to) = (interval.from.as_secs_f64() / column, interval.to.as_secs_f64() / column);
        for index in from as usize..(to.ceil() as usize).min(self.columns) {
            let covered = to.min(index as f64 + 1.0) - from.max(index as f64);
            for (row, found) in found.iter().enumerate().filter(|(_, found)| **found > 0) {
                let has = self.pages_a_row.min(self.pages - row as u64 * self.pages_a_row);
                self.rows[row][index] += covered * *found as f64 / has as f64;
            }
        }
    }

    /// The map as one `<svg>` element: one path for each shade, neighbours in a row joined.
    pub(crate) fn svg(&self) -> String {
        let mut paths = vec![String::new(); SHADES.len()];
        for (row, shares) in self.rows.iter().enumerate() {
            let shades: Vec<_> = shares.iter().map(|share| shade(*share)).collect();
            let mut column = 0;
            for run in shades.chunk_by(|a, b| a == b) {
                if let Some(shade) = run[0] {
                    let length = run.len();
                    // Writing to text cannot fail.
                    let _ = write!(paths[shade], "M{column} {row}h{length}v1h-{length}z");
                }
                column += run.len();
            }
        }
        let (width, height) = (CELL.0 * COLUMNS as f64, CELL.1 * ROWS as f64);
        let (across, down) = (width / self.columns as f64, height / self.rows.len().max(1) as f64);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"pages written over time\">\
             <rect x=\"{LEFT}\" width=\"{width}\" height=\"{height}\" fill=\"#fff\" stroke=\"#e2e5ea\"/>\
             <g transform=\"translate({LEFT} 0) scale({across:.4} {down:.4})\" shape-rendering=\"crispEdges\">",
            LEFT + width + 8.0,
            height + BELOW
        );
        for (path, colour) in paths.iter().zip(SHADES).filter(|(path, _)| !path.is_empty()) {
            let _ = write!(svg, "<path fill=\"{colour}\" d=\"{path}\"/>");
        }
        svg.push_str("</g>");
        self.axes(&mut svg, width, height);
        svg + "</svg>"
    }

    fn axes(&self, svg: &mut String, width: f64, height: f64) {
        const TICKS: u32 = 6;
        let text = "font-size=\"12\" font-family=\"sans-serif\" fill=\"#3c4048\"";
        for tick in 0..=TICKS {
            let part = f64::from(tick) / f64::from(TICKS);
            let (x, at) = (LEFT + part * width, part * self.duration.as_secs_f64());
            let y = height + 16.0;
            let _ = write!(
                svg,
                "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\" {text}>{at:.1}</text>"
            );
            let (y, page) = ((part * height).max(11.0), part * self.pages as f64);
            let x = LEFT - 6.0;
            let _ = write!(
                svg,
                "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"end\" {text}>{page:.0}</text>"
            );
        }
        let (x, y) = (LEFT + width / 2.0, height + 34.0);
        let _ = write!(
            svg,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\" {text}>time [s]</text>"
        );
    }
}

/// The shades with what they stand for.
pub(crate) fn legend() -> impl Iterator<Item = (&'static str, String)> {
    let named = |bound: &f64| format!("up to {:.0} %", bound * 100.0);
    SHADES.into_iter().zip(BOUNDS.each_ref().map(named))
}

fn shade(share: f64) -> Option<usize> {
    (share > 0.0).then(|| BOUNDS.partition_point(|bound| *bound < share).min(SHADES.len() - 1))
}

/// The place of each written page among all that were written.
struct Places {
    /// The first page of each run of written pages, and how many lie before it.
    runs: Vec<(u64, u64)>,
}

impl Places {
    fn of(written: &PageSet) -> Self {
        let mut before = 0;
        let runs = written.ranges().map(|run| {
            let place = (run.start.0, before);
            before += run.len().get();
            place
        });
        Self { runs: runs.collect() }
    }

    /// The places of a run, which lies inside one run of all that were written.
    fn of_run(&self, run: PageRange) -> (u64, u64) {
        let index = self.runs.partition_point(|(start, _)| *start <= run.start.0) - 1;
        let (start, before) = self.runs[index];
        let first = before + run.start.0 - start;
        (first, first + run.len().get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::traced;

    #[test]
    fn each_cell_has_its_share() {
        // Of the 8 pages that are written at all, 4 in each of the first five intervals.
        let (early, late) = ([PageRange::new(0, 4)], [PageRange::new(100, 104)]);
        let trace = traced(&[(100, &early[..]); 5], &[(500, &late)]);
        let map = Map::of(&trace);
        assert_eq!((map.columns, map.pages, map.pages_a_row, map.rows.len()), (6, 8, 1, 8));
        for column in 0..3 {
            assert!((map.rows[0][column] - 1.0).abs() < 1e-9, "{:?}", map.rows[0]);
            assert!((map.rows[7][column + 3] - 1.0).abs() < 1e-9, "{:?}", map.rows[7]);
            assert_eq!((map.rows[7][column], map.rows[0][column + 3]), (0.0, 0.0));
        }
        let svg = map.svg();
        assert_eq!(svg.matches("<path").count(), 1, "all cells are full or empty");
        assert!(svg.contains("M0 0h3v1h-3z") && svg.contains("M3 7h3v1h-3z"), "{svg}");
    }

    #[test]
    fn the_map_of_much_is_no_larger_than_the_screen() {
        let scan = [PageRange::new(0, 100_000)];
        let trace = traced(&vec![(1, &scan[..]); 2000], &[]);
        let map = Map::of(&trace);
        assert!(map.rows.len() <= ROWS && map.columns <= COLUMNS);
        assert!(map.rows.iter().flatten().all(|share| (share - 1.0).abs() < 1e-6));
    }

    #[test]
    fn shares_have_shades() {
        assert_eq!(shade(0.0), None);
        assert_eq!(shade(0.001), Some(0));
        assert_eq!(shade(1.0), Some(SHADES.len() - 1));
        assert_eq!(shade(1.1), Some(SHADES.len() - 1), "rounding does no harm");
    }
}
