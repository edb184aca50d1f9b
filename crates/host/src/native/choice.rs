//! What moves a machine: Punctual where it can, the machine's own hypervisor where its memory
//! cannot be traced.

use punctual_engine::report::{Engine, Mode, OnMiss};
use punctual_wire::Refusal;

use crate::api::{MigrateRequest, Problem};

/// What would move a machine, and why, where it is not Punctual itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// What it is.
    pub engine: Engine,
    /// Why; empty for [`Engine::External`].
    pub because: String,
}

impl Choice {
    /// By what is in the way of tracing the machine: nothing, or what only its own hypervisor can
    /// do without.
    #[must_use]
    pub fn by(untraceable: &[Refusal]) -> Self {
        if untraceable.is_empty() {
            return Self::default();
        }
        let reasons: Vec<_> = untraceable.iter().map(|refusal| refusal.reason.as_str()).collect();
        Self { engine: Engine::Native, because: reasons.join("; ") }
    }
}

/// Sees whether a machine's own hypervisor can do what is asked.
///
/// # Errors
/// It cannot: what to ask instead.
pub(crate) fn check(request: &MigrateRequest) -> Result<(), Problem> {
    let refused = |what: &str, remedy: &str| {
        let about = format!("machine `{}`: it is moved by QEMU's own migration", request.machine);
        Err(Problem::refused(format!("{about}, {what}"), remedy))
    };
    if request.verify {
        return refused(
            "which loads memory and devices in one go, and devices may write to the memory as \
             they are loaded: there is no moment at which both digests must be equal",
            "migrate without --verify",
        );
    }
    if request.plan.is_some() {
        return refused(
            "of which there are no plans: they are made from traces",
            "migrate without --plan",
        );
    }
    let depends = request.on_miss == OnMiss::PostCopy || request.mode.is_some_and(Mode::may_depend);
    if depends {
        return refused(
            "whose post-copy would end with the daemon of either host, and the guest would stand \
             until both are told by hand how to go on",
            "use --on-miss throttle or extend, or --force; or start the machine with \
             -object memory-backend-file,share=on,mem-path=FILE, and post-copy is at hand",
        );
    }
    match request.mode {
        None | Some(Mode::PreCopy) => Ok(()),
        Some(mode) => refused(
            &format!("which knows no mode `{mode}`"),
            "migrate with --mode pre-copy or auto",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request() -> MigrateRequest {
        MigrateRequest::new("web", "b", Duration::from_millis(50), Duration::from_secs(60))
    }

    #[test]
    fn punctual_moves_what_it_can_trace() {
        assert_eq!(Choice::by(&[]), Choice::default());
        assert_eq!(Choice::default().engine, Engine::External);
        let private = Refusal {
            code: "ram-not-shared".to_owned(),
            reason: "the memory `pc.ram` is private to QEMU".to_owned(),
            remedy: String::new(),
        };
        let choice = Choice::by(&[private]);
        assert_eq!(choice.engine, Engine::Native);
        assert!(choice.because.contains("pc.ram"));
    }

    #[test]
    fn what_qemu_cannot_do_is_refused_with_what_can_be_had() {
        assert_eq!(check(&request()), Ok(()));
        assert_eq!(check(&MigrateRequest { mode: Some(Mode::PreCopy), ..request() }), Ok(()));
        assert_eq!(check(&MigrateRequest { on_miss: OnMiss::Throttle, ..request() }), Ok(()));
        for (asked, word) in [
            (MigrateRequest { verify: true, ..request() }, "--verify"),
            (MigrateRequest { mode: Some(Mode::PostCopy), ..request() }, "throttle"),
            (MigrateRequest { mode: Some(Mode::Hybrid), ..request() }, "throttle"),
            (MigrateRequest { on_miss: OnMiss::PostCopy, ..request() }, "throttle"),
            (MigrateRequest { mode: Some(Mode::Restart), ..request() }, "--mode pre-copy"),
        ] {
            let problem = check(&asked).unwrap_err();
            assert!(problem.remedy.contains(word), "{problem}; {}", problem.remedy);
        }
    }
}
