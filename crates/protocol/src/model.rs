//! Which worlds can follow a world.

use crate::cores::{Cores, Input};
use crate::following::Service;
use crate::local::Ended;
use crate::rules::{Bounds, Moves, Rules};
use crate::step::{Cost, Step, What};
use crate::tasks::{How, Task, Written};
use crate::world::{
    Asking, Attempt, Copy, CopyState, Host, Inquiry, Kind, Lane, Pages, Role, Standing, Thread,
    World,
};

/// The model: bounds, rules, and the engine's state machines.
#[derive(Debug)]
pub struct Model {
    pub(crate) bounds: Bounds,
    pub(crate) rules: Rules,
    pub(crate) cores: Cores,
}

/// The steps found so far that can follow a world.
pub(crate) type Steps = Vec<(Step, World)>;

impl Model {
    /// A model of hosts that play by `rules`, with as much going wrong as `bounds` allow.
    #[must_use]
    pub fn new(bounds: Bounds, rules: Rules) -> Self {
        Self { bounds, rules, cores: Cores::new() }
    }

    /// Host a runs the machine, host b knows nothing of it.
    #[must_use]
    pub fn first(&self) -> World {
        let running = Copy { state: CopyState::Running, fresh: true, pages: Pages::Own };
        let host = |has: bool| Host {
            up: true,
            record: has.then_some(Standing::Resident),
            copy: has.then_some(running),
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
            let other_is_it = self.is_local() && host == 1;
            if world.hosts[usize::from(host)].up {
                for thread in 0..world.hosts[usize::from(host)].threads.len() {
                    self.thread(world, host, thread, &mut steps);
                }
                self.daemon(world, host, &mut steps);
            } else if !other_is_it {
                let what = What::Restarts;
                let restarted = self.restart(world, host);
                let restart = Step { host, attempt: None, what, cost: Cost::Free };
                steps.extend(restarted.into_iter().map(|world| (restart, world)));
            }
        }
        for attempt in 0..world.attempts.len() {
            let attempt = u8::try_from(attempt).expect("there are few attempts");
            self.network(world, attempt, &mut steps);
            self.page_lines(world, attempt, &mut steps);
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
        if let Some(todo) = self.awaited(world, host, thread) {
            let mut next = world.clone();
            next.go_on(host, number, todo);
            step(What::SeesItsEnd, Cost::Free, next);
        }
        if let Some(task) = thread.todo.first().copied().filter(|task| *task != Task::Ask) {
            let may_fail = world.faults > 0 && world.may_fail(host, task);
            let failures = task.failures().iter().copied().filter(|_| may_fail);
            let well = (!task.waits()).then_some(How::Done);
            for how in well.into_iter().chain(failures) {
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
        let committed = thread.core.is_some_and(|core| self.cores.is_committed(core));
        let waits_alone = committed && self.is_local();
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
        if waits_alone {
            // The other end learns how it stands only when this one has ended.
            told(Input::Late, Cost::Free, &|_| ());
        } else if world.faults > 0 {
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
        if world.faults > 0 && !(self.is_local() && host == 1) {
            let mut next = world.clone();
            next.faults -= 1;
            self.crash(&mut next, host);
            step(What::Crashes, Cost::Fault, next);
        }
        // What nobody works on any more is left to the next daemon: the log says so.
        let left = here.record.is_some_and(|record| match record.unfinished() {
            Some(attempt) => !here.threads.iter().any(|thread| thread.attempt == attempt),
            None => record == Standing::Ending && here.threads.is_empty(),
        });
        let busy_there = self.is_local() && !world.hosts[usize::from(1 - host)].threads.is_empty();
        if left && !busy_there {
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
            for kind in self.kinds() {
                let mut next = world.clone();
                self.begin(&mut next, host, *kind);
                step(What::Begins(*kind), Cost::Wish, next);
            }
        }
    }

    /// How the next attempt may be made.
    fn kinds(&self) -> &'static [Kind] {
        match self.bounds.moves {
            Moves::Whole | Moves::Local => &[Kind::Whole],
            Moves::Following => &[Kind::Following, Kind::NothingFollows],
            Moves::Either => &[Kind::Whole, Kind::Following, Kind::NothingFollows],
        }
    }

    /// Mirrors `punctual_host::departure::migrate` and the beginning of
    /// `punctual_engine::emigrate`.
    fn begin(&mut self, world: &mut World, host: u8, kind: Kind) {
        let number = u8::try_from(world.attempts.len()).expect("there are few attempts");
        world.attempts.push(Attempt {
            from: host,
            kind,
            to_destination: Lane::new(),
            to_source: Lane::new(),
            handed_over: None,
            committed: Written::No,
            ended: false,
            forgotten: false,
            let_go: false,
            asked: Written::No,
            running: Written::No,
            discarded: Written::No,
            owing: Written::No,
            surrendered: Written::No,
            whole: Written::No,
            service: Service::default(),
            left: None,
            taken: None,
            inquiry: Inquiry::Idle,
            stray: false,
        });
        world.host(host).record = Some(Standing::Leaving(number));
        let reaction = self.cores.depart(number, kind);
        let mut thread = Thread::of(Role::Leaving, number, vec![]);
        self.follow(&mut thread, reaction.reached, reaction.tasks, false);
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
                self.follow(&mut thread, reaction.reached, reaction.tasks, false);
                next.host(destination).threads.push(thread);
            }
            step(destination, What::Takes(Input::Heard(*first)), Cost::Free, next);
        }
        if is_new && attempt.to_destination.may_end() {
            let mut next = world.clone();
            next.close(destination, number);
            next.attempt(number).taken = self.is_local().then_some(Ended::Gone);
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
        if self.may_be_let_go(world, number) {
            fault(destination, What::Forgets, &|world| world.attempt(number).let_go = true);
        }
        if self.may_be_forgotten(world, number) {
            fault(source, What::Forgets, &|world| world.attempt(number).forgotten = true);
        }
    }
}
