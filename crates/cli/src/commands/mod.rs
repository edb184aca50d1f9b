//! One module for each command.

mod attach;
mod bench;
mod bench_busy;
mod bench_local;
mod bench_modes;
mod bench_predict;
mod cancel;
pub(crate) mod chaos;
mod completions;
mod demo;
mod host;
mod lab;
mod lasting;
mod list;
mod man;
mod migrate;
mod plan;
mod recover;
pub(crate) mod reproduce;
mod run;
mod show;
pub(crate) mod simulate;
mod snapshots;
mod stop;
pub(crate) mod trace;
mod upgrade;
mod watch;

use std::future::Future;
use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

/// Carries out what was said.
pub(crate) fn run(Arguments { global, command }: Arguments) -> Result<ExitCode, Failure> {
    match command {
        Command::Host(said) => host::run(&global, said),
        Command::Run(said) => ask(run::run(&global, &said)),
        Command::Attach(said) => ask(attach::run(&global, said)),
        Command::List => ask(list::run(&global)),
        Command::Show(said) => ask(show::run(&global, &said.name)),
        Command::Stop(said) => ask(stop::run(&global, &said.name)),
        Command::Recover(said) => ask(recover::run(&global, said)),
        Command::Plan(said) => ask(plan::run(&global, said)),
        Command::Migrate(said) => ask(migrate::run(&global, said)),
        Command::Upgrade(said) => ask(upgrade::run(&global, said)),
        Command::Cancel(said) => ask(cancel::run(&global, &said.name)),
        Command::Suspend(said) => ask(snapshots::suspend(&global, &said)),
        Command::Resume(said) => ask(snapshots::resume(&global, &said)),
        Command::Clone(said) => ask(snapshots::clone(&global, &said)),
        Command::Trace(said) => trace::run(&global, said),
        Command::Simulate(said) => simulate::run(&global, &said),
        Command::Reproduce(said) => reproduce::run(&global, &said),
        Command::Watch => ask(watch::run(&global)),
        Command::Lab(said) => lab::run(&global, said),
        Command::Demo(said) => demo::run(&global, said),
        Command::Bench(said) => bench::run(&global, said),
        Command::Chaos(said) => chaos::run(&global, &said),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { directory } => man::run(&directory),
    }
}

/// Runs what asks the daemon and needs nothing but sockets, timers and Ctrl-C.
fn ask(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error, "free some file descriptors"))?;
    runtime.block_on(work)
}
