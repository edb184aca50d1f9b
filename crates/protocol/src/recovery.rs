//! The end of a daemon, and what the next one puts in order.

use crate::model::Model;
use crate::rules::Deviation;
use crate::tasks::{Task, Written};
use crate::world::{Copy, CopyState, Inquiry, Pages, Role, Standing, Thread, World};

/// Discards a machine that never was this host's; mirrors `punctual_host::recovery::give_up`.
pub(crate) fn give_up() -> Vec<Task> {
    vec![Task::Remove, Task::RemoveRecord, Task::RecordDiscarded]
}

impl Model {
    /// A daemon is killed: its threads and connections end, machines and what is on disk stay.
    pub(crate) fn crash(&self, world: &mut World, host: u8) {
        self.end_daemon(world, host);
        if self.is_local() {
            self.end_daemon(world, 1 - host);
        }
    }

    fn end_daemon(&self, world: &mut World, host: u8) {
        let ended = world.host(host);
        ended.up = false;
        ended.threads.clear();
        if let Some(copy) = ended.copy.as_mut().filter(|copy| copy.pages == Pages::Filled) {
            copy.pages = Pages::Own;
        }
        for number in 0..world.attempts.len() {
            let number = u8::try_from(number).expect("there are few attempts");
            world.crash_service(host, number);
            let (incoming, outgoing) = world.lanes(host, number);
            incoming.end();
            outgoing.cut();
            let attempt = world.attempt(number);
            if attempt.from != host {
                attempt.stray |= attempt.inquiry == Inquiry::Asked;
                attempt.inquiry = Inquiry::Idle;
            } else {
                attempt.stray = false;
                if attempt.inquiry == Inquiry::Asked {
                    attempt.inquiry = Inquiry::Lost;
                }
            }
        }
    }

    /// A daemon is started again. Each record of which nobody could tell whether it is in the log
    /// is found there, or is not.
    pub(crate) fn restart(&self, world: &World, host: u8) -> Vec<World> {
        let mut worlds = vec![world.clone()];
        for number in 0..world.attempts.len() {
            let source = world.attempts[number].from == host;
            let records: &[fn(&mut crate::world::Attempt) -> &mut Written] = if self.is_local() {
                &[
                    |attempt| &mut attempt.committed,
                    |attempt| &mut attempt.asked,
                    |attempt| &mut attempt.running,
                    |attempt| &mut attempt.discarded,
                ]
            } else if source {
                &[
                    |attempt| &mut attempt.committed,
                    |attempt| &mut attempt.owing,
                    |attempt| &mut attempt.surrendered,
                ]
            } else {
                &[
                    |attempt| &mut attempt.asked,
                    |attempt| &mut attempt.running,
                    |attempt| &mut attempt.discarded,
                    |attempt| &mut attempt.whole,
                ]
            };
            for record in records {
                let mut found = Vec::new();
                for mut world in worlds {
                    if *record(&mut world.attempts[number]) != Written::Unknown {
                        found.push(world);
                        continue;
                    }
                    for written in [Written::No, Written::Yes] {
                        let mut world = world.clone();
                        *record(&mut world.attempts[number]) = written;
                        found.push(world);
                    }
                }
                worlds = found;
            }
        }
        worlds.iter_mut().for_each(|world| match self.is_local() {
            true => self.recover_here(world),
            false => self.recover(world, host),
        });
        worlds
    }

    /// Mirrors `punctual_host::recovery::recover_one`.
    fn recover(&self, world: &mut World, number: u8) {
        let host = world.host(number);
        (host.up, host.uncertain) = (true, false);
        if !self.rules.have(Deviation::RemindersDieWithTheDaemon) {
            self.remind_again(world, number);
        }
        let Some(record) = world.host(number).record else { return };
        let (attempt, todo) = match record {
            Standing::Resident | Standing::Departed(_) => return,
            Standing::Ending => (0, vec![Task::Remove, Task::RemoveRecord]),
            Standing::Leaving(attempt) | Standing::Undecided(attempt) => {
                (attempt, self.leaving(world, attempt))
            }
            Standing::Serving(attempt) => (attempt, Self::serving(world, attempt)),
            Standing::Depending(attempt) => (attempt, self.depending(world, number, attempt)),
            Standing::Arriving(attempt) => (attempt, self.arriving(world, number, attempt)),
        };
        world.host(number).threads.push(Thread::of(Role::Recovering, attempt, todo));
    }

    /// Mirrors `punctual_host::recovery::leaving`.
    fn leaving(&self, world: &mut World, attempt: u8) -> Vec<Task> {
        let (number, attempt) = (attempt, world.attempt(attempt));
        let owing = attempt.owing == Written::Yes && attempt.surrendered != Written::Yes;
        let committed = attempt.committed == Written::Yes && !attempt.forgotten;
        if committed && owing {
            Self::serve_on(number)
        } else if committed && !self.rules.have(Deviation::RecoveryIgnoresTheCommit) {
            vec![Task::Remove, Task::RemoveRecord]
        } else {
            vec![Task::Recover, Task::Stand(Standing::Resident)]
        }
    }

