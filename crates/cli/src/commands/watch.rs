//! `punctual watch`

use std::collections::BTreeMap;
use std::process::ExitCode;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use punctual_host::api::{Id, Migration};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{daemon, output, progress};

/// Follows all migrations until Ctrl-C or the end of the daemon.
pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let mut events = daemon::client(global)?.watch().await?;
    let mut live = Live::default();
    while let Some(migration) = events.next().await? {
        if global.json {
            output::json_line(&migration)?;
        } else if let Some(ended) = live.show(&migration) {
            output::line(ended)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each migration that is under way. Nothing is drawn where there is no terminal.
#[derive(Default)]
struct Live {
    screen: MultiProgress,
    lines: BTreeMap<Id, ProgressBar>,
}

impl Live {
    /// Shows a migration, or returns the line to print for good if it has ended.
    fn show(&mut self, migration: &Migration) -> Option<String> {
        if let Some(report) = &migration.report {
            if let Some(line) = self.lines.remove(&migration.id) {
                line.finish_and_clear();
            }
            return Some(output::ending(report));
        }
        let screen = &self.screen;
        let line = self.lines.entry(migration.id).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is sound");
            screen.add(ProgressBar::new_spinner().with_style(style))
        });
        let Migration { machine, to, progress, .. } = migration;
        let state = progress.as_ref().map_or_else(
            || "begins".to_owned(),
            |look| format!("{}, {}", look.phase, progress::describe(look)),
        );
        line.set_message(format!("{machine} → {to}  {state}"));
        None
    }
}
