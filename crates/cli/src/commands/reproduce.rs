//! `punctual reproduce`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::Table;
use punctual_plan::vhpc09::{self, MappedPages, Reproduction, Times};
use punctual_trace::Trace;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output::{self, plain};

/// The trace of a real VLC server, and the pages that it maps, see `docs/traces/README.md`.
const TRACE: &[u8] = include_bytes!("../../../../docs/traces/vlc.trace");
const PAGES: &str = include_str!("../../../../docs/traces/vlc.pages");

#[derive(Debug, Subcommand)]
pub(crate) enum Reproduce {
    /// The downtime of a streaming server by page order, as published at VHPC 2009, beside ours
    Vhpc09(Vhpc09),
}

#[derive(Debug, Args)]
pub(crate) struct Vhpc09 {
    /// Another trace than that of the VLC server which comes with Punctual
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// The pages that its server maps, as `guests/streaming/mapped-pages` lists them [default: those
    /// written most often]
    #[arg(long, value_name = "FILE", requires = "trace")]
    pub(crate) pages: Option<PathBuf>,
    /// Write the table as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

pub(super) fn run(
    global: &Global,
    Reproduce::Vhpc09(said): &Reproduce,
) -> Result<ExitCode, Failure> {
    let (trace, mapped) = input(said)?;
    if let Some(mapped) = &mapped {
        mapped.check(&trace).map_err(|error| Failure::usage(error, ""))?;
    }
    let result = vhpc09::reproduce(&trace, mapped.as_ref());
    if let Some(path) = &said.html {
        let page = punctual_page::vhpc09(&result);
        fs::write(path, page).map_err(|error| {
            Failure::failed(
                format!("{}: {error}", path.display()),
                "name a file that can be written",
            )
        })?;
    }
    if global.json {
        output::json(&result)?;
    } else {
        tell(&result)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn input(said: &Vhpc09) -> Result<(Trace, Option<MappedPages>), Failure> {
    let Some(path) = &said.trace else {
        let trace = Trace::decode(TRACE).expect("the trace that comes with Punctual can be read");
        let pages = PAGES.parse().expect("so can its pages");
        return Ok((trace, Some(pages)));
    };
    let trace = super::trace::read(path)?;
    let pages = said.pages.as_deref().map(mapped_pages).transpose()?;
    Ok((trace, pages))
}

fn mapped_pages(path: &Path) -> Result<MappedPages, Failure> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let hint = "see docs/traces/README.md for what it holds";
    let text = fs::read_to_string(path).map_err(|error| Failure::usage(named(&error), hint))?;
    text.parse().map_err(|error| Failure::usage(named(&error), hint))
}

fn tell(result: &Reproduction) -> Result<(), Failure> {
    output::line(rows(result))?;
    output::line(format_args!(
        "{} pages, {} of them written in {:.0} s; medians over {} moments, least and most in brackets\n",
        result.pages.get(),
        result.written.get(),
        result.trace.as_secs_f64(),
        result.windows
    ))?;
    output::line(claims(result))?;
    for remark in &result.remarks {
        output::line(format_args!("- {remark}"))?;
    }
    Ok(())
}

fn rows(result: &Reproduction) -> Table {
    let mut table = plain();
    table.set_header([
        "K",
        "ORDER",
        "PUBLISHED ms",
        "OURS ms",
        "PUBLISHED s",
        "OURS s",
        "PAGES LEFT",
    ]);
    for row in &result.rows {
        let published =
            |of: fn(&Times) -> String| row.published.as_ref().map_or("-".to_owned(), of);
        table.add_row([
            row.rounds.to_string(),
            row.variant.name().to_owned(),
            published(|times| format!("{:.0}", times.downtime.as_secs_f64() * 1e3)),
            format!(
                "{:.0} ({:.0}–{:.0})",
                row.ours.downtime.as_secs_f64() * 1e3,
                row.range.0,
                row.range.1
            ),
            published(|times| format!("{:.1}", times.total.as_secs_f64())),
            format!("{:.2}", row.ours.total.as_secs_f64()),
            row.left.get().to_string(),
        ]);
    }
    table
}

fn claims(result: &Reproduction) -> Table {
    let mut table = plain();
    table.set_header(["K", "SHORTER BY", "PUBLISHED", "OURS", "WHOLE MOVE", "HOLDS"]);
    for claim in &result.claims {
        table.add_row([
            claim.rounds.to_string(),
            format!("{} than {}", claim.better.name(), claim.than.name()),
            format!("{:.0} %", claim.published * 100.0),
            format!("{:.0} %", claim.ours * 100.0),
            format!("{:.1} %", claim.total * 100.0),
            if claim.holds { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}
