//! Searches the ownership protocol within bounds of one's choice.
//!
//! ```text
//! cargo run --release -p punctual-protocol --example search -- [ATTEMPTS] [FAULTS] [CANCELS] [MOVES] [DEVIATION ...]
//! ```
//!
//! Without numbers: 2 attempts, 2 faults, 1 cancel. Moves are `whole` (also if not said), `following`
//! (pages follow the machine), `either` of the two, or `local` (another process on the same host). With the name of a [`Deviation`], the hosts
//! depart so from the sound protocol, and with `as-coded` as they do at present; a way to the first
//! violation is printed, and the exit status is 1.

use std::process::ExitCode;
use std::time::Instant;

use punctual_protocol::{Bounds, Deviation, Model, Moves, Rules, search};

fn main() -> ExitCode {
    let (numbers, names): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| word.parse::<u8>().is_ok());
    let numbers: Vec<u8> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    let number = |at: usize, or| numbers.get(at).copied().unwrap_or(or);
    let (moves, names): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| moves(name).is_some());
    let bounds = Bounds {
        attempts: number(0, 2),
        faults: number(1, 2),
        cancels: number(2, 1),
        moves: moves.last().and_then(|name| self::moves(name)).unwrap_or_default(),
    };
    let Some(rules) = rules(&names) else {
        let known: Vec<_> = all().map(|deviation| deviation.to_string()).collect();
        eprintln!("no such deviation; there are as-coded, {}", known.join(", "));
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let found = search(&mut Model::new(bounds, rules));
    println!(
        "{} worlds, {} steps between them, at most {} from the first; {} are settled; {} states of \
         the engine; {:.1} s",
        found.worlds,
        found.steps,
        found.depth,
        found.settled,
        found.engine_states,
        begun.elapsed().as_secs_f64()
    );
    match found.violation {
        None => ExitCode::SUCCESS,
        Some((violation, trace)) => {
            print!("{violation}:\n{trace}");
            ExitCode::FAILURE
        }
    }
}

fn moves(name: &str) -> Option<Moves> {
    match name {
        "whole" => Some(Moves::Whole),
        "following" => Some(Moves::Following),
        "either" => Some(Moves::Either),
        "local" => Some(Moves::Local),
        _ => None,
    }
}

fn all() -> impl Iterator<Item = Deviation> {
    Deviation::MISTAKES.into_iter().chain(Deviation::CODED)
}

fn rules(names: &[String]) -> Option<Rules> {
    names.iter().try_fold(Rules::SOUND, |rules, name| {
        if name == "as-coded" {
            return Some(Rules::as_coded());
        }
        all().find(|deviation| deviation.to_string() == *name).map(|known| rules.with(known))
    })
}
