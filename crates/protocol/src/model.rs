//! Which worlds can follow a world.

use crate::cores::{Cores, Input};
use crate::rules::{Bounds, Rules};
use crate::step::{Cost, Step, What};
use crate::tasks::{How, Task, Written};
use crate::world::{
    Asking, Attempt, Copy, CopyState, Host, Inquiry, Lane, Role, Standing, Thread, World,
};

/// The model: bounds, rules, and the engine's state machines.
#[derive(Debug)]
pub struct Model {
    pub(crate) bounds: Bounds,
    pub(crate) rules: Rules,
    pub(crate) cores: Cores,
}

/// The steps found so far that can follow a world.
type Steps = Vec<(Step, World)>;

impl Model {
    /// A model of hosts that play by `rules`, with as much going wrong as `bounds` allow.
    #[must_use]
    pub fn new(bounds: Bounds, rules: Rules) -> Self {
        Self { bounds, rules, cores: Cores::new() }
    }

    /// Host a runs the machine, host b knows nothing of it.
    #[must_use]
    pub fn first(&self) -> World {
        let host = |has: bool| Host {
            up: true,
            record: has.then_some(Standing::Resident),
            copy: has.then_some(Copy { state: CopyState::Running, fresh: true }),
            uncertain: false,
            threads: vec![],
        };
        let Bounds { faults, cancels, .. } = self.bounds;
        World { hosts: [host(true), host(false)], attempts: vec![], faults, cancels, breach: None }
    }

    /// How many states of the engine's machines have been seen.
    #[must_use]
    pub fn engine_states(&self) -> usize {
        self.cores.len()
    }

    /// A step for people to read.
    #[must_use]
    pub fn tell(&self, step: &Step) -> String {
        step.tell(&self.cores)
    }

    /// Every world that can follow, with the step that leads there.
    pub fn next(&mut self, world: &World) -> Vec<(Step, World)> {
        let mut steps = Steps::new();
        if world.breach.is_some() {
            return steps;
        }
        for host in 0..2 {
            if world.hosts[usize::from(host)].up {
                for thread in 0..world.hosts[usize::from(host)].threads.len() {
                    self.thread(world, host, thread, &mut steps);
                }
                self.daemon(world, host, &mut steps);
            } else {
                let what = What::Restarts;
                let restarted = self.restart(world, host);
                let restart = Step { host, attempt: None, what, cost: Cost::Free };
                steps.extend(restarted.into_iter().map(|world| (restart, world)));
            }
        }
        for attempt in 0..world.attempts.len() {
            let attempt = u8::try_from(attempt).expect("there are few attempts");
            self.network(world, attempt, &mut steps);
        }
        steps.iter_mut().for_each(|(_, world)| world.settle());
        steps.retain(|(_, next)| next != world);
        steps
    }

    /// What a thread may do next.
    fn thread(&mut self, world: &World, host: u8, number: usize, steps: &mut Steps) {
        let thread = &world.hosts[usize::from(host)].threads[number];
        let attempt = Some(thread.attempt);
        let mut step = |what, cost, next| steps.push((Step { host, attempt, what, cost }, next));
        if thread.asking == Asking::Waiting {
            let inquiry = world.attempts[usize::from(thread.attempt)].inquiry;
            if inquiry != Inquiry::Asked {
                let mut next = world.clone();
                self.answered(&mut next, host, number);
                step(What::Answered(inquiry), Cost::Free, next);
            }
            return;
        }
        if self.asks(world, thread) {
            let mut next = world.clone();
            self.ask(&mut next, host, number);
            step(What::Asks, Cost::Free, next);
        }
        if let Some(task) = thread.todo.first().copied().filter(|task| *task != Task::Ask) {
            let failures = task.failures().iter().copied().filter(|_| world.faults > 0);
            for how in std::iter::once(How::Done).chain(failures) {
                let mut next = world.clone();
                next.thread(host, number).todo.remove(0);
                next.faults -= u8::from(how != How::Done);
                self.carry_out(&mut next, host, number, task, how);
                let cost = if how == How::Done { Cost::Free } else { Cost::Fault };
                step(What::Does(task, how), cost, next);
            }
            return;
        }
        if let Some(answer) = thread.answers.first().copied() {
            let mut next = world.clone();
            next.thread(host, number).answers.remove(0);
            self.feed(&mut next, host, number, answer);
            step(What::Takes(answer), Cost::Free, next);
            return;
        }
        if thread.is_idle() {
            let thread = thread.clone();
            self.inputs(world, host, number, &thread, &mut step);
        }
    }

    /// What a thread that has nothing to do may come to know.
    fn inputs(
        &mut self,
        world: &World,
        host: u8,
        number: usize,
        thread: &Thread,
        step: &mut impl FnMut(What, Cost, World),
    ) {
        let mut told = |input, cost, change: &dyn Fn(&mut World)| {
            let passes = matches!(input, Input::Tick | Input::Late | Input::Cancelled);
            if passes && thread.core.is_some_and(|core| self.cores.ignores(core, input)) {
                return;
            }
            let mut next = world.clone();
            change(&mut next);
            self.feed(&mut next, host, number, input);
            step(What::Takes(input), cost, next);
        };
        let attempt = &world.attempts[usize::from(thread.attempt)];
        let leaving = thread.role == Role::Leaving;
        let incoming = if leaving { &attempt.to_source } else { &attempt.to_destination };
        let lane = |world: &mut World, change: &dyn Fn(&mut Lane)| {
            change(world.lanes(host, thread.attempt).0);
        };
        if let Some(answer) = thread.later.first() {
            told(*answer, Cost::Free, &|world| {
                world.thread(host, number).later.remove(0);
            });
        }
        if let Some(message) = incoming.messages.first() {
            let heard = Input::Heard(*message);
            let take = |lane: &mut Lane| {
                lane.messages.remove(0);
            };
            told(heard, Cost::Free, &|world| lane(world, &take));
            if world.faults > 0 {
                // It is repeated: heard, and heard again later.
                told(heard, Cost::Fault, &|world| world.faults -= 1);
            }
        }
        if incoming.may_end() {
            told(Input::LinkLost, Cost::Free, &|world| lane(world, &Lane::end));
        }
        told(Input::Tick, Cost::Free, &|_| ());
        if world.faults > 0 {
            told(Input::Late, Cost::Fault, &|world| world.faults -= 1);
        }
        if leaving && world.cancels > 0 {
            told(Input::Cancelled, Cost::Wish, &|world| world.cancels -= 1);
        }
    }

