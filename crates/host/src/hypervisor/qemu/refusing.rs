//! What is in the way of a machine, in the words of the wire.

use std::collections::BTreeSet;
use std::path::Path;

use punctual_guest::demand;
use punctual_guest::qemu::movable::{self, HostFacts, refusals};
use punctual_guest::qemu::{Description, Plan};
use punctual_wire::Refusal;

use crate::api::Problem;

/// What is in the way of a move of this machine, as far as it shows here.
pub(super) fn obstacles(description: &Description) -> Vec<Refusal> {
    refusals(description, &HostFacts::here()).iter().map(for_the_wire).collect()
}

pub(super) fn for_the_wire(refusal: &movable::Refusal) -> Refusal {
    let code = serde_json::to_value(refusal.code).expect("a code is a word");
    Refusal {
        code: code.as_str().unwrap_or_default().to_owned(),
        reason: refusal.text.clone(),
        remedy: refusal.remedy.clone(),
    }
}

/// Why a machine of this plan could not run here while pages of it are elsewhere.
pub(super) fn no_post_copy(plan: &Plan) -> Option<Refusal> {
    let places: BTreeSet<&Path> = plan.ram.iter().filter_map(|file| file.path.parent()).collect();
    let why = places.into_iter().find_map(|place| demand::available(place).err())?;
    Some(Refusal {
        code: "post-copy-unavailable".to_owned(),
        reason: format!("this host cannot have a machine wait for pages that are elsewhere: {why}"),
        remedy: format!("{}; or migrate with --no-post-copy", why.remedy()),
    })
}

pub(super) fn refusal(code: &str, problem: &Problem) -> Refusal {
    Refusal { code: code.to_owned(), reason: problem.what.clone(), remedy: problem.remedy.clone() }
}
