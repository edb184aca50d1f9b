//! The end of a daemon, and what the next one puts in order.

use crate::model::Model;
use crate::rules::Deviation;
use crate::tasks::{Task, Written};
use crate::world::{Copy, CopyState, Inquiry, Role, Standing, Thread, World};

/// Discards a machine that never was this host's; mirrors `punctual_host::recovery::give_up`.
pub(crate) fn give_up() -> Vec<Task> {
    vec![Task::Remove, Task::RemoveRecord, Task::RecordDiscarded]
}

impl Model {
    /// A daemon is killed: its threads and connections end, machines and what is on disk stay.
    pub(crate) fn crash(&self, world: &mut World, host: u8) {
        let ended = world.host(host);
        ended.up = false;
        ended.threads.clear();
        for number in 0..world.attempts.len() {
            let number = u8::try_from(number).expect("there are few attempts");
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
            let records: &[fn(&mut crate::world::Attempt) -> &mut Written] = if source {
                &[|attempt| &mut attempt.committed]
            } else {
                &[
                    |attempt| &mut attempt.asked,
                    |attempt| &mut attempt.running,
                    |attempt| &mut attempt.discarded,
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
        worlds.iter_mut().for_each(|world| self.recover(world, host));
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
            Standing::Arriving(attempt) => (attempt, self.arriving(world, number, attempt)),
        };
        world.host(number).threads.push(Thread::of(Role::Recovering, attempt, todo));
    }

    /// Mirrors `punctual_host::recovery::leaving`.
    fn leaving(&self, world: &mut World, attempt: u8) -> Vec<Task> {
        let attempt = world.attempt(attempt);
        let committed = attempt.committed == Written::Yes && !attempt.forgotten;
        if committed && !self.rules.have(Deviation::RecoveryIgnoresTheCommit) {
            vec![Task::Remove, Task::RemoveRecord]
        } else {
            vec![Task::Recover, Task::Stand(Standing::Resident)]
        }
    }

    /// Mirrors `punctual_host::recovery::arriving` and `punctual_host::journal::stage`.
    fn arriving(&self, world: &mut World, host: u8, number: u8) -> Vec<Task> {
        let runs = Some(CopyState::Running) == world.host(host).copy.map(|copy: Copy| copy.state);
        let attempt = world.attempt(number);
        if attempt.running == Written::Yes && attempt.discarded != Written::Yes {
            return self.keep(None);
        }
        let asked = attempt.asked == Written::Yes && attempt.discarded != Written::Yes;
        if !asked || self.rules.have(Deviation::RecoveryDiscardsWhatWasAskedFor) {
            give_up()
        } else if runs && !self.rules.have(Deviation::DiscardsWhatRuns) {
            self.keep(Some(Task::RecordRunning))
        } else {
            vec![Task::Ask]
        }
    }

    /// Makes a machine run that has come here; mirrors `punctual_host::recovery::keep`.
    pub(crate) fn keep(&self, note: Option<Task>) -> Vec<Task> {
        let reminds = !self.rules.have(Deviation::RemindersDieWithTheDaemon);
        let reminder = reminds.then_some(Task::Remind);
        let resident = Task::Stand(Standing::Resident);
        [Task::Recover, resident].into_iter().chain(note).chain(reminder).collect()
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
