//! Daemons that die and cables that are pulled at any moment, the handover included: when all is
//! mended, the machine runs on exactly one host, and nothing of it is left on the other.

use std::time::{Duration, Instant};

use punctual_engine::Phase;
use punctual_guest_protocol::{Options, Workload};
use punctual_host::api::{Id, Migration};

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::{Begun, DONE};
use crate::watched::Watched;

/// Until the hosts have agreed on whose the machine is.
const AGREED: Duration = Duration::from_secs(60);
/// Until a source has learnt that its machine runs elsewhere, once it can be told.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Kills the source's daemon, the destination's, or both, once each of the phases has been seen.
/// Some are over before they are seen; then it dies a little later, which may be just as bad a
/// moment.
#[test]
fn daemons_die() {
    let Some((mut stage, mut guest)) = begin("any-moment") else { return };
    let mut home = "a";
    for phase in [
        Phase::Offering,
        Phase::Preparing,
        Phase::Stopping,
        Phase::FinalCopy,
        Phase::HandingOver,
        Phase::Committing,
        Phase::Committed,
    ] {
        for (source_dies, destination_dies) in [(true, false), (false, true), (true, true)] {
            let hosts = [(home, source_dies), (other(home), destination_dies)];
            let victims = hosts.iter().filter(|(_, dies)| *dies).map(|(host, _)| *host);
            let migration = begin_and_wait(&stage, home, phase);
            victims.clone().for_each(|host| stage.kill_daemon(host));
            // How this ends depends on the moment; what matters is who has the machine.
            let told = migration.end();
            victims.clone().for_each(|host| stage.start_daemon(host));
            home = expect_one_owner(&stage, &mut guest);
            println!("{phase}: {:?} died, {home} has it: {told:?}", victims.collect::<Vec<_>>());
        }
    }
    drop(guest);
    stage.strike();
}

/// Pulls the cable between the hosts around the commit, and plugs it in again when the command has
/// ended.
#[test]
fn the_network_is_cut() {
    let Some((stage, mut guest)) = begin("any-cut") else { return };
    let mut home = "a";
    for phase in [Phase::HandingOver, Phase::Committing] {
        let migration = begin_and_wait(&stage, home, phase);
        stage.set_cable("down");
        let told = migration.end();
        stage.set_cable("up");
        home = wait_for_owner(&stage, |state| state == "departed");
        guest.expect_well();
        // Where the destination's word was lost, it asks once more, and what was kept here goes.
        let deadline = Instant::now() + FORGOTTEN;
        while stage.run(other(home), &["show", "web"]).code == Some(DONE) {
            assert!(Instant::now() < deadline, "{} keeps what is left of the guest", other(home));
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{phase}: {home} has it: {told:?}");
        assert_eq!(expect_one_owner(&stage, &mut guest), home);
    }
    drop(guest);
    stage.strike();
}

fn begin(test: &str) -> Option<(Stage, Watched)> {
    let stage = Stage::set(test, GIGABIT)?;
    let options = Options { workload: Workload::HotCold, set: 16 << 20, ..Options::default() };
    let guest = stage.start(&guest(options));
    Some((stage, guest))
}

fn other(host: &str) -> &'static str {
    if host == "a" { "b" } else { "a" }
}

/// Begins to move the guest away from `home`, and waits until this phase is seen. Digests make the
/// time in which the machine is stopped long enough for that.
fn begin_and_wait(stage: &Stage, home: &str, phase: Phase) -> Begun {
    let earlier: Vec<Id> = migrations(stage, home).iter().map(|one| one.id).collect();
    let words = ["migrate", "web", "--to", other(home), "--downtime", "1s", "--verify", "--json"];
    let words = [&words[..], &["--look", "0"]].concat();
    let migration = stage.begin(home, &words);
    wait_for_phase(phase, || {
        migrations(stage, home).into_iter().find(|one| !earlier.contains(&one.id))
    });
    migration
}

/// That the guest is well, on one host alone; says on which.
fn expect_one_owner(stage: &Stage, guest: &mut Watched) -> &'static str {
    let owner = wait_for_owner(stage, |_| false);
    stage.expect_at("web", owner);
    stage.expect_bare(other(owner));
    guest.expect_well();
    owner
}

fn migrations(stage: &Stage, host: &str) -> Vec<Migration> {
    let asked = stage.scene().ask(host, |daemon| async move { daemon.migrations().await });
    asked.unwrap()
}

/// Waits, as finely as can be, until a migration has come to this phase or ended.
fn wait_for_phase(phase: Phase, look: impl Fn() -> Option<Migration>) {
    let deadline = Instant::now() + AGREED;
    loop {
        let reached = look().is_some_and(|migration| {
            let progress = migration.progress.as_ref();
            migration.has_ended() || progress.is_some_and(|progress| progress.phase >= phase)
        });
        if reached {
            return;
        }
        assert!(Instant::now() < deadline, "the migration never came to {phase}");
    }
}

/// The host that has the machine, once the other has nothing of it any more, or has it in a state
/// that `may_remain`.
fn wait_for_owner(stage: &Stage, may_remain: fn(&str) -> bool) -> &'static str {
    let deadline = Instant::now() + AGREED;
    loop {
        let states = ["a", "b"].map(|host| state(stage, host));
        let gone = |state: &Option<String>| state.as_deref().is_none_or(may_remain);
        match &states {
            [Some(a), Some(b)] if a == "running" && b == "running" => panic!("it runs on both"),
            [Some(a), b] if a == "running" && gone(b) => return "a",
            [a, Some(b)] if b == "running" && gone(a) => return "b",
            _ => assert!(Instant::now() < deadline, "no host has it: {states:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How the guest stands on a host, if it has it.
fn state(stage: &Stage, host: &str) -> Option<String> {
    let listed = stage.run(host, &["list", "--json"]).expect(DONE).json();
    Some(listed.get(0)?["state"].as_str().unwrap().to_owned())
}
