//! `punctual lab`

use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use punctual_lab::{HostSpec, Lab, LabHost, LabName, LabSpec, Process, Sharing};

use crate::arguments::{Global, Lab as Said, LabUp};
use crate::failure::Failure;
use crate::output;

/// The port of each host's daemon.
const PORT: u16 = 7070;
/// A daemon that has not opened its socket by then never will.
const START: Duration = Duration::from_secs(10);

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

/// Starts this very program as the daemon of each host, and waits until each answers.
fn start_daemons(lab: &Lab) -> Result<(), Failure> {
    let hosts = lab.hosts();
    let daemons: Result<Vec<_>, _> = hosts.iter().map(|host| start_daemon(lab, host)).collect();
    hosts.iter().zip(&daemons?).try_for_each(|(host, daemon)| wait_for(host, daemon))
}

fn start_daemon(lab: &Lab, host: &LabHost) -> Result<Process, Failure> {
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["host", "--name", host.name.as_str()]);
    command.args(["--listen", &format!("{}:{PORT}", host.address)]);
    command.arg("--socket").arg(&host.socket);
    command.arg("--runtime-dir").arg(host.run_dir.join("daemon"));
    command.arg("--state-dir").arg(host.run_dir.join("state"));
    command.arg("--ram-dir").arg(&host.ram_dir);
    for peer in lab.hosts().iter().filter(|peer| peer.name != host.name) {
        command.args(["--peer", &format!("{}={}:{PORT}", peer.name, peer.address)]);
    }
    lab.spawn(host.name.as_str(), "punctual", command).map_err(failed)
}

fn wait_for(host: &LabHost, daemon: &Process) -> Result<(), Failure> {
    let deadline = Instant::now() + START;
    while let Err(error) = UnixStream::connect(&host.socket) {
        if !daemon.is_running() || Instant::now() > deadline {
            let log = daemon.record().log.display();
            return Err(Failure::failed(
                format!("the daemon of host {} does not answer: {error}", host.name),
                format!("see {log}; then `punctual lab down` removes the lab"),
            ));
        }
        thread::sleep(Duration::from_millis(5));
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
