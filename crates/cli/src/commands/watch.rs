//! `punctual watch`

use std::collections::BTreeMap;
use std::process::ExitCode;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use punctual_engine::Phase;
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
        } else if let Some(news) = live.show(&migration) {
            output::line(news)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each migration that is under way, kept up to date on a terminal; elsewhere a new
/// line at each change of phase or round.
#[derive(Default)]
struct Live {
    screen: MultiProgress,
    lines: BTreeMap<Id, ProgressBar>,
    told: BTreeMap<Id, (Phase, u32)>,
}

impl Live {
    /// Shows a migration, or returns the line to print for good.
    fn show(&mut self, migration: &Migration) -> Option<String> {
        if let Some(report) = &migration.report {
            if let Some(line) = self.lines.remove(&migration.id) {
                line.finish_and_clear();
            }
            self.told.remove(&migration.id);
            return Some(output::ending(report));
        }
        let Migration { machine, to, progress, queued, .. } = migration;
        let state = match (queued, progress) {
            (Some(queued), _) => progress::queued(queued),
            (None, Some(look)) => format!("{}, {}", look.phase, progress::describe(look)),
            (None, None) => "begins".to_owned(),
        };
        let text = format!("{machine} → {to}  {state}");
        if self.screen.is_hidden() {
            if queued.is_some() {
                return Some(text);
            }
            let now = progress.as_ref().map(|look| (look.phase, look.round))?;
            let before = self.told.insert(migration.id, now);
            return (before != Some(now)).then_some(text);
        }
        let screen = &self.screen;
        let line = self.lines.entry(migration.id).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is sound");
            screen.add(ProgressBar::new_spinner().with_style(style))
        });
        line.set_message(text);
        None
    }
}
