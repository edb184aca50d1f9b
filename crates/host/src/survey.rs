//! A look at another host before anything moves: would it take the machine, and what does the link
//! to it carry?
//!
//! ```text
//!  source                                         destination
//!    │ Offer (a rehearsal), if there is a machine      │
//!    ├───────────────────────────────────────────────► │ may refuse
//!    │ ProbeEnd ─────► Probed        three times: the round trip
//!    │ Probe … ProbeEnd ─────► Probed     five times: the rate
//!    │ Abort ──────────────────────────────────────► │ nothing was kept
//! ```
//!
//! The test traffic lasts some 30 ms for each probe, at most 64 MiB, and is no faster than 1.25
//! times what was asked for, if anything was.

use std::time::{Duration, Instant};

use punctual_engine::Connection;
use punctual_link::{Link, LinkError, Timeouts, probe};
use punctual_plan::Facts;
use punctual_units::BytesPerSecond;
use punctual_wire::{DestinationMessage, Offer, Refusal, SourceMessage};
use thiserror::Error;

use crate::api::{Problem, SurveyRequest};
use crate::host::Host;

/// How often the round trip is measured; the shortest counts.
const PINGS: usize = 3;
/// How often the rate is measured. The median counts: one probe can read too much, when the receiver
/// was late and found padding that had piled up, and the first meets a connection that has not yet
/// found its pace.
const PROBES: usize = 5;
/// A link does what was asked for if so much of it arrives.
const ENOUGH: f64 = 0.85;
/// Padding is sent a little faster than was asked for, so that the link is what limits it.
const FASTER: f64 = 1.25;

/// What was seen of another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    /// What the link carries, in payload bytes a second; with a rate asked for, no more than that
    /// and a quarter of it.
    pub bandwidth: BytesPerSecond,
    /// The time of a message and of its answer.
    pub round_trip: Duration,
}

impl Survey {
    /// Whether the link is what was `asked` for: of an Ethernet frame's time on the wire TCP can use
    /// 94 %, and a probe is short.
    pub(crate) fn is_enough(&self, asked: BytesPerSecond) -> bool {
        self.bandwidth.get() as f64 >= asked.get() as f64 * ENOUGH
    }
}

/// Why nothing, or nothing good, was seen.
#[derive(Debug, Error)]
pub(crate) enum SurveyError {
    /// The host cannot be reached, or broke off.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It would not take the machine.
    #[error("refused")]
    Refused(Vec<Refusal>),
    /// It answered with something that is no answer.
    #[error("{0} answers with `{1}`; run one version on both hosts")]
    Foreign(String, String),
    /// Nothing of the padding was measured.
    #[error("the link to {0} carries too little to be measured; see the network between the hosts")]
    Nothing(String),
}

impl SurveyError {
    /// As an answer to whoever asked about the machine, or about the host alone.
    pub(crate) fn problem(&self, about: &str) -> Problem {
        match self {
            Self::Refused(refusals) => Problem::from(&refusals[..]),
            other => Problem::refused(format!("{about}: {other}"), ""),
        }
    }
}

/// Looks at the host at `address`; with an `offer`, also whether it would take that machine. The
/// offer is made as a rehearsal. Blocks for some 0.2 s, on a bad link for some seconds.
pub(crate) fn survey(
    address: &str,
    offer: Option<Offer>,
    asked: Option<BytesPerSecond>,
) -> Result<Survey, SurveyError> {
    let mut talk = Talk::begin(address)?;
    if let Some(offer) = offer {
        talk.rehearse(offer)?;
    }
    let round_trip = talk.round_trip()?;
    let bandwidth = talk.bandwidth(asked)?;
    talk.say(&SourceMessage::Abort { reason: "it was only a survey".to_owned() })?;
    Ok(Survey { bandwidth, round_trip })
}

/// Answers the survey of another host that offers no machine; `first` is what came first.
pub(crate) fn answer(mut link: Connection, first: SourceMessage) -> Result<(), LinkError> {
    let mut meter = probe::Meter::default();
    let mut message = first;
    loop {
        match message {
            SourceMessage::Probe(padding) => meter.arrived(&padding),
            SourceMessage::ProbeEnd => {
                let rate = std::mem::take(&mut meter).rate().unwrap_or_default();
                link.sender.send(&DestinationMessage::Probed { rate })?;
            }
            _ => return Ok(()),
        }
        message = link.receiver.receive_message()?;
    }
}

impl Host {
    /// What is known of moves to another host, with the link as it is now.
    pub(crate) fn survey(&self, request: &SurveyRequest) -> Result<Facts, Problem> {
        let address = self.config.address_of(&request.to)?;
        let seen = survey(&address, None, request.bandwidth);
        let seen = seen.map_err(|error| error.problem(&format!("host `{}`", request.to)))?;
        Ok(self.experience().facts(&address, &seen))
    }
}

/// A connection for one survey.
struct Talk {
    address: String,
    link: Connection,
}

impl Talk {
    fn begin(address: &str) -> Result<Self, LinkError> {
        let link = Link::connect(address, &Timeouts::default())?.into();
        Ok(Self { address: address.to_owned(), link })
    }

    fn say(&mut self, message: &SourceMessage) -> Result<(), LinkError> {
        self.link.sender.send(message)
    }

    fn foreign(&self, said: &DestinationMessage) -> SurveyError {
        SurveyError::Foreign(self.address.clone(), format!("{said:?}"))
    }

    fn rehearse(&mut self, offer: Offer) -> Result<(), SurveyError> {
        self.say(&SourceMessage::Offer(Box::new(Offer { dry_run: true, ..offer })))?;
        match self.link.receiver.receive_message()? {
            DestinationMessage::Accepted { .. } => Ok(()),
            DestinationMessage::Refused(refusals) => Err(SurveyError::Refused(refusals)),
            other => Err(self.foreign(&other)),
        }
    }

    /// A probe without padding is a message and its answer.
    fn round_trip(&mut self) -> Result<Duration, SurveyError> {
        let mut shortest = Duration::MAX;
        for _ in 0..PINGS {
            let begin = Instant::now();
            self.say(&SourceMessage::ProbeEnd)?;
            self.probed()?;
            shortest = shortest.min(begin.elapsed());
        }
        Ok(shortest)
    }

    fn bandwidth(&mut self, asked: Option<BytesPerSecond>) -> Result<BytesPerSecond, SurveyError> {
        let faster = |rate: BytesPerSecond| (rate.get() as f64 * FASTER) as u64;
        let pace = asked.map(|rate| BytesPerSecond::new(faster(rate)));
        let mut rates = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            probe::send(&mut self.link.sender, pace)?;
            rates.push(self.probed()?);
        }
        rates.sort_unstable();
        match rates[PROBES / 2] {
            BytesPerSecond::ZERO => Err(SurveyError::Nothing(self.address.clone())),
            rate => Ok(rate),
        }
    }

    fn probed(&mut self) -> Result<BytesPerSecond, SurveyError> {
        loop {
            match self.link.receiver.receive_message()? {
                DestinationMessage::Probed { rate } => return Ok(rate),
                // Padding is acknowledged like everything else.
                DestinationMessage::Received { .. } => {}
                other => return Err(self.foreign(&other)),
            }
        }
    }
}
