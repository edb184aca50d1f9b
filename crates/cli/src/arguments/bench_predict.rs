use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use punctual_lab::bench::predict::Occupation;
use punctual_units::BytesPerSecond;

use super::{GuestChoice, time};

/// What `bench predict` takes.
#[derive(Debug, Args)]
pub(crate) struct BenchPredict {
    /// What the guests do [default: all that they can]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) workloads: Vec<Occupation>,
    /// The rates of the links
    #[arg(long, value_delimiter = ',', value_name = "RATE,…")]
    #[arg(default_values = ["100Mbit", "300Mbit", "1Gbit"])]
    pub(crate) rates: Vec<BytesPerSecond>,
    /// The downtimes asked for
    #[arg(long, value_delimiter = ',', value_name = "TIME,…", value_parser = time)]
    #[arg(default_values = ["20ms", "50ms", "300ms"])]
    pub(crate) downtimes: Vec<Duration>,
    /// The time asked for in all
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = time)]
    pub(crate) within: Duration,
    /// Moves made first, from which the hosts learn; they are reported apart
    #[arg(long, default_value_t = 24, value_name = "NUMBER")]
    pub(crate) cold: usize,
    /// How often each workload is moved over each link with each downtime
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) repetitions: usize,
    /// From which the order follows [default: drawn, and printed]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// A handful of moves in less than a minute
    #[arg(long, conflicts_with_all = ["workloads", "rates", "downtimes", "within"])]
    #[arg(conflicts_with_all = ["cold", "repetitions"])]
    pub(crate) slice: bool,
    /// Where all moves are written as they are made, as JSON
    #[arg(short, long, default_value = "predict.json", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Where the page with the plots is written
    #[arg(long, default_value = "predict.html", value_name = "FILE")]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) guest: GuestChoice,
}

impl BenchPredict {
    /// The choice that [`BenchPredict::slice`] stands for: one guest that is easily moved, and one
    /// that cannot be stopped for 20 ms only.
    pub(crate) fn sliced(self) -> Self {
        if !self.slice {
            return self;
        }
        Self {
            workloads: vec![Occupation::Idle, Occupation::Sweep],
            rates: vec![BytesPerSecond::megabits(300)],
            downtimes: [20, 300].map(Duration::from_millis).to_vec(),
            within: Duration::from_secs(10),
            cold: 0,
            repetitions: 1,
            ..self
        }
    }
}
