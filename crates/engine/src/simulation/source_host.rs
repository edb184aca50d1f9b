//! The source: its state machine, and what its driver would do.

use std::time::Duration;

use punctual_units::{Bytes, PageIndex, Pages};
use punctual_wire::SourceMessage;

use super::faults::Point;
use super::guest::Workload;
use super::world::{Action, EFFECT, Frame, RESTART, SourceHost, World, digest};
use crate::report::Report;
use crate::source::{self, Batch, BatchKind};

/// Pages in one frame.
const CHUNK: usize = 16;

impl World {
    pub(super) fn step_source(&mut self, event: source::Event) {
        match std::mem::replace(&mut self.source, SourceHost::Down) {
            SourceHost::Holding(holding) => {
                let next = holding.step(self.now, event);
                self.follow_source(next);
            }
            SourceHost::Committed(committed) => match committed.step(self.now, event) {
                Ok(committed) => self.source = SourceHost::Committed(committed),
                Err(moved) => self.end_source(moved.report),
            },
            SourceHost::Down => {}
        }
    }

    pub(super) fn follow_source(&mut self, next: source::Next) {
        match next {
            source::Next::Hold(holding, effects) => {
                self.source = SourceHost::Holding(holding);
                for effect in effects {
                    if matches!(self.source, SourceHost::Down) {
                        return;
                    }
                    if self.point(Point::Effect) {
                        self.carry_out(effect);
                    } else {
                        self.fail(&effect);
                    }
                }
            }
            source::Next::Committed(committed) => {
                self.source = SourceHost::Committed(committed);
                self.transmit(Frame::Message(SourceMessage::Commit), Bytes::new(20));
            }
            source::Next::Unknown(unknown) => {
                self.report = Some(unknown.report);
                self.schedule(RESTART, Action::SourceRestarts);
            }
            source::Next::Stayed(stayed) => {
                if let Some(farewell) = stayed.farewell {
                    self.transmit(Frame::Message(farewell), Bytes::new(20));
                }
                self.end_source(stayed.report);
            }
        }
    }

    pub(super) fn end_source(&mut self, report: Report) {
        self.under_way = false;
        self.report = Some(report);
    }

    pub(super) fn fail(&mut self, effect: &source::Effect) {
        let reason = || "injected".to_owned();
        let event = match effect {
            source::Effect::RecordCommit if self.setting.seed.is_multiple_of(3) => {
                source::Event::NotRecorded(reason())
            }
            source::Effect::RecordCommit => {
                self.committed = self.setting.seed % 3 == 1;
                source::Event::RecordUnknown(reason())
            }
            source::Effect::Say(_) | source::Effect::Send(_) | source::Effect::Probe { .. } => {
                return self.lose_link();
            }
            source::Effect::Resume => {
                self.excused = true;
                source::Event::MachineFailed(reason())
            }
            _ => source::Event::MachineFailed(reason()),
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    pub(super) fn carry_out(&mut self, effect: source::Effect) {
        use source::{Effect, Event};
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
            Effect::Stop => {
                self.guest.running = false;
                self.stopped_at = self.now;
                let after = (self.guest.settled_at() - self.now).max(EFFECT);
                return self.schedule(after, Action::Source(Event::Stopped { since: self.now }));
            }
            Effect::SaveDeviceState => {
                return self.schedule(EFFECT * 6, Action::StateSaved);
            }
            Effect::OpenPageLines => Event::PageLinesOpen,
            Effect::ServePages => return,
            Effect::Digest { .. } => Event::Digested(digest(&self.guest.memory)),
            Effect::RecordCommit => {
                self.committed = true;
                Event::Recorded
            }
            Effect::Resume => {
                assert!(!self.committed, "resumed behind the commit");
                self.sending.clear();
                if !self.guest.running {
                    self.blackout = self.now - self.stopped_at;
                }
                self.guest.running = true;
                Event::Resumed
            }
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    /// The last of the device state has been written, which touched the memory once more.
    pub(super) fn state_saved(&mut self) {
        if !self.guest.running {
            self.guest.save_device_state();
            self.transmit(Frame::DeviceState(Bytes::kib(200)), Bytes::kib(200));
            let (bytes, sent) = (Bytes::kib(200), self.sent);
            self.step_source(source::Event::StateSent { bytes, sent });
        }
    }

    pub(super) fn begin_batch(&mut self, batch: &Batch) {
        if batch.kind == BatchKind::Final {
            self.final_pages += batch.pages.len().get();
        }
        self.sending.push_back((batch.pages.iter().collect(), 0));
        if self.sending.len() == 1 {
            self.schedule(Duration::ZERO, Action::SendChunk);
        }
    }

    pub(super) fn send_chunk(&mut self) {
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
            let ahead = self.link_free.saturating_sub(self.now);
            self.schedule(ahead.saturating_sub(Duration::from_millis(2)), Action::SendChunk);
        }
        let (sent, pages) = (self.sent, Pages::new(until as u64));
        self.step_source(match is_last {
            true => source::Event::PagesSent { sent },
            false => source::Event::Sending { sent, pages },
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

    pub(super) fn crash_source(&mut self) {
        if !matches!(self.source, SourceHost::Down) {
            self.source = SourceHost::Down;
            self.sending.clear();
            self.lose_link();
            self.schedule(RESTART, Action::SourceRestarts);
        }
    }

    /// The daemon reads its log: what was not committed is its own.
    pub(super) fn source_restarts(&mut self) {
        self.under_way = false;
        if !self.committed {
            self.guest.running = true;
        }
    }
}
