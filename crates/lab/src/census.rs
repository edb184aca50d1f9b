//! What a lab and its machines have on this computer, and what a host of it has.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabHost;

/// All on this computer that bears a name: processes, namespaces, mounts, RAM, files.
///
/// # Errors
/// The mounts cannot be read.
pub fn of_name(name: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (pid, line) in processes().map(|pid| (pid, command_line(pid))) {
        if line.contains(name) && pid != std::process::id() {
            found.push(format!("process {pid}: {line}"));
        }
    }
    let places = ["/run/netns", "/run/punctual/lab", "/dev/shm", "/dev/hugepages", "/run"];
    let files = places.iter().flat_map(|place| entries(Path::new(place)));
    found.extend(files.filter(|file| file.contains(name)));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = mounts.lines().filter(|line| line.contains(name));
    found.extend(mounts.map(|line| format!("mount: {line}")));
    Ok(found)
}

/// All that machines have on a host of a lab: processes beside the daemon, taps, RAM files,
/// directories with sockets and logs. `program` is what the daemon was started as.
///
/// # Errors
/// The lab is gone, or `ip` does not work.
pub fn of_machines(host: &LabHost, program: &Path) -> io::Result<Vec<String>> {
    let namespace = fs::metadata(host.namespace.path())?.ino();
    let inside = |pid: &u32| {
        let link = fs::metadata(format!("/proc/{pid}/ns/net"));
        link.is_ok_and(|link| link.ino() == namespace)
    };
    // By what it was called: the file itself may have been built anew meanwhile.
    let is_command = |pid: u32| command_line(pid).starts_with(&format!("{} ", program.display()));
    let mut found: Vec<String> = processes()
        .filter(inside)
        .filter(|pid| !is_command(*pid))
        .map(|pid| format!("process {pid}: {}", command_line(pid)))
        .collect();
    found.extend(taps(host.namespace.name())?);
    found.extend(entries(&host.ram_dir));
    found.extend(entries(&host.run_dir.join("daemon/machines")));
    Ok(found)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Empty for one that has ended.
fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn taps(namespace: &str) -> io::Result<Vec<String>> {
    let show = ["-n", namespace, "-brief", "link", "show", "type", "tun"];
    let shown = Command::new("ip").args(show).output()?;
    if !shown.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&shown.stderr)));
    }
    let lines = String::from_utf8_lossy(&shown.stdout);
    Ok(lines.lines().map(|line| format!("tap: {line}")).collect())
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.iter().map(|path| path.display().to_string()).collect()
}
