use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use punctual_guest_protocol::Workload;
use punctual_lab::bench::Contender;
use punctual_lab::bench::local::Accel;
use punctual_units::{Bytes, BytesPerSecond};

use super::{BenchPredict, GuestChoice, LinkRate, QemuSeries, link_rate, time};

/// Without a subcommand Punctual is compared with QEMU's own migration.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) other: Option<OtherBench>,
    #[command(flatten)]
    pub(crate) migrate: BenchMigrate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OtherBench {
    /// RAM over an unshaped link, beside one stream of iperf3; and what the daemons need of memory
    Throughput {
        /// How often each guest goes there and back
        #[arg(long, default_value_t = 5, value_name = "NUMBER")]
        repetitions: usize,
        /// The guests' RAM; all but 192 MiB of it is filled
        #[arg(long, value_delimiter = ',', default_values = ["512MiB", "2GiB"], value_name = "SIZE,…")]
        memory: Vec<Bytes>,
        #[command(flatten)]
        guest: GuestChoice,
    },
    /// Guests that write faster than the link, moved as the plan says, beside QEMU's ways of moving
    /// them; takes three quarters of an hour
    Busy(BenchBusy),
    /// Guests that get another QEMU on their host, beside the fixed part of their moves
    Local(BenchLocal),
    /// One guest by every mode: what of it is kept, what it takes, and what was predicted
    Modes(BenchModes),
    /// Many moves, each beside what was predicted of it; takes some 20 minutes
    Predict(BenchPredict),
    /// What tracing alone costs a guest that writes
    Tracing {
        /// How often
        #[arg(long, default_value_t = 5, value_name = "NUMBER")]
        repetitions: usize,
        #[command(flatten)]
        guest: GuestChoice,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BenchLocal {
    /// How many guests
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    pub(crate) repetitions: usize,
    /// Their RAM
    #[arg(long, default_value = "512MiB", value_name = "SIZE")]
    pub(crate) memory: Bytes,
    /// What their machines run on, and with that the guest
    #[arg(long, value_enum, default_value = "tcg")]
    pub(crate) accel: LocalAccel,
    /// The QEMU that takes the place of the one that runs the guest [default: the same]
    #[arg(long, value_enum)]
    pub(crate) successor: Option<QemuSeries>,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

/// What machines of `bench local` run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LocalAccel {
    /// QEMU's translator, with an idle Linux guest
    Tcg,
    /// The processor, with the bare-metal guest, which sweeps over 63 MiB of its RAM
    Kvm,
}

impl From<LocalAccel> for Accel {
    fn from(said: LocalAccel) -> Self {
        match said {
            LocalAccel::Tcg => Self::Tcg,
            LocalAccel::Kvm => Self::Kvm,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchMigrate {
    /// The rate of the hosts' links, or `none`
    #[arg(long, default_value = "1Gbit", value_name = "RATE", value_parser = link_rate)]
    pub(crate) rate: LinkRate,
    /// The downtime that each mover is told
    #[arg(long, default_value = "30ms", value_name = "TIME", value_parser = time)]
    pub(crate) downtime: Duration,
    /// A move that takes longer counts as lost
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = time)]
    pub(crate) within: Duration,
    /// How often each mover moves each guest
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    pub(crate) repetitions: usize,
    /// What the guest does: single-byte writes a second over 64 MiB; 0 is idle
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2000, 20000], value_name = "NUMBER,…")]
    pub(crate) writes: Vec<u64>,
    /// Who moves it [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = contender)]
    pub(crate) contenders: Vec<Contender>,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

#[derive(Debug, Args)]
pub(crate) struct BenchBusy {
    /// The rates of the hosts' links
    #[arg(long, value_delimiter = ',', default_values = ["100Mbit", "1Gbit"], value_name = "RATE,…")]
    pub(crate) rates: Vec<BytesPerSecond>,
    /// How many pages a second the guest writes, in percent of what the link carries
    #[arg(long, value_delimiter = ',', default_values_t = [50, 100, 200, 500], value_name = "PERCENT,…")]
    pub(crate) shares: Vec<u32>,
    /// Which pages it writes
    #[arg(long, value_delimiter = ',', default_values = ["hot-cold", "zipf", "sweep"], value_name = "PATTERN,…")]
    pub(crate) patterns: Vec<Workload>,
    /// The interruption that each mover is told: one for all links, or one for each
    #[arg(long, value_delimiter = ',', default_values = ["100ms"], value_name = "TIME,…", value_parser = time)]
    pub(crate) downtime: Vec<Duration>,
    /// A move that takes longer counts as lost: one for all links, or one for each [default: 12 s
    /// and twice what the guest's memory takes over the link: 37s, 18s]
    #[arg(long, value_delimiter = ',', value_name = "TIME,…", value_parser = time)]
    pub(crate) within: Vec<Duration>,
    /// How often each mover moves each guest
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) repetitions: usize,
    /// Who moves it [default: Punctual, and QEMU by pre-copy, auto-converge and post-copy]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = contender)]
    pub(crate) contenders: Vec<Contender>,
    /// Where every move is written to, as it is made
    #[arg(long, default_value = "busy.json", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Where the table and what it comes to are written to, as Markdown
    #[arg(long, default_value = "busy.md", value_name = "FILE")]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

#[derive(Debug, Args)]
pub(crate) struct BenchModes {
    /// The rate of the hosts' links
    #[arg(long, default_value = "1Gbit", value_name = "RATE")]
    pub(crate) rate: BytesPerSecond,
    /// How often each mode is tried
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) repetitions: usize,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

fn contender(text: &str) -> Result<Contender, String> {
    let named = Contender::ALL.into_iter().find(|contender| contender.name() == text);
    named.ok_or_else(|| {
        let names: Vec<_> = Contender::ALL.iter().map(|contender| contender.name()).collect();
        format!("there are {}", names.join(", "))
    })
}
