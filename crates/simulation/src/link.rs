//! The link between the hosts, and the connection on it that a move uses.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_engine::{destination, source};
use punctual_units::{Bytes, BytesPerSecond};
use punctual_wire::{DestinationMessage, SourceMessage};

use crate::fault::Way;
use crate::world::{Action, EFFECT, World};

/// A connection on which nothing gets through is given up after this time
/// (`punctual_link::Timeouts::lost`).
pub(crate) const LOST: Duration = Duration::from_secs(10);

/// What a source sends.
pub(crate) enum Frame {
    Message(SourceMessage),
    Padding,
    /// Pages and their versions.
    Pages(Vec<(u64, u32)>),
    DeviceState(Bytes),
}

/// The link and the connection.
pub(crate) struct Link {
    /// Whether the connection stands.
    pub(crate) up: bool,
    /// When all that was sent is on its way.
    pub(crate) free: Duration,
    /// The rate that the link has until then.
    slow: Option<(BytesPerSecond, Duration)>,
    to_destination: Held,
    to_source: Held,
    /// What is on its way, in order.
    pub(crate) frames: VecDeque<(Frame, Bytes)>,
    pub(crate) messages: VecDeque<DestinationMessage>,
}

/// One way of the link; until then nothing gets through.
#[derive(Default)]
struct Held(Duration);

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            free: Duration::ZERO,
            slow: None,
            to_destination: Held::default(),
            to_source: Held::default(),
            frames: VecDeque::new(),
            messages: VecDeque::new(),
        }
    }

    pub(crate) fn slow_down(&mut self, rate: BytesPerSecond, until: Duration) {
        self.slow = Some((rate, until));
    }
}

impl World {
    fn rate(&self) -> BytesPerSecond {
        match self.link.slow {
            Some((rate, until)) if self.now < until => rate.min(self.setting.bandwidth),
            _ => self.setting.bandwidth,
        }
    }

    pub(crate) fn transmit(&mut self, frame: Frame, length: Bytes) {
        self.sent += length;
        self.link.free = self.link.free.max(self.now) + self.rate().time_for(length);
        self.link.frames.push_back((frame, length));
        let after = self.link.free + self.latency() - self.now;
        self.schedule(after, Action::ToDestination);
    }

    pub(crate) fn say(&mut self, message: DestinationMessage) {
        self.link.messages.push_back(message);
        let after = self.latency();
        self.schedule(after, Action::ToSource);
    }

    /// The time on the way: what the setting says, and up to its jitter more. What comes behind
    /// does not overtake.
    fn latency(&mut self) -> Duration {
        let jitter = self.setting.jitter.as_nanos() as u64;
        let more = if jitter == 0 { 0 } else { self.chance.within(0..jitter) };
        self.setting.latency + Duration::from_nanos(more)
    }

    /// How long pages take that are asked for and sent.
    pub(crate) fn round_trip(&mut self, answer: Bytes) -> Duration {
        self.latency() + self.latency() + self.rate().time_for(answer)
    }

    /// Whether somebody who dials now gets through and is answered.
    pub(crate) fn is_open(&self) -> bool {
        self.now >= self.link.to_destination.0 && self.now >= self.link.to_source.0
    }

    /// Until when nothing gets through this way, if that is so.
    pub(crate) fn held(&self, action: &Action) -> Option<Duration> {
        let held = match action {
            Action::ToDestination => self.link.to_destination.0,
            Action::ToSource => self.link.to_source.0,
            _ => return None,
        };
        (held > self.now).then_some(held)
    }

    /// Nothing gets through; a connection that stands that long is lost.
    pub(crate) fn cut(&mut self, way: Way, lasts: Duration) {
        let until = self.now + lasts;
        let Link { to_destination, to_source, .. } = &mut self.link;
        if way != Way::ToSource {
            to_destination.0 = to_destination.0.max(until);
        }
        if way != Way::ToDestination {
            to_source.0 = to_source.0.max(until);
        }
        if lasts >= LOST {
            // The sides find it out one after the other, by their own clocks.
            let later = self.chance.time(0..500);
            let (source, destination) =
                if self.chance.one_in(2) { (LOST, LOST + later) } else { (LOST + later, LOST) };
            let reason = || "nothing was heard".to_owned();
            self.schedule(source, Action::Source(source::Event::LinkLost(reason())));
            let lost = destination::Event::LinkLost(reason());
            self.schedule(destination, Action::Destination(lost));
            self.schedule(source.max(destination), Action::ConnectionEnds);
        }
    }

    /// The connection is gone, and both sides hear of it.
    pub(crate) fn reset(&mut self) {
        if std::mem::replace(&mut self.link.up, false) {
            let reason = || "reset".to_owned();
            self.schedule(EFFECT, Action::Source(source::Event::LinkLost(reason())));
            self.schedule(EFFECT, Action::Destination(destination::Event::LinkLost(reason())));
        }
    }
}
