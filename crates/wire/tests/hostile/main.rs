//! Whatever comes over the network: no panic, nothing out of bounds.
//!
//! Runs the checks of the fuzz targets over their corpus (`fuzz/corpus`) and over random mutations
//! of it. `PUNCTUAL_BLESS=1` adds what the golden files hold to the corpus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checks;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use punctual_wire::HEADER_LENGTH;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 3] =
    [("frame", checks::frame), ("message", checks::message), ("pages", checks::pages)];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn the_corpus_holds() {
    if std::env::var_os("PUNCTUAL_BLESS").is_some() {
        seed();
    }
    for (target, check) in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() >= 5, "the corpus of {target} is missing");
        for (path, input) in inputs {
            println!("{}", path.display());
            check(&input);
        }
    }
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    let byte = prop_oneof![Just(0), Just(0xff), Just(0x80), any::<u8>()];
    prop_oneof![
        (at(), byte).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        at().prop_map(Mutation::Cut),
        (at(), prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        at().prop_map(Mutation::Repeat),
    ]
}

fn mutate(input: &mut Vec<u8>, mutation: &Mutation) {
    let at = |at: &prop::sample::Index, input: &[u8]| at.index(input.len() + 1);
    match mutation {
        Mutation::Set(index, byte) => {
            let at = at(index, input);
            input.splice(at..(at + 1).min(input.len()), [*byte]);
        }
        Mutation::Flip(index, bit) => {
            let at = at(index, input);
            input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
        }
        Mutation::Cut(index) => input.truncate(at(index, input)),
        Mutation::Insert(index, bytes) => {
            let at = at(index, input);
            input.splice(at..at, bytes.iter().copied());
        }
        Mutation::Repeat(index) => input.extend_from_within(at(index, input)..),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, max_shrink_iters: 4096, ..Default::default() })]
    #[test]
    fn mutations_of_the_corpus_hold(
        target in 0..TARGETS.len(),
        chosen in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 0..6),
    ) {
        thread_local! {
            static INPUTS: Vec<Vec<(PathBuf, Vec<u8>)>> =
                TARGETS.iter().map(|(target, _)| corpus(target)).collect();
        }
        let mut input = INPUTS.with(|inputs| chosen.get(&inputs[target]).1.clone());
        for mutation in &mutations {
            mutate(&mut input, mutation);
        }
        TARGETS[target].1(&input);
    }
}

/// Adds the golden frames, each in the form that its target takes.
fn seed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(here.join("golden")).unwrap() {
        let path = entry.unwrap().path();
        let hex: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let frame: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let payload = &frame[HEADER_LENGTH..];
        let name = path.file_stem().unwrap();
        let keep = |target: &str, first: &[u8], rest: &[u8]| {
            let folder = here.join("../../fuzz/corpus").join(target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), [first, rest].concat()).unwrap();
        };
        keep("frame", &frame[4..5], &frame);
        match frame[6] {
            1 => keep("message", &[2], payload),
            2 => keep("message", &[0], payload),
            3 => keep("message", &[1], payload),
            4 => keep("message", &[3], payload),
            _ => keep("pages", &[], payload),
        }
    }
}
