//! `punctual lab`

use std::process::{Command, ExitCode};

use punctual_lab::scene::start_daemon;
use punctual_lab::{HostSpec, Lab, LabHost, LabName, LabSpec, Sharing};

use crate::arguments::{Global, Lab as Said, LabUp};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(global: &Global, said: Said) -> Result<ExitCode, Failure> {
    match said {
        Said::Up(said) => up(global, said),
        Said::Down { lab } => down(global, &lab.name),
        Said::Exec { lab, place, command } => exec(&lab.name, &place, &command),
    }
}

fn up(global: &Global, said: LabUp) -> Result<ExitCode, Failure> {
    let name = said.lab.name;
    let rate = said.rate.0;
    let lab = Lab::up(&LabSpec {
        name: name.clone(),
        hosts: said.hosts.into_iter().map(|name| HostSpec { name, rate }).collect(),
        client_rate: said.client_rate.0,
        sharing: if said.guests_first { Sharing::GuestsFirst } else { Sharing::OneQueue },
    })
    .map_err(failed)?;
    if !said.no_daemons {
        // If one fails the lab stays, with the log that tells why.
        start_daemons(&lab)?;
    }
    if global.json {
        output::json(lab.state())?;
    } else {
        for host in lab.hosts() {
            output::line(format_args!("host {}  {}  {}", host.name, host.address, rate_of(host)))?;
        }
        output::line(format_args!("client  {}", lab.client().address))?;
        output::line(format_args!("try: punctual lab exec --name {name} a punctual list"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts this very program as the daemon of each host.
fn start_daemons(lab: &Lab) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(failed)?;
    for host in lab.hosts() {
        start_daemon(lab, host.name.as_str(), &program).map_err(|error| {
            let name = &lab.state().name;
            Failure::failed(
                error,
                format!("then `punctual lab down --name {name}` removes the lab"),
            )
        })?;
    }
    Ok(())
}

fn down(global: &Global, name: &LabName) -> Result<ExitCode, Failure> {
    let removed = Lab::take_down(name).map_err(failed)?;
    if global.json {
        output::json(&removed)?
    } else {
        output::line(&removed)?
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends with the program's own exit code.
fn exec(name: &LabName, place: &str, words: &[String]) -> Result<ExitCode, Failure> {
    let lab = Lab::open(name).map_err(failed)?;
    let (program, arguments) = words.split_first().expect("clap demands a program");
    let mut command = Command::new(program);
    command.args(arguments);
    let status = lab.exec(place, command).map_err(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let ended = || Failure::failed(format!("`{program}` was ended by a signal: {status}"), "");
    code.map(ExitCode::from).ok_or_else(ended)
}

fn rate_of(host: &LabHost) -> String {
    host.rate.map_or_else(|| "unshaped".to_owned(), |rate| rate.to_string())
}

/// Every error of a lab tells what to do.
fn failed(error: impl std::error::Error) -> Failure {
    Failure::failed(error, "")
}
