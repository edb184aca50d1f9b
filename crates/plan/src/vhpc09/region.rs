//! Which pages of a machine are moved: those that the server maps.

use std::str::FromStr;

use punctual_trace::{About, Content, Scan, Trace};
use punctual_units::{MemoryLayout, PageIndex, PageRange, PageSet, Pages, Probability, Region};
use thiserror::Error;

use super::PAGES;

/// The pages that a server maps, as `guests/streaming/mapped-pages` lists them: its own, and those
/// of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedPages {
    own: Vec<PageRange>,
    files: Vec<PageRange>,
}

/// Why something is no list of mapped pages.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MappedPagesError {
    /// A line is neither a heading nor a run.
    #[error(
        "line {line} of the mapped pages, `{text}`, is neither `anonymous N`, `file N` nor FIRST..END"
    )]
    Line {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A page that the trace's machine does not have.
    #[error("page {0} is mapped, but the trace is of a machine of {pages} pages; name the pages of this trace", pages = .1.get())]
    Outside(u64, Pages),
    /// No page.
    #[error("no page is mapped; name a file that lists some")]
    Empty,
}

impl FromStr for MappedPages {
    type Err = MappedPagesError;

    fn from_str(text: &str) -> Result<Self, MappedPagesError> {
        let mut mapped = Self { own: vec![], files: vec![] };
        let mut of_files = false;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            match line.split_whitespace().next() {
                None => {}
                Some("anonymous") => of_files = false,
                Some("file") => of_files = true,
                Some(run) => {
                    let wrong =
                        || MappedPagesError::Line { line: index + 1, text: line.to_owned() };
                    let run = run_of(run).ok_or_else(wrong)?;
                    if of_files { mapped.files.push(run) } else { mapped.own.push(run) }
                }
            }
        }
        if mapped.own.is_empty() && mapped.files.is_empty() {
            return Err(MappedPagesError::Empty);
        }
        Ok(mapped)
    }
}

fn run_of(text: &str) -> Option<PageRange> {
    let (start, end) = text.split_once("..")?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start < end).then(|| PageRange::new(start, end))
}

impl MappedPages {
    /// Checks that a trace has all of them.
    ///
    /// # Errors
    /// It is of a smaller machine.
    pub fn check(&self, trace: &Trace) -> Result<(), MappedPagesError> {
        let pages = trace.about().layout.pages();
        let last = self.own.iter().chain(&self.files).map(|run| run.end.0).max();
        match last {
            Some(end) if end > pages.get() => Err(MappedPagesError::Outside(end - 1, pages)),
            _ => Ok(()),
        }
    }

    /// Up to the published number of pages: the server's own first.
    pub(super) fn region(&self) -> Vec<u64> {
        let pages = self.own.iter().chain(&self.files).flat_map(|run| run.iter());
        let mut region: Vec<_> = pages.map(|page| page.0).take(PAGES.get() as usize).collect();
        region.sort_unstable();
        region.dedup();
        region
    }
}

/// Up to the published number of pages: those found written most often first, then populated ones.
pub(super) fn hottest(trace: &Trace) -> Vec<u64> {
    let mut seen = vec![0_u32; trace.about().layout.pages().get() as usize];
    for run in trace.scans().iter().flat_map(|scan| &scan.written) {
        for count in &mut seen[run.start.0 as usize..run.end.0 as usize] {
            *count += 1;
        }
    }
    let there = |page: u64| trace.about().populated.contains(PageIndex(page));
    let mut region: Vec<_> =
        (0..seen.len() as u64).filter(|page| seen[*page as usize] > 0 || there(*page)).collect();
    region.sort_by_key(|page| std::cmp::Reverse(seen[*page as usize]));
    region.truncate(PAGES.get() as usize);
    region.sort_unstable();
    region
}

/// The trace of these pages alone, which rise, as a machine of their number.
pub(super) fn restrict(trace: &Trace, region: &[u64]) -> Trace {
    let pages = Pages::new(region.len().max(1) as u64);
    let scans = trace
        .scans()
        .iter()
        .map(|scan| Scan { at: scan.at, written: renumbered(&scan.written, region) });
    let layout = vec![Region { name: "server".to_owned(), size: pages.bytes() }];
    let about = About {
        layout: MemoryLayout::new(layout).expect("there is at least one page"),
        populated: PageSet::full(pages),
        direct_io: false,
        content: Content { zero: Probability::ZERO, first: 4096.0, again: 4096.0 },
        ..trace.about().clone()
    };
    Trace::new(about, scans.collect()).expect("a part of a trace is a trace")
}

fn renumbered(runs: &[PageRange], region: &[u64]) -> Vec<PageRange> {
    let mut found: Vec<PageRange> = Vec::new();
    for run in runs {
        let [start, end] = [run.start.0, run.end.0]
            .map(|page| region.partition_point(|member| *member < page) as u64);
        match found.last_mut() {
            Some(last) if last.end.0 == start && start < end => last.end = PageIndex(end),
            _ if start < end => found.push(PageRange::new(start, end)),
            _ => {}
        }
    }
    found
}
