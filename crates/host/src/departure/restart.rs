//! Machines that leave by being shut down here and started there.
//!
//! The move is one like every other to the engine, of a machine that has no memory: so whoever may run
//! it is settled as ever, and the interruption is what shutting down and starting take.

use std::time::{Duration, Instant};

use punctual_engine::report::{Mode, Policy, Report};
use punctual_engine::{FixedCost, Request, SourceHost, emigrate};
use punctual_link::{Link, Timeouts};
use punctual_plan::restart_forecast;
use punctual_units::PageSet;
use punctual_wire::{Engine, Offer};

use super::Leaving;
use super::before::Ended;
use crate::api::Problem;
use crate::host::Host;
use crate::hypervisor::Departure;

/// A guest may take so long to shut down at most: the other host waits 30 s for a word.
const PATIENCE: Duration = Duration::from_secs(25);

impl Leaving {
    /// Moves the machine by a restart, if that was asked for.
    pub(super) fn restart(&self) -> Result<Option<Report>, Ended> {
        if self.request.mode != Some(Mode::Restart) {
            return Ok(None);
        }
        let request = &self.request;
        let forecast = restart_forecast(None, &self.ask());
        if forecast.keeps < request.confidence && !request.force {
            let took =
                forecast.predicted.map_or(Duration::ZERO, |predicted| predicted.downtime.p50);
            let seconds = took.as_secs_f64().ceil();
            return Err(Ended::refused(Problem::refused(
                format!(
                    "machine `{}`: refused beforehand: a restart is expected to take {seconds} s, and \
                     what the machine holds in memory is lost",
                    request.machine
                ),
                format!("ask for --downtime {seconds}s --within {seconds}s or more, or --force it"),
            )));
        }
        let Departure { machine, description, .. } = self
            .host
            .hypervisor
            .shut_down(
                &self.record.name,
                &self.record.handle,
                request.downtime.min(PATIENCE),
                request.force,
            )
            .map_err(|refusals| Ended::refused(Problem::from(&refusals[..])))?;
        let nothing = PageSet::empty(machine.ram().layout().pages());
        let offer = self.offer(&*machine, description, &nothing);
        let offer = Offer { engine: Engine::Restart, bandwidth: None, ..offer };
        let predicted = forecast.predicted;
        self.ticket.foresee(Some(forecast));
        let connecting = Instant::now();
        let link = Link::connect(&self.address, &Timeouts::default()).map_err(|error| {
            let what = format!("machine `{}`: {error}", request.machine);
            Ended::refused(Problem::refused(what, ""))
        })?;
        let asked = Request {
            within: request.within,
            fixed: FixedCost::NONE,
            round_trip: connecting.elapsed() / 2,
            mode: Mode::StopAndCopy,
            predicted,
            // How long it takes was judged above; the engine has nothing to judge it by.
            force: true,
            ..Request::new(request.to.clone(), Policy::PreCopy)
        };
        let Host { journal, .. } = &*self.host;
        let cancel = self.ticket.cancel();
        let host = SourceHost { journal, observer: &self.ticket, cancel, dial: None };
        let ended = emigrate(machine, link, offer, &asked, host);
        Ok(Some(Report { mode: Mode::Restart, ..self.settle(ended) }))
    }
}
