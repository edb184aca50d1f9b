//! What the command says and returns where there is no daemon to ask.

use std::process::{Command, Output};

fn punctual(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_punctual"))
        .args(arguments)
        .env_remove("PUNCTUAL_SOCKET")
        .output()
        .expect("the command was built with this test")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_lists_the_commands_and_the_exit_codes() {
    let help = punctual(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for expected in ["migrate", "attach", "lab", "2    usage", "3    refused", "5    cancelled"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_wrong_command_line_is_a_matter_of_usage() {
    for wrong in [
        &["teleport"][..],
        &["migrate", "web"],
        &["migrate", "web", "--to", "b", "--downtime", "50"],
        &["migrate", "web", "--to", "b", "--within", "0s"],
        &["host", "--name", "a"],
        &["host", "--name", "a", "--listen", "localhost"],
    ] {
        let output = punctual(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", errors(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn that_no_daemon_runs_is_a_failure_with_a_remedy() {
    let output = punctual(&["--socket", "/nonexistent/control.sock", "list"]);
    assert_eq!(output.status.code(), Some(4));
    let text = errors(&output);
    assert!(text.starts_with("error: no daemon answers at /nonexistent"), "{text}");
    assert!(text.contains("\nhint: start it with `punctual host`"), "{text}");
}

#[test]
fn a_specification_that_is_not_there_is_a_matter_of_usage() {
    let output = punctual(&["--socket", "/nonexistent/control.sock", "run", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
}

#[test]
fn a_daemon_without_a_place_to_live_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = |part: &str| directory.path().join(part).display().to_string();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let (socket, runtime, ram) = (path("s"), path("run"), path("ram"));
    let state = path("file/state");
    let host = ["host", "--name", "a", "--listen", "127.0.0.1:0", "--socket", &socket];
    let places = ["--runtime-dir", &runtime, "--ram-dir", &ram, "--state-dir", &state];
    let output = punctual(&[&host[..], &places].concat());
    assert_eq!(output.status.code(), Some(4));
    assert!(errors(&output).contains("choose directories of your own"), "{}", errors(&output));
}

#[test]
fn manual_pages_and_completions_come_from_the_same_definitions() {
    let directory = tempfile::tempdir().unwrap();
    let output = punctual(&["man", &directory.path().display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let page = std::fs::read_to_string(directory.path().join("punctual-migrate.1")).unwrap();
    assert!(page.contains("downtime"));
    let output = punctual(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--downtime"));
}
