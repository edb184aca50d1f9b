use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Options, PerHost};

/// Which file of the new host stands for which of the present one.
pub(super) struct Places<'a> {
    host: &'a PerHost,
    /// The monitor's socket at the new host.
    pub(super) monitor: PathBuf,
    /// Whether the command line names the monitor. It may also come from a configuration file or
    /// have been passed in.
    pub(super) monitor_is_named: bool,
    taken: BTreeMap<PathBuf, PathBuf>,
}

impl<'a> Places<'a> {
    pub(super) fn new(host: &'a PerHost) -> Self {
        let monitor = host.directory.join("qmp.sock");
        let taken = BTreeMap::from([(host.monitor.clone(), monitor.clone())]);
        Self { host, monitor, monitor_is_named: false, taken }
    }

    /// Every file of the new host.
    pub(super) fn files(self) -> Vec<PathBuf> {
        self.taken.into_values().collect()
    }

    /// The file in the machine's directory for one of the present host: the same name, numbered
    /// where that is taken.
    pub(super) fn local(&mut self, here: &str) -> String {
        let here = Path::new(here);
        self.monitor_is_named |= here == self.host.monitor;
        let there = match self.taken.get(here) {
            Some(there) => there.clone(),
            None => {
                let there = self.free(here.file_name().unwrap_or_default().to_string_lossy());
                self.taken.insert(here.to_owned(), there.clone());
                there
            }
        };
        there.to_string_lossy().into_owned()
    }

    fn free(&self, name: impl AsRef<str>) -> PathBuf {
        let name = name.as_ref();
        let is_free = |path: &PathBuf| !self.taken.values().any(|taken| taken == path);
        std::iter::once(name.to_owned())
            .chain((2..).map(|number| format!("{number}-{name}")))
            .map(|name| self.host.directory.join(name))
            .find(is_free)
            .expect("there are more numbers than files")
    }

    /// Moves the file that a key names.
    pub(super) fn move_path(&mut self, options: &mut Options, key: &str) {
        if let Some(path) = options.get(key).map(ToOwned::to_owned) {
            options.set(key, &self.local(&path));
        }
    }

    /// Moves what a `-chardev` makes. A socket that somebody else made stays.
    pub(super) fn chardev(&mut self, options: &mut Options) {
        self.move_path(options, "logfile");
        match options.kind("backend") {
            Some("file" | "pipe") => self.move_path(options, "path"),
            Some("socket") if options.is_on("server") => {
                self.move_path(options, "path");
                do_not_wait(options);
            }
            _ => {}
        }
    }

    /// Moves what a character device in its short form makes: `unix:PATH,server=on`,
    /// `file:PATH`, `mon:unix:PATH,…`.
    pub(super) fn short_chardev(&mut self, options: &mut Options) {
        self.move_path(options, "logfile");
        let Some(what) = options.kind("chardev").map(ToOwned::to_owned) else { return };
        let (mux, plain) = match what.strip_prefix("mon:") {
            Some(plain) => ("mon:", plain),
            None => ("", what.as_str()),
        };
        let Some((kind @ ("unix" | "file" | "pipe"), path)) = plain.split_once(':') else {
            return;
        };
        let listens = options.is_on("server");
        if kind == "unix" && !listens {
            return;
        }
        options.set_kind("chardev", &format!("{mux}{kind}:{}", self.local(path)));
        if listens {
            do_not_wait(options);
        }
    }

    /// Moves the socket of a VNC display, which always listens: `unix:PATH`.
    pub(super) fn vnc(&mut self, options: &mut Options) {
        if let Some(path) = options.kind("vnc").and_then(|kind| kind.strip_prefix("unix:")) {
            let local = self.local(path);
            options.set_kind("vnc", &format!("unix:{local}"));
        }
    }
}

/// Else QEMU would not start before somebody connects.
fn do_not_wait(options: &mut Options) {
    if !options.has("nowait") && options.get("wait") != Some("off") {
        options.set("wait", "off");
    }
}
