//! The source: its state machine, and what its driver and its host would do.

use std::time::Duration;

use punctual_engine::report::Report;
use punctual_engine::source::{self, Batch, BatchKind, Effect, Event};
use punctual_units::{Bytes, PageIndex, Pages, Probability};
use punctual_wire::{DestinationMessage, Outcome as Decided, SourceMessage};

use crate::fault::{Failure, Side};
use crate::guest::Workload;
use crate::link::Frame;
use crate::strike::{Passed, Point};
use crate::world::{Action, EFFECT, Log, Place, RESTART, SourceHost, World, digest};

/// Pages in one frame.
const CHUNK: usize = 16;

impl World {
    pub(crate) fn message_arrives(&mut self) {
        let message: DestinationMessage =
            self.link.messages.pop_front().expect("each has its arrival");
        if self.link.up && self.point(Point::Message(Side::Source)) == Passed::Happens {
            self.step_source(Event::Heard(message));
        }
    }

    pub(crate) fn step_source(&mut self, event: Event) {
        match std::mem::replace(&mut self.source, SourceHost::Idle) {
            SourceHost::Holding(holding) => {
                let next = holding.step(self.now, event);
                self.follow_source(next);
            }
            SourceHost::Committed(committed) => match committed.step(self.now, event) {
                Ok(committed) => self.source = SourceHost::Committed(committed),
                Err(moved) => {
                    self.end_source(moved.report);
                    if moved.seen_running {
                        self.surrender();
                    }
                }
            },
            SourceHost::Idle => {}
        }
    }

    pub(crate) fn follow_source(&mut self, next: source::Next) {
        match next {
            source::Next::Hold(holding, effects) => {
                self.source = SourceHost::Holding(holding);
                for effect in effects {
                    if matches!(self.source, SourceHost::Idle) {
                        return;
                    }
                    match self.point(Point::Effect(Side::Source)) {
                        Passed::Happens => self.carry_out(effect),
                        Passed::Fails => self.fail(&effect),
                        Passed::Lost => return,
                    }
                }
            }
            source::Next::Committed(committed) => {
                self.source = SourceHost::Committed(committed);
                self.transmit(Frame::Message(SourceMessage::Commit), Bytes::new(20));
            }
            source::Next::Unknown(unknown) => {
                self.end_source(unknown.report);
                // Its operator starts the daemon anew.
                self.crash_source(RESTART);
            }
            source::Next::Stayed(stayed) => {
                if let Some(farewell) = stayed.farewell {
                    self.transmit(Frame::Message(farewell), Bytes::new(20));
                }
                self.end_source(stayed.report);
            }
        }
    }

    fn end_source(&mut self, report: Report) {
        self.under_way = false;
        self.report = Some(report);
    }

    /// What is left here of a machine that runs elsewhere goes, unless pages of it are owed.
    pub(crate) fn surrender(&mut self) {
        if self.missing.is_empty() {
            self.source_has = false;
            self.serving = false;
        }
    }

