//! The client against a monitor played by the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}"#;

/// A monitor that greets, and answers the n-th command with the n-th text (`ID` replaced).
fn monitor(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        writeln!(stream, "{GREETING}").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for answer in std::iter::once(&r#"{"return": {}, "id": ID}"#).chain(answers) {
            let command: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            writeln!(stream, "{}", answer.replace("ID", &command["id"].to_string())).unwrap();
        }
        // Held open until the client leaves.
        let _ = stream.read(&mut [0]);
    });
    (place, path)
}

#[test]
fn events_and_answers_come_in_any_order() {
    let (_place, path) = monitor(&[concat!(
        r#"{"event": "NEWS_OF_TOMORROW", "data": {"x": [1]}}"#,
        "\n",
        r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#,
        "\n",
        r#"{"return": {"running": false, "later": "field"}, "id": ID}"#
    )]);
    let qmp = Qmp::connect(&path).unwrap();
    let mark = qmp.mark();
    let answer = qmp.execute("stop", json!({})).unwrap();
    assert_eq!(answer["running"], false);
    let deadline = Instant::now() + ANSWER;
    let event = qmp.wait_event(mark, deadline, "STOP", |event| event.name == "STOP").unwrap();
    assert_eq!(event.data, Value::Null);
    assert!(qmp.seen_event(mark, |event| event.name == "NEWS_OF_TOMORROW").is_some());
    assert!(qmp.seen_event(qmp.mark(), |_| true).is_none(), "behind the mark there is nothing");
}

#[test]
fn commands_that_were_begun_are_answered_each_for_itself() {
    let (_place, path) = monitor(&[
        r#"{"return": "runs", "id": ID}"#,
        r#"{"error": {"class": "GenericError", "desc": "nobody to tell"}, "id": ID}"#,
    ]);
    let qmp = Arc::new(Qmp::connect(&path).unwrap());
    let first = qmp.begin("cont", json!({})).unwrap();
    let second = qmp.begin("announce-self", json!({})).unwrap();
    let refused = second.answer().unwrap_err().to_string();
    assert_eq!(refused, "QEMU refused `announce-self`: nobody to tell (GenericError)");
    assert_eq!(first.answer().unwrap(), "runs");
}

#[test]
fn a_refusal_carries_the_command_and_qemus_words() {
    let (_place, path) = monitor(&[
        r#"{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}, "id": ID}"#,
    ]);
    let error = Qmp::connect(&path).unwrap().execute("x", json!({})).unwrap_err().to_string();
    assert_eq!(error, "QEMU refused `x`: The command x has not been found (CommandNotFound)");
}

#[test]
fn a_monitor_that_does_not_greet_is_held_by_another() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("qmp.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Qmp::connect(&path).unwrap_err();
    assert!(matches!(error, QmpError::Busy(_)), "{error}");
    assert!(error.to_string().contains("give QEMU a second -qmp"), "{error}");
}

#[test]
fn a_human_monitor_is_named_as_such() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("monitor.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let human = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"QEMU 7.2.22 monitor - type 'help'\r\n(qemu) ").unwrap();
        stream
    });
    let error = Qmp::connect(&path).unwrap_err().to_string();
    drop(human.join());
    assert!(error.contains("it says `QEMU 7.2.22 monitor"), "{error}");
}

#[test]
fn nobody_there() {
    let error = Qmp::connect(Path::new("/nonexistent/qmp.sock")).unwrap_err().to_string();
    assert!(error.contains("start QEMU with -qmp"), "{error}");
}

#[test]
fn a_lost_monitor_ends_every_wait() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        writeln!(stream, "{GREETING}\n{{\"return\": {{}}, \"id\": 0}}").unwrap();
        let mut commands = BufReader::new(stream).lines();
        commands.nth(1);
    });
    let qmp = Qmp::connect(&path).unwrap();
    let error = qmp.execute("query-status", json!({})).unwrap_err();
    assert!(error.is_lost(), "{error}");
    let deadline = Instant::now() + ANSWER;
    assert!(qmp.wait_event(qmp.mark(), deadline, "STOP", |_| true).unwrap_err().is_lost());
}
