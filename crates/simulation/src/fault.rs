//! What goes wrong, and when.

use std::fmt;
use std::time::Duration;

use punctual_engine::Phase;
use punctual_units::BytesPerSecond;

/// One of the two hosts of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that has the machine at first.
    Source,
    /// The one that it goes to.
    Destination,
}

/// Which way of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the source sends.
    ToDestination,
    /// What the destination sends.
    ToSource,
    /// Either.
    Both,
}

/// How a record fails to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It certainly is not there: the disk is full.
    Certain,
    /// Nobody can tell; the next daemon finds it.
    Written,
    /// Nobody can tell; the next daemon does not find it.
    NotWritten,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The connection is reset: both sides hear of it at once.
    Reset,
    /// The next frame is not what was sent. Its checksum tells, so whoever gets it gives the
    /// connection up.
    Corrupted,
    /// Nothing gets through. A connection outlives that for 10 s, and what was sent comes late; it
    /// is given up by both sides if that takes longer.
    Cut {
        /// Which way.
        way: Way,
        /// How long.
        lasts: Duration,
    },
    /// The link carries less.
    Slow {
        /// So much.
        rate: BytesPerSecond,
        /// How long.
        lasts: Duration,
    },
    /// A daemon is killed, and started again after this time.
    Crash {
        /// Whose.
        side: Side,
        /// The time.
        down: Duration,
    },
    /// A daemon stands still for a time, as its whole host may: for it, the clock jumps.
    Frozen {
        /// Whose.
        side: Side,
        /// The time.
        lasts: Duration,
    },
    /// The machine's process at the destination is killed. Where it may have been committed already
    /// that is the machine's end, as at home, and no fault of a move: it is left out.
    MachineDies,
    /// The next record is not written, or not known to be.
    JournalFails {
        /// Whose.
        side: Side,
        /// How.
        how: Failure,
    },
    /// The next scan fails.
    ScanFails,
    /// What was to be done at this point fails, whatever it is; nothing if a message arrives here.
    EffectFails,
    /// The operator cancels the move.
    Cancelled,
}

/// When something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At so many points of the move: messages that arrive, and things that are to be done.
    Point(u32),
    /// So many points after the source came to this phase, or to a later one if it was passed
    /// over.
    Phase {
        /// The phase.
        phase: Phase,
        /// The points.
        points: u32,
    },
    /// So long after the fault before.
    After(Duration),
}

/// One fault of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub kind: FaultKind,
}

impl Fault {
    /// Whether a guest may rightly be kept stopped for longer by it: nobody is there to let it run.
    pub(crate) fn keeps_waiting(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Crash { side: Side::Source, .. }
                | FaultKind::Frozen { side: Side::Source, .. }
                | FaultKind::JournalFails { side: Side::Source, .. }
        )
    }
}

impl Side {
    /// The one across from it.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Destination => "the destination",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToDestination => "towards the destination",
            Self::ToSource => "towards the source",
            Self::Both => "both ways",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certain => "does not take the next record",
            Self::Written => "takes the next record, and cannot tell",
            Self::NotWritten => "does not take the next record, and cannot tell",
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("the connection is reset"),
            Self::Corrupted => f.write_str("a frame is corrupted"),
            Self::Cut { way, lasts } => write!(f, "the link is cut {way} for {lasts:.1?}"),
            Self::Slow { rate, lasts } => write!(f, "the link carries {rate} for {lasts:.1?}"),
            Self::Crash { side, down } => {
                write!(f, "the daemon of {side} is killed, for {down:.1?}")
            }
            Self::Frozen { side, lasts } => {
                write!(f, "the daemon of {side} stands still for {lasts:.1?}")
            }
            Self::MachineDies => f.write_str("the machine's process at the destination is killed"),
            Self::JournalFails { side, how } => write!(f, "the log of {side} {how}"),
            Self::ScanFails => f.write_str("the next scan fails"),
            Self::EffectFails => f.write_str("what is to be done fails"),
            Self::Cancelled => f.write_str("the move is cancelled"),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point(point) => write!(f, "at point {point}"),
            Self::Phase { phase, points } => write!(f, "{points} points into {phase}"),
            Self::After(time) => write!(f, "{time:.1?} later"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.when, self.kind)
    }
}
