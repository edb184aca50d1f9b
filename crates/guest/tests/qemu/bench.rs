//! The parts of a handover that do not depend on how much is written, measured:
//!
//! `PUNCTUAL_MEASURE=1 cargo test --release -p punctual-guest --test qemu -- --nocapture fixed_parts`

use std::time::{Duration, Instant};

use punctual_guest::qemu::{Machine, Spec};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_guest_protocol::Options;
use punctual_images::{BASE_ARGUMENTS, QemuChoice, initramfs, kernel, qemu};
use punctual_units::PageSet;

use crate::support::{Host, PATIENCE, copy, destination, environment, run, source, wait_growth};

const MOVES: usize = 12;

#[derive(Default)]
struct Figures(Vec<(&'static str, Vec<Duration>)>);

impl Figures {
    fn add(&mut self, part: &'static str, time: Duration) {
        match self.0.iter_mut().find(|(name, _)| *name == part) {
            Some((_, times)) => times.push(time),
            None => self.0.push((part, vec![time])),
        }
    }

    fn print(mut self) {
        for (part, times) in &mut self.0 {
            times.sort_unstable();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            println!("{part:24} median {:8.2} ms, worst {:8.2} ms", ms(median), ms(worst));
        }
    }
}

#[test]
fn fixed_parts() {
    if std::env::var_os("PUNCTUAL_MEASURE").is_none() {
        println!("SKIP fixed_parts: a measurement, asked for by PUNCTUAL_MEASURE=1");
        return;
    }
    for choice in [QemuChoice::Seven, QemuChoice::Ten] {
        match qemu(choice) {
            Ok(qemu) => {
                println!("QEMU {}", qemu.version);
                measure(&qemu);
            }
            Err(missing) => println!("SKIP {choice}: {missing}"),
        }
    }
}

fn measure(qemu: &punctual_images::Qemu) {
    let hosts = [Host::new(), Host::new()];
    let text = format!(
        "name = 'idle'\nmemory = '512MiB'\naccel = 'tcg'\nbinary = '{}'\nkernel = '{}'\n\
         initrd = '{}'\nappend = '{BASE_ARGUMENTS} {}'\n[env]\n{}",
        qemu.binary.display(),
        kernel().unwrap().display(),
        initramfs().unwrap().display(),
        Options::default(),
        environment(qemu),
    );
    let spec = Spec { extra: qemu.arguments.clone(), ..text.parse().unwrap() };
    let mut machine = run(&spec, &hosts[0]);
    wait_growth(&hosts[0].serial_log("idle"));
    // The guest shall be idle, which it does not tell: its boot takes some two seconds.
    std::thread::sleep(Duration::from_secs(4));
    let mut figures = Figures::default();
    for number in 0..MOVES {
        let host = &hosts[(number + 1) % 2];
        let mut here = source(machine);
        let began = Instant::now();
        let mut there = destination(&here, host);
        figures.add("start destination", began.elapsed());
        here.start_tracing().unwrap();
        copy(&here.ram().populated().unwrap(), here.ram(), there.ram());

        let mut part = Instant::now();
        let mut lap = |name, figures: &mut Figures| {
            figures.add(name, part.elapsed());
            part = Instant::now();
        };
        here.prepare_stop().unwrap();
        lap("prepare", &mut figures);
        let mut stopped = here.stop().unwrap();
        figures.add("  since processors stood", stopped.at.elapsed());
        lap("stop", &mut figures);
        let mut state = Vec::new();
        here.save_device_state().unwrap();
        lap("  continue answered", &mut figures);
        stopped.device_state.read_to_end(&mut state).unwrap();
        lap("save", &mut figures);
        let mut written = PageSet::empty(here.ram().layout().pages());
        here.collect_written(&mut written).unwrap();
        copy(&written, here.ram(), there.ram());
        lap("copy", &mut figures);
        let mut sink = there.device_state().unwrap();
        sink.write_all(&state).unwrap();
        drop(sink);
        lap("  write", &mut figures);
        there.wait_loaded(PATIENCE).unwrap();
        lap("load", &mut figures);
        let moved = here.surrender();
        lap("surrender", &mut figures);
        let ran = there.resume().unwrap();
        figures.add("all, processors standing", ran - stopped.at);
        lap("resume", &mut figures);
        if number == 0 {
            println!("device state: {} bytes, last pages: {}", state.len(), written.len());
        }
        moved.remove().unwrap();
        let monitor = there.qmp().path().to_owned();
        drop(there);
        machine = Machine::attach(&monitor).unwrap();
    }
    figures.print();
    machine.quit().unwrap();
}
