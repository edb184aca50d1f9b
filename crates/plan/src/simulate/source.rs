//! What the source's driver would do.

use std::time::Duration;

use punctual_engine::source::{Effect, Event, Next};
use punctual_units::{Bytes, BytesPerSecond, Pages};
use punctual_wire::{HEADER_LENGTH, SourceMessage, encode};

use super::Costs;
use super::outlet::Job;
use super::world::{Action, SourceSide, World};

/// How often it is told how much has been sent.
const TELL_EVERY: Duration = Duration::from_millis(20);
/// A probe sends so long, and at least so much.
const PROBE: Duration = Duration::from_millis(30);
const PROBE_LEAST: Bytes = Bytes::kib(128);

impl World<'_> {
    pub(super) fn step_source(&mut self, event: Event) {
        match std::mem::replace(&mut self.source, SourceSide::Stepping) {
            SourceSide::Holding(holding) => {
                let next = holding.step(self.now, event);
                self.follow_source(next);
            }
            SourceSide::Committed(committed) => {
                self.source = match committed.step(self.now, event) {
                    Ok(committed) => SourceSide::Committed(committed),
                    Err(moved) => SourceSide::Ended(Box::new(moved.report)),
                };
            }
            ended => self.source = ended,
        }
    }

    pub(super) fn follow_source(&mut self, next: Next) {
        match next {
            Next::Hold(holding, effects) => {
                self.source = SourceSide::Holding(holding);
                for effect in effects {
                    self.carry_out(effect);
                }
            }
            Next::Committed(committed) => {
                self.source = SourceSide::Committed(committed);
                self.give(Job::Say(SourceMessage::Commit));
            }
            Next::Unknown(unknown) => self.source = SourceSide::Ended(Box::new(unknown.report)),
            Next::Stayed(stayed) => self.source = SourceSide::Ended(Box::new(stayed.report)),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let costs = self.costs;
        let begin = self.busy.max(self.now);
        let look = |pages: Pages| Costs::SCAN + costs.look.mul_f64(pages.get() as f64);
        let thinning = u64::from(self.subject.thinning);
        let (takes, event) = match effect {
            Effect::Say(message) => return self.give(Job::Say(message)),
            Effect::Send(batch) => return self.give(Job::Pages(batch)),
            Effect::Probe { rate } => return self.probe(rate),
            Effect::SaveDeviceState => return self.after(costs.saving, Action::StateSaved),
            Effect::StartTracing => {
                self.guest.start_tracing(begin);
                let populated = self.subject.populated.clone();
                let takes = look(Pages::new(populated.capacity().get() * thinning));
                (takes, Event::Traced { populated })
            }
            Effect::Settle => {
                let direct_io = self.subject.direct_io;
                let takes = if direct_io { costs.settle } else { Duration::ZERO };
                (takes, Event::Settled { direct_io })
            }
            Effect::Throttle(share) => {
                self.guest.throttle(begin, share);
                (Costs::SCAN, Event::Throttled { share })
            }
            Effect::PrepareStop => (Costs::SCAN, Event::StopPrepared),
            Effect::Scan => {
                let written = self.guest.scan(begin);
                let pages = Pages::new(written.capacity().get() * thinning);
                (look(pages), Event::Scanned { written })
            }
            Effect::ScanAmong(pages) => {
                let written = self.guest.scan_among(begin, &pages);
                (look(Pages::new(pages.len().get() * thinning)), Event::Scanned { written })
            }
            Effect::Stop => {
                let since = begin + Costs::TO_STOP;
                self.guest.stop(since);
                (Costs::TO_STOP + costs.stop, Event::Stopped { since })
            }
            // Nothing is verified: a simulated move compares no digests.
            Effect::OpenPageLines => (costs.commit, Event::PageLinesOpen),
            Effect::ServePages { .. } => return,
            Effect::Digest { .. } => (Duration::ZERO, Event::Digested(0)),
            Effect::RecordCommit => (costs.commit, Event::Recorded),
            Effect::Resume => {
                self.guest.resume(begin);
                (costs.resume, Event::Resumed)
            }
        };
        self.busy = begin + takes;
        self.agenda.add(self.busy, Action::Source(event));
    }

    /// Padding goes at `rate`, and comes in as fast as the link lets it.
    fn probe(&mut self, rate: BytesPerSecond) {
        let whole = BytesPerSecond::new(rate.get() * u64::from(self.subject.thinning));
        let padding = whole.bytes_in(PROBE).max(PROBE_LEAST);
        let seen = whole.min(self.link.rate);
        self.give(Job::Probe(seen.time_for(padding), padding));
    }

    pub(super) fn state_saved(&mut self) {
        self.give(Job::DeviceState(self.costs.device_state));
    }

    fn give(&mut self, job: Job) {
        self.outlet.jobs.push_back(job);
        self.pump();
    }

    /// Does the jobs up to the next pages.
    fn pump(&mut self) {
        while self.outlet.sending.is_none() {
            match self.outlet.jobs.pop_front() {
                None => return,
                Some(Job::Say(message)) => self.say_there(message),
                Some(Job::Probe(time, padding)) => {
                    let thinning = u64::from(self.subject.thinning);
                    let bytes = Bytes::new((padding.get() / thinning).max(1));
                    self.outlet.sent += bytes;
                    let rate = bytes.per(time).unwrap_or_default();
                    self.after(time + self.link.latency, Action::ArriveProbe(bytes, rate));
                }
                Some(Job::DeviceState(bytes)) => {
                    let (thinned, arrives) = self.outlet.transmit(self.now, bytes);
                    let sent = self.outlet.sent;
                    self.device_state = thinned;
                    self.agenda.add(arrives, Action::Arrive(thinned, None));
                    let event =
                        punctual_engine::destination::Event::StateReceived { bytes: thinned };
                    self.agenda.add(arrives, Action::Destination(event));
                    self.after(
                        Duration::ZERO,
                        Action::Source(Event::StateSent { bytes: thinned, sent }),
                    );
                }
                Some(Job::Pages(batch)) => {
                    self.outlet.begin(&batch.pages, self.now);
                    self.send_part();
                }
            }
        }
    }

    fn say_there(&mut self, message: SourceMessage) {
        let mut payload = Vec::new();
        let length = encode(&message, &mut payload).map_or(0, |()| payload.len());
        let bytes = Bytes::new((HEADER_LENGTH + length) as u64);
        let (thinned, arrives) = self.outlet.transmit(self.now, bytes);
        self.agenda.add(arrives, Action::Arrive(thinned, Some(message)));
    }

    fn send_part(&mut self) {
        match self.outlet.part(self.now) {
            Some(part) => {
                self.agenda.add(part.arrives, Action::Arrive(part.bytes, None));
                self.agenda.add(part.free, Action::Outlet);
            }
            None => self.after(Duration::ZERO, Action::Outlet),
        }
    }

    /// The thread has sent a part.
    pub(super) fn outlet_free(&mut self) {
        let sent = self.outlet.sent;
        let Some(sending) = &mut self.outlet.sending else { return };
        if sending.is_done() {
            self.outlet.sending = None;
            self.step_source(Event::PagesSent { sent });
            return self.pump();
        }
        let told = self.now.saturating_sub(sending.told) >= TELL_EVERY;
        if told {
            sending.told = self.now;
            let pages = sending.sent;
            self.step_source(Event::Sending { sent, pages });
        }
        self.send_part();
    }
}
