//! The plan as a file: JSON that says which version it is of.

use thiserror::Error;

use super::Plan;

/// Why something is no plan that can be carried out.
#[derive(Debug, Error)]
pub enum PlanError {
    /// It is no JSON at all.
    #[error("this is no plan: it is not JSON ({0}); a plan is written by `punctual plan --json`")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but of something else.
    #[error(
        "this is no plan: it has no `plan_version`; a plan is written by `punctual plan --json`"
    )]
    NoPlan,
    /// It was written by another version.
    #[error(
        "this plan has version {found}, and this program reads version {}; plan again",
        Plan::VERSION
    )]
    OtherVersion {
        /// The version that it has.
        found: u64,
    },
    /// A field is missing or has a value that it cannot have.
    #[error("this plan has been damaged: {0}; plan again")]
    Damaged(#[source] serde_json::Error),
}

impl Plan {
    /// The version of plans that this code writes and reads.
    pub const VERSION: u32 = 1;

    /// Reads a plan.
    ///
    /// # Errors
    /// It is no plan, or one of another version, or damaged.
    pub fn decode(text: &str) -> Result<Self, PlanError> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(PlanError::NotJson)?;
        let found = json.get("plan_version").and_then(serde_json::Value::as_u64);
        match found {
            None => Err(PlanError::NoPlan),
            Some(found) if found != u64::from(Self::VERSION) => {
                Err(PlanError::OtherVersion { found })
            }
            Some(_) => serde_json::from_value(json).map_err(PlanError::Damaged),
        }
    }

    /// Writes the plan, for people to read and for [`Plan::decode`].
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan holds nothing that JSON cannot")
    }
}
