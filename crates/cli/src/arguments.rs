//! What may be said on the command line. Help, man pages and completions come from here.

mod bench;
mod bench_predict;
mod moving;
mod snapshots;
mod upgrade;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use punctual_units::{BytesPerSecond, Probability, parse};

pub(crate) use bench::{Bench, BenchBusy, BenchLocal, BenchMigrate, BenchModes, OtherBench};
pub(crate) use bench_predict::BenchPredict;
pub(crate) use moving::{Limits, Migrate, Plan};
pub(crate) use snapshots::{CloneMachine, Resume, Suspend};
pub(crate) use upgrade::Upgrade;

/// Moves running virtual machines between hosts, on time
///
/// Punctual works from outside an unmodified QEMU: it traces which pages the machine writes, copies
/// its RAM while it runs, stops it for some milliseconds, and lets it go on at the other host.
#[derive(Debug, Parser)]
#[command(name = "punctual", version, propagate_version = true, after_long_help = AFTER_HELP)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  2    usage: the command line or a specification is wrong
  3    refused: not possible as things are; nothing has changed
  4    failed: it was tried and did not work
  5    cancelled: the machine runs on at the source
  130  left with Ctrl-C

Files:
  /run/punctual/NAME      control socket, QMP sockets and pid files of host NAME
  /var/lib/punctual/NAME  its journal and machine records
  /dev/shm/punctual/NAME  the RAM of its machines";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The daemon's control socket [default: that of the only daemon on this machine]
    #[arg(long, global = true, env = "PUNCTUAL_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be the daemon of one host
    Host(Host),
    /// Start a machine whose RAM can be migrated
    Run(Run),
    /// Adopt a machine that something else started
    Attach(Attach),
    /// List the machines of the host
    List,
    /// Show all that is known of a machine
    Show(Machine),
    /// End a machine
    Stop(Machine),
    /// Seek the destination of a machine whose pages follow it, where the link was lost
    Recover(Recover),
    /// Tell what each way of moving a machine would do, and which one is best
    Plan(Plan),
    /// Move a running machine to another host
    Migrate(Migrate),
    /// Write a running machine to a file, and end it
    ///
    /// The machine is written while it runs, and stopped only for what is left then. It ends once the
    /// file is complete and durable; until then, whatever happens, it runs on here and no file is left.
    ///
    /// The file holds the machine's memory and the state of its devices, not its disks: those must be
    /// as they are when it is resumed. Any host may resume it that has the same QEMU, or a newer one,
    /// and the same disks and bridges. The file holds all secrets that the machine has in its
    /// memory; only its owner may read it.
    Suspend(Suspend),
    /// Run a machine from its file
    ///
    /// The machine goes on where it stood, once its memory has been found to be what it was.
    ///
    /// A suspended machine runs once: its file is renamed to FILE.resumed, so that nobody resumes it
    /// again while it runs. A copy (`suspend --keep-running`) can be resumed as often as wanted, under
    /// other names, and comes up with its network links down, since the machine it was made of may
    /// use the same addresses.
    Resume(Resume),
    /// Run a second machine like one that runs
    ///
    /// The machine is stopped for a moment and runs on; the second one goes on from that moment under
    /// another name, with its network links down, since both have the same addresses.
    ///
    /// Refused for machines that write disks: two machines on one disk destroy what is on it.
    Clone(CloneMachine),
    /// Put another QEMU in the place of a machine's, under the running guest; its RAM stays as it lies
    Upgrade(Upgrade),
    /// Record which pages a machine writes, or show what was recorded
    Trace(Trace),
    /// Move a machine by the engine itself, in a simulation, as a recorded trace shows it writing
    Simulate(crate::commands::simulate::Simulate),
    /// Repeat a published experiment with the engine of Punctual
    #[command(subcommand)]
    Reproduce(crate::commands::reproduce::Reproduce),
    /// Cancel the migration of a machine, which runs on where it is, or end its recording
    Cancel(Machine),
    /// Follow all migrations of the host as they go on
    Watch,
    /// Several hosts on this machine, for trying things
    #[command(subcommand)]
    Lab(Lab),
    /// Show a live migration of a Linux guest between two hosts of a lab
    Demo(Demo),
    /// Compare with QEMU's own migration: the same guest over the same link, in turn
    Bench(Bench),
    /// Move a guest of a lab while something goes wrong, and check what must hold all the same
    Chaos(crate::commands::chaos::Chaos),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// The directory to write them to
        #[arg(default_value = ".", value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Host {
    /// The host's name
    #[arg(long)]
    pub(crate) name: String,
    /// Where other hosts reach it, as ADDRESS:PORT
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// The address that other hosts are told, where it differs from --listen
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) advertise: Option<String>,
    /// Another host, by name; may be repeated
    #[arg(long = "peer", value_name = "NAME=ADDR:PORT", value_parser = peer)]
    pub(crate) peers: Vec<(String, String)>,
    /// For the journal and machine records; must outlive a reboot [default:
    /// /var/lib/punctual/NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// For sockets and pid files [default: /run/punctual/NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,
    /// For the RAM of machines, on tmpfs or hugetlbfs [default: /dev/shm/punctual/NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) ram_dir: Option<PathBuf>,
    /// Mount a tmpfs of huge pages over --ram-dir, if it is an empty directory on a tmpfs; always
    /// done for the default directory
    #[arg(long)]
    pub(crate) mount_ram: bool,
    /// How many machines leave at a time; others wait for their turn
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = at_least_one)]
    pub(crate) max_outgoing: u16,
    /// How many machines come in at a time; the hosts of others try again
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = at_least_one)]
    pub(crate) max_incoming: u16,
    /// How many machines leave for any one host at a time: they share the link
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = at_least_one)]
    pub(crate) max_per_link: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The machine's specification, in TOML; `-` reads it from the input
    pub(crate) spec: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The name it gets
    pub(crate) name: String,
    /// Its QMP socket
    #[arg(long, value_name = "PATH")]
    pub(crate) qmp: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The machine, as it is called at the host that it came from
    pub(crate) name: String,
    /// Where it is now, if that host has another address than before: a peer, or ADDRESS:PORT
    #[arg(long, value_name = "HOST")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// The machine
    pub(crate) name: String,
}

