//! A link of a stated rate: HTB with a short queue behind it, at the sender's end of each cable.
//!
//! Seen on a machine with 2 processors (`cargo test -p punctual-lab --test link -- --nocapture`
//! shows its like): one TCP stream gets 95 % of 100 Mbit/s and 96 % of 1 and 10 Gbit/s, the rest
//! being headers; a 1 kHz beacon beside it, in the same queue, is held up by 4, 1.3 and 0.2 ms, and
//! 99 % of its gaps are below 2.9, 1.7 and 1.4 ms. Four streams at 1 Gbit/s hold it up by 4 ms.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};

use crate::iproute::Batch;
use crate::spec::Sharing;

/// The slowest link that can be stated: a full frame takes 12 ms on it.
pub(crate) const SLOWEST: BytesPerSecond = BytesPerSecond::megabits(1);

/// The fastest: `tc` counts a queue's bytes in 32 bits.
pub(crate) const FASTEST: BytesPerSecond = BytesPerSecond::megabits(1_000_000);

/// HTB counts what the kernel's timers cost it as lost unless the burst covers their lateness.
const TIMER_LATENESS: Duration = Duration::from_millis(1);
/// The longest that a full queue holds a frame up: short, as a switch's port, for what shares the
/// link with a migration waits behind it.
const QUEUE_TIME: Duration = Duration::from_millis(10);
/// The longest train of frames that the kernel hands to the link as one piece, and that a guest's
/// frame has to wait for: the kernel's own 64 KiB would be 5 ms at 100 Mbit/s.
const TRAIN_TIME: Duration = Duration::from_micros(500);
const SHORTEST_TRAIN: Bytes = Bytes::new(2 * FRAME.get());
const FRAME: Bytes = Bytes::new(1514);
/// The kernel's default for the longest train, `GSO_LEGACY_MAX_SIZE`.
const LONGEST_TRAIN: Bytes = Bytes::kib(64);

/// One end of a cable, sending at a stated rate.
#[derive(Debug, Clone)]
pub(crate) struct Shaper {
    /// The interface that sends.
    pub(crate) interface: String,
    /// Ethernet headers are counted; preamble and gap between frames are not.
    pub(crate) rate: BytesPerSecond,
    /// Which address makes a frame the host's own rather than a guest's, and in which field.
    pub(crate) own: (Field, Ipv4Addr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Source,
    Destination,
}

/// What `tc` is to do with a class or a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Change,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Change => "change",
        })
    }
}

impl Shaper {
    /// Trains no longer than the rate bears; to be set before a bridge takes the interface, as it
    /// then keeps to the shortest of its ports.
    pub(crate) fn shorten_trains(&self, ip: &mut Batch) {
        self.shorten_trains_of(&self.interface, ip);
    }

    /// The same for another interface: a bridge does not look at its ports again.
    pub(crate) fn shorten_trains_of(&self, interface: &str, ip: &mut Batch) {
        let train = self.rate.bytes_in(TRAIN_TIME).clamp(SHORTEST_TRAIN, LONGEST_TRAIN);
        ip.add(format!("link set dev {interface} gso_max_size {}", train.get()));
    }

    /// Shapes an interface that is not shaped yet.
    pub(crate) fn apply(&self, sharing: Sharing, tc: &mut Batch) {
        let interface = &self.interface;
        tc.add(format!("qdisc add dev {interface} root handle 1: htb default 10"));
        self.classes(Verb::Add, sharing, tc);
        if sharing == Sharing::GuestsFirst {
            let (field, address) = self.own;
            let field = match field {
                Field::Source => "src",
                Field::Destination => "dst",
            };
            tc.add(format!(
                "filter add dev {interface} parent 1: protocol ip prio 1 \
                 u32 match ip {field} {address}/32 flowid 1:20"
            ));
        }
    }

    /// Gives an interface that is shaped the same way this rate; what is queued stays queued.
    pub(crate) fn change(&self, sharing: Sharing, tc: &mut Batch) {
        self.classes(Verb::Change, sharing, tc);
    }

    fn classes(&self, verb: Verb, sharing: Sharing, tc: &mut Batch) {
        self.class(verb, "1:", "1:1", self.rate, 0, tc);
        match sharing {
            Sharing::OneQueue => self.leaf(verb, "10", self.rate, 0, tc),
            Sharing::GuestsFirst => {
                // Priority decides who borrows; what is assured would come before it, so hosts are
                // assured little.
                let hosts = BytesPerSecond::new(self.rate.get() / 10);
                self.leaf(verb, "10", self.rate - hosts, 0, tc);
                self.leaf(verb, "20", hosts, 1, tc);
            }
        }
    }

    fn leaf(
        &self,
        verb: Verb,
        number: &str,
        assured: BytesPerSecond,
        priority: u8,
        tc: &mut Batch,
    ) {
        self.class(verb, "1:1", &format!("1:{number}"), assured, priority, tc);
        let queue = self.rate.bytes_in(QUEUE_TIME).max(Bytes::new(2 * LONGEST_TRAIN.get()));
        tc.add(format!(
            "qdisc {verb} dev {} parent 1:{number} handle {number}: bfifo limit {}",
            self.interface,
            queue.get()
        ));
    }

    /// A class that may send `assured` always and the whole rate if nobody else does.
    fn class(
        &self,
        verb: Verb,
        parent: &str,
        id: &str,
        assured: BytesPerSecond,
        priority: u8,
        tc: &mut Batch,
    ) {
        let burst = self.rate.bytes_in(TIMER_LATENESS).max(Bytes::new(4 * FRAME.get()));
        tc.add(format!(
            "class {verb} dev {} parent {parent} classid {id} htb rate {}bps ceil {}bps \
             burst {burst} cburst {burst} quantum {} prio {priority}",
            self.interface,
            assured.get(),
            self.rate.get(),
            // One train a turn; the default, rate/10, makes the kernel complain beyond 16 Mbit/s.
            LONGEST_TRAIN.get(),
            burst = burst.get(),
        ));
    }
}
