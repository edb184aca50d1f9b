//! How a case is carried out.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Holder, Report};
use punctual_engine::{Phase, Progress};
use punctual_host::api::{MigrateRequest, Migration};
use punctual_model::Mode;

use super::disguise::noisy;
use super::stage::Stage;
use super::{Case, Chaos, ChaosError, Fault, MACHINE, Verdict, check};
use crate::process::Process;

/// What is asked of the moves: not to be on time, but to succeed on a busy computer.
const DOWNTIME: Duration = Duration::from_secs(1);
const TOO_SHORT: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(60);

/// What has happened so far.
struct Course {
    begun: Instant,
    noted: Vec<(Duration, String)>,
}

/// What came of the move on which the fault struck.
struct Failed {
    /// The phase in which it struck, if there still was something to strike.
    struck: Option<Phase>,
    /// The daemons that were started meanwhile.
    started: Vec<Process>,
    /// The host whose daemon is to be started anew.
    to_be_restarted: Option<String>,
    /// Who has the machine, as its report says; `None` if that is not known, or nobody reports.
    owner: Option<Holder>,
}

impl Course {
    fn note(&mut self, what: impl Display) {
        self.noted.push((self.begun.elapsed(), what.to_string()));
    }
}

impl Chaos {
    /// Carries a case out: a move on which its fault strikes, what must hold then, and a second
    /// attempt, which brings the machine to the other host. Takes some 5 s; up to two minutes where something does not hold.
    ///
    /// # Errors
    /// The case could not be carried out. That something does not hold is no error.
    pub fn play(&mut self, case: &Case) -> Result<Verdict, ChaosError> {
        let mut course = Course { begun: Instant::now(), noted: vec![] };
        self.witness.set(case.load.0, case.load.1)?;
        let source = self.home.clone();
        let Failed { struck, started, to_be_restarted, owner } = self.fail(case, &mut course)?;
        started.into_iter().for_each(|daemon| self.scene.adopt_daemon(daemon));
        if let Some(host) = to_be_restarted {
            self.restart(&host)?;
            course.note(format_args!("daemon of {host} started anew"));
        }
        let mut wrong = self.look(&mut course);
        let stayed = self.home == source;
        if wrong.is_empty() && owner.is_some_and(|owner| (owner == Holder::Source) != stayed) {
            wrong.push(format!("host {} has it, which is not what the report says", self.home));
        }
        if wrong.is_empty() {
            self.try_again(case, &mut course, &mut wrong);
        }
        Ok(Verdict { took: course.begun.elapsed(), course: course.noted, struck, wrong })
    }

    /// The move on which the fault strikes. Ends when all is mended but for a daemon whose disk was
    /// full.
    fn fail(&self, case: &Case, course: &mut Course) -> Result<Failed, ChaosError> {
        let (source, destination) = (self.home.clone(), self.other(&self.home));
        let (_, proxy) = self
            .proxies
            .iter()
            .find(|(host, _)| *host == destination)
            .expect("each host has a proxy");
        let (scene, disguise) = (&self.scene, &self.disguise);
        let stage = Stage {
            scene,
            disguise,
            proxy,
            machine: MACHINE,
            source: &source,
            destination: &destination,
        };
        let to = match case.fault {
            Fault::Corrupted => noisy(&destination),
            _ => destination.clone(),
        };
        let policy = Some(case.policy);
        let request = MigrateRequest { policy, bandwidth: case.bandwidth, ..request(case, &to) };
        let mut strikes = None;
        let ended = self.scene.migrate(&source, &request, |migration| {
            if strikes.is_none()
                && let Some(progress) = has_come(case, migration)
            {
                thread::sleep(case.delay);
                strikes = Some(strike(case, &stage, progress, course));
            }
        });
        match &ended {
            Ok(migration) => course.note(told(migration)),
            Err(error) => course.note(error),
        }
        let report = ended.ok().and_then(|migration| migration.report);
        let (mut struck, mut started) = (None, vec![]);
        match strikes.transpose()? {
            Some(Struck { moment, passes }) => {
                struck = moment.filter(|moment| moment.is_of_move(report.as_ref()));
                if struck.is_none() {
                    course.note("that was too late for this move");
                }
                if let Some(passing) = passes {
                    let passed = passing.join();
                    started = passed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                    course.note("it has passed");
                }
            }
            None => course.note("the move was over before the fault could strike"),
        }
        case.fault.mend(&stage)?;
        let to_be_restarted = case.fault.to_be_restarted().map(|side| stage.host(side).to_owned());
        let owner = report.map(|report| report.owner).filter(|owner| *owner != Holder::Unknown);
        let struck = struck.map(|moment| moment.phase);
        Ok(Failed { struck, started, to_be_restarted, owner })
    }