    /// What may happen to a daemon as a whole.
    fn daemon(&mut self, world: &World, host: u8, steps: &mut Steps) {
        let here = &world.hosts[usize::from(host)];
        let mut step = |what, cost, next| {
            steps.push((Step { host, attempt: None, what, cost }, next));
        };
        if world.faults > 0 {
            let mut next = world.clone();
            next.faults -= 1;
            self.crash(&mut next, host);
            step(What::Crashes, Cost::Fault, next);
        }
        // What nobody works on any more is left to the next daemon: the log says so.
        let left = here.record.is_some_and(|record| match record.undecided() {
            Some(attempt) => !here.threads.iter().any(|thread| thread.attempt == attempt),
            None => record == Standing::Ending && here.threads.is_empty(),
        });
        if left {
            let mut next = world.clone();
            self.crash(&mut next, host);
            step(What::IsEnded, Cost::Free, next);
        }
        let other = 1 - host;
        let begins = here.record == Some(Standing::Resident)
            && world.attempts.len() < usize::from(self.bounds.attempts)
            && world.serves(host)
            && world.serves(other);
        if begins {
            let mut next = world.clone();
            self.begin(&mut next, host);
            step(What::Begins, Cost::Wish, next);
        }
    }

    /// Mirrors `punctual_host::departure::migrate` and the beginning of
    /// `punctual_engine::emigrate`.
    fn begin(&mut self, world: &mut World, host: u8) {
        let number = u8::try_from(world.attempts.len()).expect("there are few attempts");
        world.attempts.push(Attempt {
            from: host,
            to_destination: Lane::new(),
            to_source: Lane::new(),
            handed_over: None,
            committed: Written::No,
            ended: false,
            forgotten: false,
            asked: Written::No,
            running: Written::No,
            discarded: Written::No,
            inquiry: Inquiry::Idle,
            stray: false,
        });
        world.host(host).record = Some(Standing::Leaving(number));
        let reaction = self.cores.depart(number);
        let mut thread = Thread::of(Role::Leaving, number, vec![]);
        self.follow(&mut thread, reaction.reached, reaction.tasks);
        world.host(host).threads.push(thread);
    }

    /// What may happen between the hosts, and to what a log holds of an attempt.
    fn network(&mut self, world: &World, number: u8, steps: &mut Steps) {
        let attempt = &world.attempts[usize::from(number)];
        let (source, destination) = (attempt.from, 1 - attempt.from);
        let mut step = |host, what, cost, next| {
            steps.push((Step { host, attempt: Some(number), what, cost }, next));
        };
        let arriving = |thread: &Thread| thread.role == Role::Arriving && thread.attempt == number;
        let is_new = !world.hosts[usize::from(destination)].threads.iter().any(arriving);
        if let Some(first) = attempt.to_destination.messages.first()
            && is_new
            && world.serves(destination)
        {
            let mut next = world.clone();
            next.attempt(number).to_destination.messages.remove(0);
            if let Some(reaction) = self.cores.arrive(*first) {
                let mut thread = Thread::of(Role::Arriving, number, vec![]);
                self.follow(&mut thread, reaction.reached, reaction.tasks);
                next.host(destination).threads.push(thread);
            }
            step(destination, What::Takes(Input::Heard(*first)), Cost::Free, next);
        }
        if is_new && attempt.to_destination.may_end() {
            let mut next = world.clone();
            next.close(destination, number);
            step(destination, What::Takes(Input::LinkLost), Cost::Free, next);
        }
        for (stray, is_there) in [(false, attempt.inquiry == Inquiry::Asked), (true, attempt.stray)]
        {
            if is_there && world.serves(source) {
                let mut next = world.clone();
                self.serve(&mut next, number, stray);
                step(source, What::Answers(self.outcome(world, number)), Cost::Free, next);
            }
        }
        if world.faults == 0 {
            return;
        }
        let mut fault = |host, what, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            next.faults -= 1;
            change(&mut next);
            step(host, what, Cost::Fault, next);
        };
        if attempt.to_destination.can_be_cut() {
            fault(source, What::IsCut, &|world| world.attempt(number).to_destination.cut());
        }
        if attempt.to_source.can_be_cut() {
            fault(destination, What::IsCut, &|world| world.attempt(number).to_source.cut());
        }
        if matches!(attempt.inquiry, Inquiry::Asked | Inquiry::Answered(_)) {
            fault(destination, What::InquiryLost, &|world| self.lose_inquiry(world, number));
        }
        if self.may_be_forgotten(world, number) {
            fault(source, What::Forgets, &|world| world.attempt(number).forgotten = true);
        }
    }
}
