//! Pages that follow a machine: the service at its source, the connections, and what becomes of both
//! copies when nothing is missing any more. Mirrors `punctual_engine::post_copy` and
//! `punctual_host::following`.
//!
//! The two connections of an attempt are lost and opened together here. What is said on a new one
//! at once (all that is missing, all that is waited for) is known as soon as it is there.

use crate::model::{Model, Steps};
use crate::properties::Breach;
use crate::rules::Deviation;
use crate::step::{Cost, Step, What};
use crate::tasks::{Task, Written};
use crate::world::{Copy, CopyState, Pages, Role, Standing, Thread, World};

/// The service of a machine's pages, and its connections. It ends with the daemon of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Service {
    pub(crate) stage: Stage,
    pub(crate) line: PageLine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Stage {
    /// There is none.
    #[default]
    None,
    /// Connections are there, or sought; nothing may be served yet.
    Open,
    /// The machine stands still here: its pages may be served.
    Begun,
    /// The destination has said its last word.
    Over(Word),
}

/// The last word of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    /// Nothing is missing.
    Whole,
    /// The machine has ended.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum PageLine {
    #[default]
    Down,
    /// The source has said for which machine it is.
    Dialled,
    Up {
        /// Pages are on their way.
        pages: bool,
        /// The last word is on its way.
        word: Option<Word>,
    },
}

const UP: PageLine = PageLine::Up { pages: false, word: None };

/// What can happen to the connections of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnLine {
    Dials,
    IsTold(Word),
    IsTurnedAway,
    IsTaken,
    Serves,
    Fills,
    Hears(Word),
    IsCut,
}

impl World {
    /// Whether somebody at its destination waits for the pages of an attempt.
    fn expects(&self, number: u8) -> bool {
        let destination = 1 - self.attempts[usize::from(number)].from;
        let waits = |thread: &Thread| {
            thread.attempt == number && matches!(thread.role, Role::Arriving | Role::Depending)
        };
        self.hosts[usize::from(destination)].threads.iter().any(waits)
    }

    /// Whether pages that come are put in place: who has given up puts in none.
    fn takes_pages(&self, number: u8) -> bool {
        let destination = 1 - self.attempts[usize::from(number)].from;
        let takes = |thread: &Thread| {
            let waits = thread.todo.first() == Some(&Task::AwaitWhole);
            thread.attempt == number
                && (thread.role == Role::Arriving || thread.role == Role::Depending && waits)
        };
        self.hosts[usize::from(destination)].threads.iter().any(takes)
    }

    /// A page can only fail to be put in place while one is missing.
    pub(crate) fn may_fail(&self, host: u8, task: Task) -> bool {
        task != Task::AwaitWhole || self.pages_at(host) == Some(Pages::Lacking)
    }

    fn pages_at(&self, host: u8) -> Option<Pages> {
        self.hosts[usize::from(host)].copy.map(|copy| copy.pages)
    }

    /// Connections end with whoever has them, but for a last word on its way.
    pub(crate) fn close_page_lines(&mut self) {
        for number in 0..self.attempts.len() {
            let expected = self.expects(u8::try_from(number).expect("there are few attempts"));
            let Service { stage, line } = &mut self.attempts[number].service;
            let ended = matches!(line, PageLine::Up { word: None, .. }) && !expected;
            if ended || matches!(stage, Stage::None | Stage::Over(_)) {
                *line = PageLine::Down;
            }
        }
    }

    /// The daemon of one side ends.
    pub(crate) fn crash_service(&mut self, host: u8, number: u8) {
        let attempt = self.attempt(number);
        attempt.service.line = PageLine::Down;
        if attempt.from == host {
            attempt.service.stage = Stage::None;
        }
    }

    /// A thread goes on behind what it has waited for.
    pub(crate) fn go_on(&mut self, host: u8, thread: usize, todo: Vec<Task>) {
        let number = self.thread(host, thread).attempt;
        let given_up = todo.contains(&Task::Stand(Standing::Departed(number)));
        self.thread(host, thread).todo = todo;
        // Of one that lacks pages it shows in what comes of it.
        let lives = |copy: Copy| copy.could_run() && copy.pages != Pages::Lacking;
        if given_up && self.host(1 - host).copy.is_some_and(lives) {
            self.breach(Breach::GivenUpAlive);
        }
    }

