//! The rules of the field, for comparison and for those who want them: when Xen and QEMU stop.

use punctual_model::Rounds;
use punctual_units::Pages;

use super::{Continue, Decision, Outlook, Rule, Stop};

/// Xen stops with fewer pages left, ...
const FEW_PAGES: Pages = Pages::new(50);
/// ... behind so many rounds, ...
const MOST_ROUNDS: u32 = 29;
/// ... or when it has sent so many times the memory.
const MOST_SENT: u64 = 3;

impl Rule {
    /// Decides as [`Rounds::AsXen`] or [`Rounds::AsQemu`] say; `None` by any other rounds.
    pub(super) fn as_the_field(&self, now: &Outlook<'_>) -> Option<Decision> {
        let stops = match self.rounds {
            Rounds::AsXen => {
                now.left < FEW_PAGES
                    || now.round >= MOST_ROUNDS
                    || now.sent.get() > now.memory.get().saturating_mul(MOST_SENT)
            }
            Rounds::AsQemu => now.link_known && now.left_takes <= self.asked,
            Rounds::UntilPromise | Rounds::Exactly(_) | Rounds::None => return None,
        };
        Some(match stops {
            true => Decision::Stop(Stop::ByPolicy { expected: now.now.likely, asked: self.asked }),
            false => Decision::Continue(Continue::NothingGained),
        })
    }
}
