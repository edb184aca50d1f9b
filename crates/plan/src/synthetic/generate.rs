use std::time::Duration;

use punctual_trace::{About, Scan, Trace};
use punctual_units::{MemoryLayout, PageRange, PageSet, Probability, Region};

use super::{Shape, Synthetic};

/// The gaps between scans, over and over: long ones, and some short ones that tell what is written
/// within milliseconds.
const GAPS: [u64; 12] = [100, 100, 100, 5, 100, 100, 20, 100, 100, 10, 100, 165];
/// Writes in the quiet of [`Shape::Phases`], as a share of those in the busy time.
const QUIET: f64 = 0.05;

impl Synthetic {
    /// The trace of it. The same workload gives the same trace.
    ///
    /// Cost: some 50 ns for each write.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let pages = self.memory.pages();
        let region = Region { name: "ram0".to_owned(), size: pages.bytes() };
        let about = About {
            machine: self.shape.name().to_owned(),
            layout: MemoryLayout::new(vec![region]).expect("the memory was checked to have pages"),
            populated: PageSet::full(pages),
            direct_io: false,
            content: self.content,
            recorded_at: 0,
            guest_cost: Probability::ZERO,
        };
        let mut writer = Writer::new(self);
        let mut scans = Vec::new();
        let mut at = Duration::ZERO;
        for gap in GAPS.iter().cycle() {
            let until = (at + Duration::from_millis(*gap)).min(self.duration);
            scans.push(Scan { at: until, written: writer.between(at, until) });
            at = until;
            if at == self.duration {
                break;
            }
        }
        Trace::new(about, scans).expect("scans rise and their runs lie in the memory")
    }
}

/// The guest of a synthetic workload.
struct Writer<'a> {
    workload: &'a Synthetic,
    pages: u64,
    /// The set: its first page, and how many there are.
    first: u64,
    set: u64,
    random: u64,
    /// Parts of writes that are still to be made.
    owed: f64,
    /// The next page of a sweep.
    next: u64,
    /// Steps through the set in which each page comes once: for scattered ranks.
    stride: u64,
}

impl<'a> Writer<'a> {
    fn new(workload: &'a Synthetic) -> Self {
        let (pages, set) = (workload.memory.pages().get(), workload.set.pages().get());
        let mut stride = (set as f64 * 0.618_033_988) as u64 | 1;
        while greatest_common_divisor(stride, set) != 1 {
            stride += 2;
        }
        Self {
            workload,
            pages,
            first: ((pages - set) / 2).min(pages - set),
            set,
            random: workload.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            owed: 0.0,
            next: 0,
            stride,
        }
    }

    fn between(&mut self, from: Duration, until: Duration) -> Vec<PageRange> {
        self.owed += self.workload.rate * self.active(from, until);
        let mut written = Vec::with_capacity(self.owed as usize);
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            written.push(self.page());
        }
        written.sort_unstable();
        written.dedup();
        let runs = written.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| PageRange::new(run[0], run[run.len() - 1] + 1)).collect()
    }

    /// Seconds of full writing between two times.
    fn active(&self, from: Duration, until: Duration) -> f64 {
        let length = (until - from).as_secs_f64();
        let Shape::Phases { busy, quiet } = self.workload.shape else { return length };
        let (busy, period) = (busy.as_secs_f64(), (busy + quiet).as_secs_f64());
        let before = |time: Duration| {
            let (time, whole) = (time.as_secs_f64(), (time.as_secs_f64() / period).floor());
            let within = time - whole * period;
            let quiet = (period - busy) * whole + (within - busy).max(0.0);
            whole * busy + within.min(busy) + quiet * QUIET
        };
        before(until) - before(from)
    }

    fn page(&mut self) -> u64 {
        match self.workload.shape {
            Shape::Idle | Shape::Uniform | Shape::Phases { .. } => self.in_set(),
            Shape::HotCold { share } => {
                if self.unit() < share.get() {
                    self.in_set()
                } else {
                    self.below(self.pages)
                }
            }
            Shape::Sweep => {
                self.next = (self.next + 1) % self.set;
                self.first + self.next
            }
            Shape::Zipf { exponent } => {
                let rank = self.rank(exponent).min(self.set - 1);
                self.first
                    + (u128::from(rank) * u128::from(self.stride) % u128::from(self.set)) as u64
            }
        }
    }

    /// A rank from 0, by the inverse of the continuous distribution.
    fn rank(&mut self, exponent: f64) -> u64 {
        let (unit, ranks) = (self.unit(), self.set as f64 + 1.0);
        let rank = if (exponent - 1.0).abs() < 1e-6 {
            ranks.powf(unit)
        } else {
            let power = 1.0 - exponent;
            (1.0 + unit * (ranks.powf(power) - 1.0)).powf(1.0 / power)
        };
        rank as u64 - 1
    }

    fn in_set(&mut self) -> u64 {
        self.first + self.below(self.set)
    }

    fn unit(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(below)) >> 64) as u64
    }

    /// Xorshift*, whose high bits are good.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
