//! QEMUs that something else than `punctual run` has started.

use std::path::PathBuf;
use std::process::Command;

use punctual_images::Qemu;
use punctual_lab::Process;

use crate::stage::{Stage, until};
use crate::told::DONE;

/// A QEMU and where its monitor is.
pub(crate) struct ByHand {
    pub(crate) monitor: PathBuf,
    process: Process,
}

impl ByHand {
    /// Starts one on a host, with `arguments` separated by spaces.
    pub(crate) fn start(
        stage: &Stage,
        host: &str,
        name: &str,
        qemu: &Qemu,
        arguments: &[&str],
    ) -> Self {
        let monitor = stage.scratch().join(format!("{host}-{name}.qmp"));
        let mut command: Command = qemu.command();
        command.args(["-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.args(arguments);
        let process = stage.scene().lab().spawn(host, name, command).unwrap();
        until("QEMU has a monitor", || {
            let said = || std::fs::read_to_string(&process.record().log).unwrap();
            assert!(process.is_running(), "{}", said());
            monitor.exists()
        });
        Self { monitor, process }
    }

    /// Has the daemon of the host adopt it.
    pub(crate) fn adopt(&self, stage: &Stage) {
        let ProcessName { host, name } = self.name();
        let words = ["attach", name, "--qmp", self.monitor.to_str().unwrap(), "--json"];
        let told = stage.run(host, &words).expect(DONE).json();
        assert_eq!(told["pid"], self.process.record().id.pid);
        assert_eq!(told["name"], name);
    }

    /// Whether it runs; it is not to be started anew by anybody.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Ends it.
    pub(crate) fn end(self) {
        self.process.end().unwrap();
    }

    fn name(&self) -> ProcessName<'_> {
        let record = self.process.record();
        ProcessName { host: &record.place, name: &record.name }
    }
}

struct ProcessName<'a> {
    host: &'a str,
    name: &'a str,
}
