//! A QEMU for a test, in a network namespace that is the test's own.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use punctual_images::{QemuChoice, qemu};
use tempfile::TempDir;

/// How long a test waits for something that ought to happen soon.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a test on a thread with a network of its own, which ends with it. Says so and passes where
/// the machine lacks what the test needs.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    let joined = thread::spawn(move || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            println!("SKIP: a network namespace of its own needs root: {error}");
            return;
        }
        test();
    })
    .join();
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` and expects it to succeed.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}

/// Asks again and again until there is an answer, up to a deadline.
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A running QEMU whose RAM is a file; it ends with this value.
pub(crate) struct Machine {
    process: Child,
    files: TempDir,
}

impl Machine {
    /// Starts a PC with `megabytes` of RAM and further arguments.
    pub(crate) fn start(accelerator: &str, megabytes: u32, arguments: &[String]) -> Self {
        let files = tempfile::Builder::new().prefix("punctual-").tempdir_in("/dev/shm").unwrap();
        let ram = files.path().join("ram");
        let process = qemu(QemuChoice::Installed)
            .unwrap()
            .command()
            .args(["-accel", accelerator, "-machine", "pc,memory-backend=ram0"])
            .args(["-m", &megabytes.to_string(), "-object"])
            .arg(format!(
                "memory-backend-file,id=ram0,size={megabytes}M,mem-path={},share=on",
                ram.display()
            ))
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial"])
            .arg(format!("file:{}", files.path().join("console").display()))
            .args(arguments)
            .stderr(File::create(files.path().join("errors")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, files }
    }

    /// What the guest has said on its serial console so far.
    pub(crate) fn console(&self) -> String {
        self.text("console")
    }

    fn text(&self, file: &str) -> String {
        let content = fs::read(self.files.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    }

    /// Fails if QEMU has ended.
    pub(crate) fn expect_running(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            panic!("QEMU: {status}\n{}\n{}", self.text("errors"), self.console());
        }
    }

    /// Flips the lowest bit of a byte of the guest's RAM; says what the byte was.
    pub(crate) fn flip(&self, address: u64) -> u8 {
        flip(&self.files.path().join("ram"), address)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Flips the lowest bit of a byte of a file; says what the byte was.
pub(crate) fn flip(path: &Path, position: u64) -> u8 {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
    byte[0]
}
