//! The program of the test machine that is a plain process, see `punctual_guest::process`.

fn main() -> std::io::Result<()> {
    punctual_guest::process::run_program()
}