/// Without a subcommand page writes are recorded. A machine that is called `show` is named after
/// `--`: `punctual trace -- show`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Trace {
    #[command(subcommand)]
    pub(crate) other: Option<TraceCommand>,
    #[command(flatten)]
    pub(crate) record: Record,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Show working set, rate of writing, heat and cost of a trace
    Show(ShowTrace),
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The machine; one that is called `show` after `--`
    #[arg(required = true)]
    pub(crate) name: Option<String>,
    /// For how long; Ctrl-C ends it early and keeps what there is
    #[arg(long = "for", default_value = "30s", value_name = "TIME", value_parser = time)]
    pub(crate) length: Duration,
    /// The share of the guest's work that it may take
    #[arg(long, default_value = "2%", value_name = "SHARE", value_parser = share)]
    pub(crate) cost: Probability,
    /// Where the trace is written; the daemon keeps the last one of each machine in any case
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowTrace {
    /// The trace
    pub(crate) file: PathBuf,
    /// Write a page too: a map of pages over time, the working set, the distribution of π
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Make a lab: hosts, each with its daemon, and a client, joined by a bridge
    Up(LabUp),
    /// Remove a lab, also what a crash left of it
    Down {
        #[command(flatten)]
        lab: LabName,
    },
    /// Run a program in a host of a lab, or in its client
    Exec {
        #[command(flatten)]
        lab: LabName,
        /// A host's name, `client` or `switch`
        place: String,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LabName {
    /// The lab's name
    #[arg(long = "name", default_value_t, value_name = "LAB")]
    pub(crate) name: punctual_lab::LabName,
}

#[derive(Debug, Args)]
pub(crate) struct LabUp {
    #[command(flatten)]
    pub(crate) lab: LabName,
    /// The hosts
    #[arg(long, value_delimiter = ',', default_values = ["a", "b"], value_name = "NAME,…")]
    pub(crate) hosts: Vec<punctual_lab::HostName>,
    /// The rate of each host's link in either direction, or `none`
    #[arg(long, default_value = "1Gbit", value_name = "RATE", value_parser = link_rate)]
    pub(crate) rate: LinkRate,
    /// The rate of the client's link
    #[arg(long, default_value = "none", value_name = "RATE", value_parser = link_rate)]
    pub(crate) client_rate: LinkRate,
    /// Let the guests' packets go before those of migrations
    #[arg(long)]
    pub(crate) guests_first: bool,
    /// Only make the network; start no daemons
    #[arg(long)]
    pub(crate) no_daemons: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The rate of the hosts' links
    #[arg(long, default_value = "1Gbit", value_name = "RATE")]
    pub(crate) rate: BytesPerSecond,
    /// The longest interruption
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = time)]
    pub(crate) downtime: Duration,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = time)]
    pub(crate) within: Duration,
    /// Do not compare digests of the RAM, which makes the interruption shorter
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// What the guest does besides streaming to the client: page writes a second over 64 MiB
    #[arg(long, default_value_t = 2000, value_name = "NUMBER")]
    pub(crate) writes: u64,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
    /// Where the page with the plots is written
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    pub(crate) report: PathBuf,
}

/// What runs the guests of a demonstration or a benchmark.
#[derive(Debug, Args)]
pub(crate) struct GuestChoice {
    /// The QEMU that runs the guest [default: the installed one; for a comparison the newest]
    #[arg(long, value_enum)]
    pub(crate) qemu: Option<QemuSeries>,
}

/// A series of QEMU that `make setup` provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QemuSeries {
    /// Of Debian 12
    #[value(name = "7.2")]
    Seven,
    /// Of Debian 13, or the backports of Debian 12
    #[value(name = "10")]
    Ten,
}

