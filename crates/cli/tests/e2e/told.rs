//! What a command said, and how it ended.

use std::process::{Child, Command, Output};

use serde_json::Value;

pub(crate) const DONE: i32 = 0;
pub(crate) const USAGE: i32 = 2;
pub(crate) const REFUSED: i32 = 3;
pub(crate) const FAILED: i32 = 4;
pub(crate) const CANCELLED: i32 = 5;

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), out, err }
    }
}

impl Told {
    /// That it ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.err, self.out);
        self
    }

    /// What it printed as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// That it ended as refused, with a reason that holds all of `words` and says what to do.
    #[track_caller]
    pub(crate) fn expect_refusal(self, words: &[&str]) {
        let told = self.expect(REFUSED);
        for word in words {
            assert!(told.err.contains(word), "`{word}` is not in: {}", told.err);
        }
    }
}

/// A command under way.
pub(crate) struct Begun(pub(crate) Child);

impl Begun {
    /// Waits for its end.
    pub(crate) fn end(self) -> Told {
        self.0.wait_with_output().unwrap().into()
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let process = self.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    }
}
