//! `punctual demo`

use std::path::absolute;
use std::process::ExitCode;
use std::time::Duration;

use punctual_guest_protocol::Workload;
use punctual_images::{Qemu, QemuChoice, qemu};
use punctual_lab::demo::{Demo, DemoSpec, Scenery, play};

use crate::arguments::{Demo as Said, Global, GuestChoice, QemuSeries};
use crate::failure::Failure;
use crate::output;
use crate::progress::Display;

pub(super) fn run(global: &Global, said: Said) -> Result<ExitCode, Failure> {
    let page = absolute(&said.report)
        .map_err(|error| Failure::usage(error, "name a file with --report"))?;
    let program = std::env::current_exe().map_err(|error| Failure::failed(error, ""))?;
    let spec = DemoSpec {
        lab: "demo".parse().expect("demo is a name"),
        rate: said.rate,
        downtime: said.downtime,
        within: said.within,
        verify: !said.no_verify,
        workload: if said.writes > 0 { Workload::Uniform } else { Workload::Idle },
        write_rate: said.writes,
        qemu: chosen(&said.guest)?,
        accel: "tcg".to_owned(),
    };
    let mut display = Display::new(global.json);
    let demo = play(&spec, &program, |scenery| tell(&mut display, &spec, scenery));
    display.end();
    let demo = demo.map_err(|error| Failure::failed(error, ""))?;

    let html = punctual_page::migration(&demo.report, Some(&demo.client))
        .map_err(|error| Failure::failed(error, ""))?;
    std::fs::write(&page, html).map_err(|error| {
        Failure::failed(format!("{}: {error}", page.display()), "name another file with --report")
    })?;
    if global.json {
        output::json(&demo.report)?;
    } else {
        output::line(output::ending(&demo.report))?;
        output::line(output::demo(&demo))?;
        output::line(format_args!("plots: {}", page.display()))?;
    }
    verdict(&demo)
}

/// The QEMU that was chosen, with a remedy if it is not there.
pub(super) fn chosen(guest: &GuestChoice) -> Result<Qemu, Failure> {
    let choice = match guest.qemu {
        None => QemuChoice::Installed,
        Some(QemuSeries::Seven) => QemuChoice::Seven,
        Some(QemuSeries::Ten) => QemuChoice::Ten,
    };
    qemu(choice).map_err(|error| Failure::refused(error, "`make setup` fetches it"))
}

/// The QEMU that was chosen, else the newest that is there: its own migration is the better peer.
pub(super) fn newest(guest: &GuestChoice) -> Result<Qemu, Failure> {
    match guest.qemu {
        None => qemu(QemuChoice::Ten).or_else(|_| chosen(guest)),
        Some(_) => chosen(guest),
    }
}

fn tell(display: &mut Display, spec: &DemoSpec, scenery: Scenery<'_>) {
    match scenery {
        Scenery::Making => {
            let rate = spec.rate;
            display.say(&format!("lab: hosts a and b and a client, links of {rate}"));
        }
        Scenery::Booting => {
            let version = &spec.qemu.version;
            display.say(&format!("guest: Linux under QEMU {version}, 512 MiB, booting on host a"));
        }
        Scenery::Watching(time) => {
            display.say(&format!("client: watching the guest for {}", output::seconds(time)));
        }
        Scenery::Moving(migration) => {
            if let Some(progress) = &migration.progress {
                display.show(progress);
            }
        }
        Scenery::Checking => display.say("guest: checking its memory, byte by byte"),
    }
}

/// A demonstration that showed anything wrong ends like a migration that went wrong.
fn verdict(demo: &Demo) -> Result<ExitCode, Failure> {
    if let Some(failure) = Failure::of_report(&demo.report) {
        return Err(failure);
    }
    if let Some(broke) = &demo.stream_broke {
        let what = format!("the client's connection to the guest broke: {broke:?}");
        return Err(Failure::failed(what, "report this as a bug"));
    }
    if !demo.check.ok {
        let what = format!("the guest found a wrong byte in its memory: {:?}", demo.check.wrong);
        return Err(Failure::failed(what, "report this as a bug"));
    }
    let gap = demo.report.measured.client_gap.unwrap_or_default();
    let promised = demo.report.promised.downtime + demo.client.baseline_gap;
    if gap > promised + Duration::from_millis(1) {
        let (gap, promised) = (output::milliseconds(gap), output::milliseconds(promised));
        eprintln!(
            "note: the client heard nothing for {gap}, {promised} with its baseline were promised"
        );
    }
    Ok(ExitCode::SUCCESS)
}