/// The rate of a link; `None` leaves it unshaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkRate(pub(crate) Option<BytesPerSecond>);

fn link_rate(text: &str) -> Result<LinkRate, String> {
    if text == "none" {
        return Ok(LinkRate(None));
    }
    let rate = text.parse().map_err(|error| format!("{error}, or `none`"))?;
    Ok(LinkRate(Some(rate)))
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match parse::duration(text) {
        Ok(time) if time.is_zero() => Err("it takes some time: state more than zero".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A share above zero, as `2%` or `0.02`.
fn share(text: &str) -> Result<Probability, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let share = number.ok().and_then(Probability::new).filter(|share| *share > Probability::ZERO);
    share.ok_or_else(|| {
        format!("`{text}` is no share: write more than 0% and at most 100%, such as 2%")
    })
}

/// A number of machines that is not none.
fn at_least_one(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`{text}` is no number of machines: write 1 or more"))
}

fn peer(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, address)| {
        !name.is_empty() && address.rsplit_once(':').is_some_and(|(_, port)| is_port(port))
    });
    let error = || format!("`{text}` is no peer: write NAME=ADDR:PORT, such as b=10.0.0.2:7070");
    parts.map(|(name, address)| (name.to_owned(), address.to_owned())).ok_or_else(error)
}

fn is_port(text: &str) -> bool {
    text.parse().is_ok_and(|port: u16| port != 0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn a_migration_has_the_defaults_that_the_manual_states() {
        let said = Arguments::try_parse_from(["punctual", "migrate", "web", "--to", "b"]).unwrap();
        let Command::Migrate(migrate) = said.command else { panic!("{said:?}") };
        let Limits { downtime, within, bandwidth, confidence } = migrate.limits;
        assert_eq!((downtime, within), (Duration::from_millis(50), Duration::from_secs(60)));
        assert_eq!((bandwidth, confidence.get()), (None, 0.99));
        assert_eq!((migrate.look, migrate.policy, migrate.plan), (None, None, None));
        assert!(!migrate.dry_run && !migrate.verify && !migrate.force);
    }

    #[test]
    fn a_plan_says_the_limits_of_a_move() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["punctual"], words].concat());
        assert!(parse(&["migrate", "--plan", "web.plan"]).is_ok());
        for limit in ["--downtime", "--within"] {
            parse(&["migrate", "--plan", "web.plan", limit, "9s"]).unwrap_err();
        }
        parse(&["migrate", "web"]).unwrap_err();
        parse(&["plan", "web"]).unwrap_err();
    }

    #[test]
    fn a_machine_is_traced_or_a_trace_shown() {
        let said = |arguments: &[&str]| {
            let all = ["punctual", "trace"].into_iter().chain(arguments.iter().copied());
            match Arguments::try_parse_from(all) {
                Ok(Arguments { command: Command::Trace(trace), .. }) => Ok(trace),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        let record = said(&["web"]).unwrap();
        assert!(record.other.is_none());
        assert_eq!(record.record.name.as_deref(), Some("web"));
        assert_eq!(record.record.length, Duration::from_secs(30));
        assert_eq!(record.record.cost, Probability::saturating(0.02));
        let show = said(&["show", "web.trace"]).unwrap();
        assert!(matches!(show.other, Some(TraceCommand::Show(_))));
        assert!(show.record.name.is_none());
        // The rare machine of that name.
        let named = said(&["--for", "3s", "--", "show"]).unwrap();
        assert_eq!(named.record.name.as_deref(), Some("show"));
        assert!(said(&[]).unwrap_err().contains("<NAME>"));
        for wrong in ["0", "0%", "101%", "some"] {
            assert!(said(&["web", "--cost", wrong]).unwrap_err().contains("such as 2%"));
        }
    }

    #[test]
    fn wrong_values_are_told_with_what_would_be_right() {
        let error = |arguments: &[&str]| {
            Arguments::try_parse_from(arguments.iter().copied()).unwrap_err().to_string()
        };
        let migrate = ["punctual", "migrate", "web", "--to", "b"];
        let text = error(&[&migrate[..], &["--downtime", "50"]].concat());
        assert!(text.contains("50ms"), "{text}");
        let text = error(&[&migrate[..], &["--bandwidth", "fast"]].concat());
        assert!(text.contains("1Gbit"), "{text}");
        let host = ["punctual", "host", "--name", "a", "--listen", "127.0.0.1:7070", "--peer", "b"];
        assert!(error(&host).contains("NAME=ADDR:PORT"));
    }

    #[test]
    fn what_follows_exec_belongs_to_the_program() {
        let said = ["punctual", "lab", "exec", "a", "ip", "-4", "--json", "address"];
        let said = Arguments::try_parse_from(said).unwrap();
        assert!(!said.global.json);
        let Command::Lab(Lab::Exec { command, place, .. }) = said.command else { panic!() };
        assert_eq!((place.as_str(), command.len()), ("a", 4));
    }
}
