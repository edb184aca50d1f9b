//! What a simulated move is made of.

use std::time::Duration;

use punctual_engine::Request;
use punctual_model::{Heat, Mode, OnMiss, Policy, Strategy};
use punctual_units::{BytesPerSecond, MemoryLayout, Pages, Region};
use punctual_wire::{Engine, MigrationId, Offer};

use crate::fault::Fault;
use crate::guest::Workload;

/// A guest, a link, what is asked, and what goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) workload: Workload,
    pub(crate) bandwidth: BytesPerSecond,
    pub(crate) latency: Duration,
    /// By how much more a frame may be late.
    pub(crate) jitter: Duration,
    pub(crate) downtime: Duration,
    pub(crate) within: Duration,
    pub(crate) verify: bool,
    pub(crate) bandwidth_asked: Option<BytesPerSecond>,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) on_miss: OnMiss,
    pub(crate) policy: Policy,
    pub(crate) strategy: Strategy,
    pub(crate) force: bool,
    pub(crate) heat: Option<Heat>,
    /// What a scan of all pages takes.
    pub(crate) scan: Duration,
    /// How often time passes for a daemon that has nothing else to do.
    pub(crate) tick: Duration,
    pub(crate) faults: Vec<Fault>,
}

impl Setting {
    pub(crate) fn pages(&self) -> Pages {
        Pages::new(self.workload.pages)
    }

    pub(crate) fn offer(&self) -> Offer {
        let size = self.pages().bytes();
        let region = Region { name: "ram0".to_owned(), size };
        let layout = MemoryLayout::new(vec![region]).expect("a guest has pages");
        Offer {
            migration: MigrationId(1),
            machine: "web".to_owned(),
            source: "a".to_owned(),
            source_address: "192.0.2.1:7000".to_owned(),
            layout,
            populated: size,
            description: vec![],
            downtime: self.downtime,
            bandwidth: self.bandwidth_asked,
            verify: self.verify,
            dry_run: false,
            post_copy: self.mode.may_depend() || self.on_miss == OnMiss::PostCopy,
            engine: Engine::External,
        }
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            within: self.within,
            round_trip: self.latency * 2,
            mode: self.mode,
            on_miss: self.on_miss,
            strategy: self.strategy,
            heat: self.heat.clone(),
            force: self.force,
            ..Request::new("b", self.policy)
        }
    }
}
