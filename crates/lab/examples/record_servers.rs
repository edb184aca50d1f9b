//! Records traces of the streaming guests (`docs/traces`): real servers, busy with real clients.
//!
//! `cargo run --release -p punctual-lab --example record_servers -- [DIRECTORY [SERVICE…]]`, as root
//! and after `make build`. A lab is made for each service (all of them unless said otherwise); the
//! guest is loaded for a while and then traced for a minute. DIRECTORY (by default `docs/traces`)
//! gets `SERVICE.trace` and `SERVICE.pages`, the pages that the server maps. In the end the machine
//! is moved to the other host and back, its clients connected, and what they saw is printed.
//!
//! The guests' disk is built first if it is not in the cache.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use punctual_engine::report::Ending;
use punctual_host::api::{MigrateRequest, TraceEvent, TraceRequest};
use punctual_images::{QemuChoice, StreamingImage, make_streaming, qemu};
use punctual_lab::client::Load;
use punctual_lab::scene::{Scene, Server, ServerSpec, Service};
use punctual_lab::{LabName, LabSpec};
use punctual_units::{BytesPerSecond, Probability};

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The command, as `make build` leaves it.
const PROGRAM: &str = "target/release/punctual";
/// Clients of each server.
const CONNECTIONS: usize = 10;
/// How long VLC is loaded before it is traced: by then it has read its whole clip once, so that the
/// guest's page cache no longer grows.
const WARM_VLC: Duration = Duration::from_secs(200);
/// The others: redis is full by then.
const WARM: Duration = Duration::from_secs(60);
/// How long it is traced.
const RECORDED: Duration = Duration::from_secs(60);
/// How long the clients are watched before and after a move.
const WATCHED: Duration = Duration::from_secs(5);
/// What a move is to keep to; digests come on top of the downtime.
const DOWNTIME: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);

fn main() -> Done<()> {
    let mut words = std::env::args().skip(1);
    let directory = PathBuf::from(words.next().unwrap_or_else(|| "docs/traces".to_owned()));
    let named: Vec<String> = words.collect();
    let known = |name: &String| Service::ALL.iter().any(|service| service.name() == name);
    if let Some(unknown) = named.iter().find(|name| !known(name)) {
        return Err(format!("there is no service `{unknown}`: it is vlc, redis or nginx").into());
    }
    let image = make_streaming()?;
    for service in Service::ALL {
        if named.is_empty() || named.iter().any(|name| name == service.name()) {
            record(service, &image, &directory)?;
        }
    }
    Ok(())
}

/// Starts a server in a lab of its own, loads, traces and moves it.
fn record(service: Service, image: &StreamingImage, directory: &Path) -> Done<()> {
    let name: LabName = format!("record-{service}").parse()?;
    let rate = Some(BytesPerSecond::megabits(1000));
    let program = std::path::absolute(PROGRAM)?;
    let scene = Scene::set_up(&LabSpec::two_hosts(name, rate), &program)?;
    let spec = ServerSpec::new(service, qemu(QemuChoice::Installed)?);
    let server = scene.start_server("a", &spec, image)?;
    let load = scene.load(&server, CONNECTIONS)?;
    let warm = if service == Service::Vlc { WARM_VLC } else { WARM };
    println!("{service}: serves {CONNECTIONS} clients; warming up for {warm:?}");
    thread::sleep(warm);

    let before = load.seen();
    let trace = trace(&scene, &server)?;
    let pages = scene.mapped_pages(&server)?;
    let seen = load.seen();
    let rate = (seen.bytes - before.bytes) as f64 * 8e-6 / RECORDED.as_secs_f64();
    println!("{service}: its clients got {rate:.1} Mbit/s while it was traced");
    for line in pages.lines().filter(|line| !line.contains("..")) {
        println!("{service}: maps pages: {line}");
    }
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join(format!("{service}.trace")), trace)?;
    std::fs::write(directory.join(format!("{service}.pages")), pages)?;

    migrate(&scene, &server, &load, "a", "b")?;
    migrate(&scene, &server, &load, "b", "a")?;
    drop(load);
    scene.take_down()?;
    Ok(())
}

/// The trace of a loaded server, as a file.
fn trace(scene: &Scene, server: &Server) -> Done<Vec<u8>> {
    let cost = Probability::new(0.02).ok_or("2 % is a share")?;
    let request = TraceRequest { length: RECORDED, cost };
    let name = server.name.as_str();
    let ended = scene.ask("a", |client| async move {
        let mut events = client.record(name, &request).await?;
        let mut last = None;
        while let Some(event) = events.next().await? {
            last = Some(event);
        }
        Ok(last)
    })?;
    match ended {
        Some(TraceEvent::Recorded(summary)) => println!("{name}: {summary:?}"),
        other => return Err(format!("{name} was not traced: {other:?}").into()),
    }
    Ok(scene.ask("a", |client| async move { client.last_trace(name).await })?)
}

/// Moves a server while its clients are served, and tells what they saw of it.
fn migrate(scene: &Scene, server: &Server, load: &Load, from: &str, to: &str) -> Done<()> {
    let begun = Instant::now();
    thread::sleep(WATCHED);
    let calm = load.longest_silences(&(begun..Instant::now()));
    let before = load.seen();
    let moving = Instant::now();
    let request =
        MigrateRequest { verify: true, ..MigrateRequest::new(&server.name, to, DOWNTIME, WITHIN) };
    let migration = scene.migrate(from, &request, |_| {})?;
    let report = migration.report.ok_or("a migration that has ended has a report")?;
    thread::sleep(WATCHED);
    let silent = load.longest_silences(&(moving..Instant::now()));
    let after = load.seen();
    println!(
        "{}: {from} to {to}: {:?}, digests equal: {:?}, measured {:?}",
        server.name, report.outcome, report.ram_digest_equal, report.measured
    );
    println!(
        "  clients: longest silence {:?}, before the move {:?}; {} bytes and {} answers since",
        silent.into_iter().flatten().max(),
        calm.into_iter().flatten().max(),
        after.bytes - before.bytes,
        after.arrivals - before.arrivals
    );
    if !after.ended.is_empty() || report.outcome != Ending::Completed {
        return Err(format!("connections ended: {:?}", after.ended).into());
    }
    Ok(())
}