    fn fail(&mut self, effect: &Effect) {
        let reason = "injected".to_owned();
        let event = match effect {
            Effect::RecordCommit => match self.setting.seed % 3 {
                0 => return self.record_commit(Some(Failure::Certain)),
                1 => return self.record_commit(Some(Failure::Written)),
                _ => return self.record_commit(Some(Failure::NotWritten)),
            },
            Effect::Say(_) | Effect::Send(_) | Effect::Probe { .. } => return self.reset(),
            Effect::OpenPageLines => Event::PageLinesNotOpen(reason),
            // Nobody is served until somebody dials again.
            Effect::ServePages { .. } => return self.serving = true,
            Effect::Resume => {
                self.excused = true;
                Event::MachineFailed(reason)
            }
            Effect::Throttle(_) => Event::NotThrottled(reason),
            _ => Event::MachineFailed(reason),
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    fn carry_out(&mut self, effect: Effect) {
        let is_scan = matches!(effect, Effect::Scan | Effect::ScanAmong(_) | Effect::StartTracing);
        if is_scan && std::mem::take(&mut self.armed.scan) {
            return self.fail(&effect);
        }
        let event = match effect {
            Effect::Say(message) => {
                return self.transmit(Frame::Message(message), Bytes::new(20));
            }
            Effect::Probe { .. } => {
                for _ in 0..20 {
                    self.transmit(Frame::Padding, Bytes::kib(16));
                }
                return self.transmit(Frame::Message(SourceMessage::ProbeEnd), Bytes::new(20));
            }
            Effect::Send(batch) => return self.begin_batch(&batch),
            Effect::StartTracing => Event::Traced { populated: self.guest.start_tracing() },
            Effect::Settle => {
                let after = self.guest.settled_at() - self.now;
                let direct_io = self.guest.direct_io();
                return self.schedule(after, Action::Source(Event::Settled { direct_io }));
            }
            Effect::PrepareStop => Event::StopPrepared,
            // A scan is instantaneous; that its result takes time to come is what matters.
            Effect::Scan => {
                let event = Event::Scanned { written: self.guest.scan() };
                return self.schedule(self.setting.scan, Action::Source(event));
            }
            Effect::ScanAmong(pages) => Event::Scanned { written: self.guest.scan_among(&pages) },
            Effect::Throttle(share) => {
                self.guest.throttle(share);
                Event::Throttled { share }
            }
            Effect::OpenPageLines => match (self.is_open(), self.armed.source_log.take()) {
                (true, None) => Event::PageLinesOpen,
                (false, _) => Event::PageLinesNotOpen("no answer".to_owned()),
                (_, Some(_)) => Event::PageLinesNotOpen("the log did not take it".to_owned()),
            },
            Effect::ServePages { .. } => return self.serving = true,
            Effect::Stop => {
                self.guest.running = false;
                self.guest.throttle(Probability::ONE);
                self.stopped_at = self.now;
                let after = (self.guest.settled_at() - self.now).max(EFFECT);
                return self.schedule(after, Action::Source(Event::Stopped { since: self.now }));
            }
            Effect::SaveDeviceState => return self.schedule(EFFECT * 6, Action::StateSaved),
            Effect::Digest { except } => Event::Digested(digest(&self.guest.memory, &except)),
            Effect::RecordCommit => {
                let failure = self.armed.source_log.take();
                return self.record_commit(failure);
            }
            Effect::Resume => {
                self.expect(!self.is_committed(), "let run at the source behind the commit");
                self.resume_at_source();
                Event::Resumed
            }
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    /// The commit point.
    fn record_commit(&mut self, failure: Option<Failure>) {
        let reason = || "no space left on the device".to_owned();
        let event = match failure {
            None => {
                self.log = Log::Committed;
                Event::Recorded
            }
            Some(Failure::Certain) => Event::NotRecorded(reason()),
            Some(how) => {
                self.log = Log::Unknown { finds: how == Failure::Written };
                Event::RecordUnknown(reason())
            }
        };
        self.left_behind.clone_from(&self.guest.memory);
        self.schedule(EFFECT, Action::Source(event));
    }

    pub(crate) fn is_committed(&self) -> bool {
        matches!(self.log, Log::Committed | Log::Unknown { finds: true })
    }

    /// The last of the device state has been written, which touched the memory once more.
    pub(crate) fn state_saved(&mut self) {
        if !self.guest.running && matches!(self.source, SourceHost::Holding(_)) {
            self.guest.save_device_state();
            self.transmit(Frame::DeviceState(Bytes::kib(200)), Bytes::kib(200));
            let (bytes, sent) = (Bytes::kib(200), self.sent);
            self.step_source(Event::StateSent { bytes, sent });
        }
    }

    fn begin_batch(&mut self, batch: &Batch) {
        if batch.kind == BatchKind::Final {
            self.final_pages += batch.pages.len().get();
        }
        self.sending.push_back((batch.pages.iter().collect(), 0));
        if self.sending.len() == 1 {
            self.schedule(Duration::ZERO, Action::SendChunk);
        }
    }

    pub(crate) fn send_chunk(&mut self) {
        // The socket takes no more than goes out.
        if let Some(until) = self.held(&Action::ToDestination) {
            return self.schedule(until - self.now, Action::SendChunk);
        }
        let Some((pages, from)) = self.sending.front_mut() else { return };
        let until = (*from + CHUNK).min(pages.len());
        let content: Vec<_> = pages[*from..until]
            .iter()
            .map(|page| (page.0, self.guest.memory[page.0 as usize]))
            .collect();
        *from = until;
        let is_last = until == pages.len();
        if !content.is_empty() {
            let length = content.iter().map(|(page, _)| self.packed(PageIndex(*page))).sum();
            self.transmit(Frame::Pages(content), length);
        }
        if is_last {
            self.sending.pop_front();
        }
        if !self.sending.is_empty() {
            // The socket holds two milliseconds' worth.
            let ahead = self.link.free.saturating_sub(self.now);
            self.schedule(ahead.saturating_sub(Duration::from_millis(2)), Action::SendChunk);
        }
        let (sent, pages) = (self.sent, Pages::new(until as u64));
        self.step_source(match is_last {
            true => Event::PagesSent { sent },
            false => Event::Sending { sent, pages },
        });
    }

    /// How many bytes a page takes now.
    fn packed(&mut self, page: PageIndex) -> Bytes {
        let Workload { packed, hot, .. } = self.setting.workload;
        let packed = if page.0 < hot { packed.hot } else { packed.cold };
        let again = self.sent_before.contains(page);
        self.sent_before.insert(page);
        Bytes::new(if again { packed.again } else { packed.first })
    }

    fn resume_at_source(&mut self) {
        self.expect(self.place == Place::Source, "let run at the source while it runs elsewhere");
        self.sending.clear();
        self.serving = false;
        if !self.guest.running {
            self.blackout = self.now - self.stopped_at;
        }
        self.guest.running = true;
        self.guest.throttle(Probability::ONE);
    }

    pub(crate) fn crash_source(&mut self, down: Duration) {
        if std::mem::replace(&mut self.source_up, false) {
            self.source = SourceHost::Idle;
            self.sending.clear();
            self.reset();
            self.schedule(down, Action::SourceRestarts);
        }
    }

    /// The daemon reads its log: what was not committed is its own.
    pub(crate) fn source_restarts(&mut self) {
        self.source_up = true;
        self.under_way = false;
        if let Log::Unknown { finds } = self.log {
            self.log = if finds { Log::Committed } else { Log::Open };
        }
        if self.is_committed() {
            self.surrender();
        } else if !self.guest.running {
            self.resume_at_source();
        }
    }

    /// What the source answers to an inquiry; nothing if it does not hear it.
    pub(crate) fn answer(&self) -> Option<Decided> {
        if !self.is_up(Side::Source) || !self.is_open() {
            return None;
        }
        Some(match (self.log, self.under_way) {
            (Log::Committed, _) => Decided::Committed,
            (Log::Open, false) => Decided::Aborted,
            (Log::Open, true) | (Log::Unknown { .. }, _) => Decided::Undecided,
        })
    }
}