    /// Mirrors `punctual_host::recovery::serving`.
    fn serving(world: &mut World, number: u8) -> Vec<Task> {
        match world.attempt(number).surrendered {
            Written::Yes => vec![Task::Remove, Task::RemoveRecord],
            Written::No | Written::Unknown => Self::serve_on(number),
        }
    }

    /// Mirrors `punctual_host::recovery::depending`.
    fn depending(&self, world: &mut World, host: u8, number: u8) -> Vec<Task> {
        let resident = Task::Stand(Standing::Resident);
        match self.take_over(world, host, number) {
            none if none.is_empty() => vec![Task::RecordWhole, resident],
            take_over => take_over,
        }
    }

    /// Mirrors `punctual_host::following::depending`, `take_over`; nothing where nothing is missing.
    fn take_over(&self, world: &mut World, host: u8, number: u8) -> Vec<Task> {
        let pages = world.host(host).copy.map(|copy| copy.pages);
        if pages != Some(Pages::Lacking) || self.rules.have(Deviation::RecoveryTakesItForWhole) {
            return vec![];
        }
        vec![Task::TakeOver, Task::Stand(Standing::Depending(number)), Task::Depend]
    }

    /// Mirrors `punctual_host::recovery::arriving` and `punctual_host::journal::stage`.
    fn arriving(&self, world: &mut World, host: u8, number: u8) -> Vec<Task> {
        // One that lacks pages may be waiting for one, and is not asked.
        let answers = |copy: &Copy| copy.pages != Pages::Lacking;
        let state = world.host(host).copy.filter(answers).map(|copy| copy.state);
        let runs = state == Some(CopyState::Running);
        let attempt = world.attempt(number);
        if attempt.running == Written::Yes && attempt.discarded != Written::Yes {
            return self.keep(world, host, number, None);
        }
        let asked = attempt.asked == Written::Yes && attempt.discarded != Written::Yes;
        if !asked || self.rules.have(Deviation::RecoveryDiscardsWhatWasAskedFor) {
            give_up()
        } else if runs && !self.rules.have(Deviation::DiscardsWhatRuns) {
            self.keep(world, host, number, Some(Task::RecordRunning))
        } else {
            vec![Task::Ask]
        }
    }

    /// Makes a machine run that has come here; mirrors `punctual_host::recovery::keep`.
    pub(crate) fn keep(
        &self,
        world: &mut World,
        host: u8,
        number: u8,
        note: Option<Task>,
    ) -> Vec<Task> {
        let reminds = !self.rules.have(Deviation::RemindersDieWithTheDaemon);
        let reminder = reminds.then_some(Task::Remind);
        let mut tasks = self.take_over(world, host, number);
        if tasks.is_empty() {
            tasks.push(Task::Stand(Standing::Resident));
        }
        // It is taken over first: whoever lets it run may touch pages that are still to come.
        let at = match tasks.first() {
            Some(Task::TakeOver) if self.rules.have(Deviation::DependsBeforeItRuns) => tasks.len(),
            Some(Task::TakeOver) => 1,
            _ => 0,
        };
        let runs = [Task::Recover].into_iter().chain(note).chain(reminder);
        tasks.splice(at..at, runs);
        tasks
    }

    /// Of a machine that came here, wherever it is by now, its source may not know that it ran.
    fn remind_again(&self, world: &mut World, host: u8) {
        for number in 0..world.attempts.len() {
            let attempt = &world.attempts[number];
            let came = attempt.from != host
                && attempt.asked == Written::Yes
                && attempt.discarded != Written::Yes;
            let number = u8::try_from(number).expect("there are few attempts");
            if came && world.host(host).record != Some(Standing::Arriving(number)) {
                let reminder = self.reminder(number);
                world.host(host).threads.push(reminder);
            }
        }
    }

    /// Whether the source's log may be tidied of an attempt; mirrors
    /// `punctual_host::journal::tidied`. How it ended is kept, so that this shows only by the rules
    /// by which it is not, or not for ever.
    pub(crate) fn may_be_forgotten(&self, world: &World, number: u8) -> bool {
        let attempt = &world.attempts[usize::from(number)];
        let host = &world.hosts[usize::from(attempt.from)];
        let shows =
            [Deviation::PresumesAborted, Deviation::TidiesWhatIsNamed, Deviation::ForgetsInTheEnd];
        let named = host.record.and_then(Standing::attempt) == Some(number)
            && !self.rules.have(Deviation::TidiesWhatIsNamed);
        let shows = shows.into_iter().any(|deviation| self.rules.have(deviation));
        shows && attempt.ended && !attempt.forgotten && !named
    }
}