    /// That one host has the machine, well, and the other nothing of it.
    fn look(&mut self, course: &mut Course) -> Vec<String> {
        match check::settled(&self.scene, &self.program, MACHINE) {
            Ok(home) => {
                course.note(format_args!("host {home} has it, and the other nothing of it"));
                self.home = home;
            }
            Err(wrong) => return vec![wrong],
        }
        let complaints = self.witness.complaints();
        if complaints.is_empty() {
            course.note("the guest and its client are well");
        }
        complaints
    }

    /// A second attempt, from where the machine is now, and all that must hold behind it.
    fn try_again(&mut self, case: &Case, course: &mut Course, wrong: &mut Vec<String>) {
        let (from, to) = (self.home.clone(), self.other(&self.home));
        let again = self.scene.migrate(&from, &request(case, &to), |_| {});
        match again.as_ref().map(|migration| migration.report.as_ref()) {
            Ok(Some(report))
                if report.outcome == Ending::Completed && report.ram_digest_equal == Some(true) =>
            {
                course.note("a second attempt has succeeded, its digests being equal");
            }
            Ok(_) => wrong.push(format!(
                "the second attempt failed: {}",
                told(again.as_ref().expect("it has an end"))
            )),
            Err(error) => wrong.push(format!("the second attempt failed: {error}")),
        }
        wrong.extend(self.look(course));
        if wrong.is_empty() && self.home != to {
            wrong.push(format!("behind the second attempt host {} has it", self.home));
        }
    }

    fn restart(&mut self, host: &str) -> Result<(), ChaosError> {
        self.scene.daemon(host).kill()?;
        Ok(self.scene.start_daemon(host)?)
    }

    fn other(&self, host: &str) -> String {
        let mut hosts = self.scene.lab().hosts().iter().map(|host| host.name.to_string());
        hosts.find(|other| other != host).expect("there are two hosts")
    }
}

/// A fault that was made.
struct Struck {
    /// When, if there was something to strike.
    moment: Option<Moment>,
    /// What ends a fault that passes; it returns the daemons that it starts.
    passes: Option<thread::JoinHandle<Result<Vec<Process>, ChaosError>>>,
}

/// A moment of a move.
struct Moment {
    /// The phase in which the move was last seen to be.
    phase: Phase,
    /// The time since the offer, which is a little more: it was seen some time after it was so.
    at: Duration,
}

impl Moment {
    /// Whether it was before the end of the move with this report; a move without one was broken off.
    fn is_of_move(&self, report: Option<&Report>) -> bool {
        report.is_none_or(|report| {
            report.outcome != Ending::Completed || self.at < report.measured.total
        })
    }
}

fn strike(
    case: &Case,
    stage: &Stage<'_>,
    progress: &Progress,
    course: &mut Course,
) -> Result<Struck, ChaosError> {
    let seen = Instant::now();
    let struck = case.fault.strike(stage)?;
    let moment =
        Moment { phase: progress.phase, at: progress.elapsed + case.delay + seen.elapsed() };
    let late = if struck { "" } else { ": there was nothing to strike" };
    course.note(format_args!("{} ({} was seen){late}", case.fault, progress.phase));
    let passes = case.fault.passes().then(|| -> Result<_, ChaosError> {
        let passing = stage.passing()?;
        let (fault, lasts) = (case.fault, case.lasts);
        Ok(thread::spawn(move || {
            thread::sleep(lasts);
            fault.pass(&passing)
        }))
    });
    Ok(Struck { moment: struck.then_some(moment), passes: passes.transpose()? })
}

fn request(case: &Case, to: &str) -> MigrateRequest {
    // A hybrid move lets pages follow only where it could not be on time otherwise.
    let downtime = if case.mode == Mode::Hybrid { TOO_SHORT } else { DOWNTIME };
    MigrateRequest {
        mode: Some(case.mode),
        verify: true,
        look: Some(Duration::ZERO),
        // The hosts learn from what goes wrong here how long interruptions take, and would refuse.
        force: true,
        ..MigrateRequest::new(MACHINE, to, downtime, WITHIN)
    }
}

/// How a move stands that is in the phase of the case, or beyond it.
fn has_come<'a>(case: &Case, migration: &'a Migration) -> Option<&'a Progress> {
    // Behind them the move is over: that the handover has ended where pages follow is no moment.
    let come = |phase| phase >= case.phase && phase < Phase::Aborting && !migration.has_ended();
    migration.progress.as_ref().filter(|progress| come(progress.phase))
}

fn told(migration: &Migration) -> String {
    match &migration.report {
        Some(report) if report.reason.is_empty() => format!("the move: {:?}", report.outcome),
        Some(report) => format!("the move: {:?}: {}", report.outcome, report.reason),
        None => "the move has no report".to_owned(),
    }
}
