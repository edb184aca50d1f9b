#![no_main]

#[path = "../../crates/trace/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    checks::trace(input);
    if let [scans, stream @ ..] = input {
        checks::stream(u32::from(*scans), stream);
    }
});