    /// A page of an attempt is read at its source.
    fn serve_page(&mut self, source: u8) {
        match self.host(source).copy.map(|copy| copy.state) {
            Some(CopyState::Running) | None => self.breach(Breach::ServesWhatRuns),
            Some(_) => {}
        }
    }
}

impl Model {
    /// What may happen on the connections of an attempt.
    pub(crate) fn page_lines(&self, world: &World, number: u8, steps: &mut Steps) {
        let attempt = &world.attempts[usize::from(number)];
        let (source, destination) = (attempt.from, 1 - attempt.from);
        let Service { stage, line } = attempt.service;
        let mut step = |host, what, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            let cost = if what == OnLine::IsCut { Cost::Fault } else { Cost::Free };
            let attempt = Some(number);
            steps.push((Step { host, attempt, what: What::OnLine(what), cost }, next));
        };
        let set = |world: &mut World, line| world.attempt(number).service.line = line;
        match line {
            _ if !matches!(stage, Stage::Open | Stage::Begun) => {}
            PageLine::Down => {
                if world.serves(destination) && !self.rules.have(Deviation::DialsOnce) {
                    step(source, OnLine::Dials, &|world| set(world, PageLine::Dialled));
                }
            }
            PageLine::Dialled if !world.serves(destination) => {}
            PageLine::Dialled if world.expects(number) => {
                if world.pages_at(destination).is_some_and(|pages| pages != Pages::Own) {
                    step(destination, OnLine::IsTaken, &|world| set(world, UP));
                }
            }
            PageLine::Dialled => match self.not_expected(world, number) {
                Some(word) => step(destination, OnLine::IsTold(word), &|world| {
                    set(world, PageLine::Up { pages: false, word: Some(word) });
                }),
                None => step(destination, OnLine::IsTurnedAway, &|world| {
                    set(world, PageLine::Down);
                }),
            },
            PageLine::Up { pages, word } => {
                let lacks = world.pages_at(destination) == Some(Pages::Lacking);
                if stage == Stage::Begun && lacks && !pages {
                    step(source, OnLine::Serves, &|world| {
                        world.serve_page(source);
                        set(world, PageLine::Up { pages: true, word });
                    });
                }
                if pages && lacks && world.takes_pages(number) {
                    step(destination, OnLine::Fills, &|world| {
                        set(world, PageLine::Up { pages: false, word });
                        if let Some(copy) = &mut world.host(destination).copy {
                            copy.pages = Pages::Filled;
                        }
                    });
                }
                if let Some(word) = word {
                    step(source, OnLine::Hears(word), &|world| {
                        world.attempt(number).service.stage = Stage::Over(word);
                    });
                }
            }
        }
        if world.faults > 0 && line != PageLine::Down {
            step(source, OnLine::IsCut, &|world| {
                world.faults -= 1;
                set(world, PageLine::Down);
            });
        }
    }

    /// What a source is told that dials though nobody waits for its pages; mirrors
    /// `punctual_host::following::depending`, `not_expected`.
    fn not_expected(&self, world: &World, number: u8) -> Option<Word> {
        let attempt = &world.attempts[usize::from(number)];
        let record = world.hosts[usize::from(1 - attempt.from)].record;
        let named = record.and_then(Standing::attempt) == Some(number);
        let forgotten = attempt.let_go;
        match attempt.whole {
            _ if self.rules.have(Deviation::WholeIsSaidOnce) || forgotten => None,
            Written::Yes => Some(Word::Whole),
            _ if self.rules.have(Deviation::WholeOnlyByItsRecord) => {
                (attempt.running == Written::Yes).then_some(Word::Failed)
            }
            _ if attempt.asked != Written::Yes || named => None,
            _ if record.is_some() => Some(Word::Whole),
            _ => Some(Word::Failed),
        }
    }

    /// What a thread goes on with once what it waits for has come; `None`: it waits.
    pub(crate) fn awaited(&self, world: &World, host: u8, thread: &Thread) -> Option<Vec<Task>> {
        match thread.todo.first() {
            Some(Task::Follow) => match world.attempts[usize::from(thread.attempt)].service.stage {
                Stage::Over(Word::Whole) => Some(followed()),
                Stage::Over(Word::Failed) => {
                    Some(vec![Task::EndService, Task::Stand(Standing::Departed(thread.attempt))])
                }
                _ => None,
            },
            Some(Task::Join) => self.join(world, thread),
            // As `until_whole`.
            Some(Task::AwaitWhole) if world.pages_at(host) != Some(Pages::Lacking) => {
                Some(vec![Task::TakeForWhole, Task::RecordWhole, Task::AtHome, Task::TellWhole])
            }
            _ => None,
        }
    }

    /// What a thread does that cannot put a page in place, though the machine has not ended.
    pub(crate) fn gives_up(&self) -> Vec<Task> {
        let last_word = self.rules.have(Deviation::FailureIsTheEnd).then_some(Task::TellFailed);
        last_word.into_iter().collect()
    }

    /// What becomes of a machine of which the source is the destination's: whether its pages are
    /// served. As `punctual_engine::driver::source`, `moved`.
    pub(crate) fn is_followed(&self, seen_running: bool, leaves_pages: bool) -> bool {
        let unheard = !seen_running && !self.rules.have(Deviation::NothingMissingIsDeparted);
        (leaves_pages || unheard) && !(seen_running && self.rules.have(Deviation::RunningIsEnough))
    }

    /// What a daemon does that was to serve pages of which nothing is left: the earlier one was killed
    /// while it removed them.
    pub(crate) fn nothing_to_serve(&self) -> Vec<Task> {
        match self.rules.have(Deviation::NothingLeftIsAnError) {
            true => vec![],
            false => vec![Task::Remove, Task::RemoveRecord],
        }
    }

    /// Goes on serving, as `punctual_host::following::serving`, `serve_on`.
    pub(crate) fn serve_on(number: u8) -> Vec<Task> {
        vec![Task::OpenRemains, Task::Stand(Standing::Serving(number)), Task::ServeOn]
    }

    /// Whether the destination's log may be tidied of an attempt; mirrors
    /// `punctual_host::journal::tidied`. That it is whole is kept, so that this shows only by the
    /// rule by which it is not.
    pub(crate) fn may_be_let_go(&self, world: &World, number: u8) -> bool {
        let attempt = &world.attempts[usize::from(number)];
        let record = world.hosts[usize::from(1 - attempt.from)].record;
        self.rules.have(Deviation::ForgetsThatItIsWhole)
            && attempt.whole == Written::Yes
            && !attempt.let_go
            && record.and_then(Standing::attempt) != Some(number)
    }

    /// The tasks that belong to pages that follow; `None`: it is another. Nobody waits for answers,
    /// but where one is given back.
    pub(crate) fn follow_up(&self, world: &mut World, host: u8, number: u8, task: Task) {
        match task {
            Task::Serve => world.attempt(number).service.stage = Stage::Begun,
            Task::EndService if !self.rules.have(Deviation::ServesOn) => {
                world.attempt(number).service = Service::default();
            }
            Task::ServeOn => {
                world.attempt(number).service.stage = Stage::Begun;
                let follow = Thread::of(Role::Serving, number, vec![Task::Follow]);
                world.host(host).threads.push(follow);
            }
            Task::Depend => {
                let wait = Thread::of(Role::Depending, number, vec![Task::AwaitWhole]);
                world.host(host).threads.push(wait);
            }
            Task::TakeForWhole => {
                if let Some(copy) = &mut world.host(host).copy {
                    copy.pages = Pages::Own;
                }
            }
            Task::TellWhole => tell(world, number, Word::Whole),
            Task::TellFailed => tell(world, number, Word::Failed),
            _ => {}
        }
    }
}

/// As `punctual_host::following::serving`, `followed`.
fn followed() -> Vec<Task> {
    vec![Task::EndService, Task::RecordSurrendered, Task::Remove, Task::RemoveRecord]
}

/// Says the last word, if there is somebody to hear it.
fn tell(world: &mut World, number: u8, last: Word) {
    if let PageLine::Up { word, .. } = &mut world.attempt(number).service.line {
        *word = Some(last);
    }
}
