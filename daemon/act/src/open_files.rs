//! Lists the files that the processes of a unit have open, one JSON object a line. Changes nothing.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use remit_common::text;
use serde::Serialize;

use crate::args::{Fault, ProcessScope};

const PROC: &str = "/proc";

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Open {
    pid: i32,
    program: String,
    descriptor: u32,
    /// As in proc_pid_fd(5): a path, with ` (deleted)` after an unlinked one, or `socket:[inode]`.
    file: String,
    access: &'static str,
}

/// Prints at most `most` open files, and the number of the others on standard error.
pub fn print(scope: &ProcessScope, most: usize) -> Result<(), Fault> {
    let pids = match scope {
        ProcessScope::Unit(unit) => processes(Path::new(PROC), &group(unit.as_str())?),
        ProcessScope::Process(pid) => vec![*pid],
    };
    let (mut open, mut more, mut unseen) = (Vec::new(), 0, 0);
    for pid in pids {
        match of_process(Path::new(PROC), pid) {
            Some(files) => {
                let free = most - open.len();
                more += files.len().saturating_sub(free);
                open.extend(files.into_iter().take(free));
            }
            None => unseen += 1,
        }
    }
    written(&open).map_err(|error| Fault::Failed(format!("cannot write: {error}")))?;
    for (count, what) in [
        (more, "more are open"),
        (unseen, "processes are not there any more"),
    ] {
        if count > 0 {
            eprintln!("remit-act: {count} {what}");
        }
    }
    Ok(())
}

fn written(open: &[Open]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for one in open {
        serde_json::to_writer(&mut out, one)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Returns the cgroup of a unit. The service manager is asked, because a user's own unit can have the same name.
fn group(unit: &str) -> Result<String, Fault> {
    let asked = Command::new("/usr/bin/systemctl")
        .args(["show", "--property=ControlGroup", "--value", "--", unit])
        .output()
        .map_err(|error| Fault::Failed(format!("cannot run systemctl: {error}")))?;
    if !asked.status.success() {
        let why = text::line(&asked.stderr, 500);
        return Err(Fault::Failed(format!("systemctl: {why}")));
    }
    let group = String::from_utf8_lossy(&asked.stdout).trim_end().to_owned();
    match group.is_empty() {
        false => Ok(group),
        true => Err(Fault::Failed(format!(
            "unit '{unit}' has no process: it does not run"
        ))),
    }
}

fn processes(proc: &Path, group: &str) -> Vec<i32> {
    let all = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<i32> = pids
        .filter(|pid| {
            let groups = fs::read_to_string(proc.join(format!("{pid}/cgroup")));
            groups.is_ok_and(|groups| is_in(&groups, group))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Returns true if `groups` (text of /proc/PID/cgroup, cgroups(7)) has the v2 cgroup `group` or one below it.
fn is_in(groups: &str, group: &str) -> bool {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let below = own.and_then(|own| own.strip_prefix(group));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Returns the open files of a process, or `None` if they cannot be read, for example because it has ended.
fn of_process(proc: &Path, pid: i32) -> Option<Vec<Open>> {
    let process = proc.join(pid.to_string());
    let program = fs::read(process.join("comm")).ok()?;
    let program = String::from_utf8_lossy(&program).trim_end().to_owned();
    let mut open = Vec::new();
    for entry in fs::read_dir(process.join("fd")).ok()?.flatten() {
        let descriptor = entry.file_name().to_string_lossy().parse::<u32>();
        let (Ok(descriptor), Ok(file)) = (descriptor, fs::read_link(entry.path())) else {
            continue;
        };
        let info = fs::read_to_string(process.join(format!("fdinfo/{descriptor}")));
        open.push(Open {
            pid,
            program: program.clone(),
            descriptor,
            file: file.to_string_lossy().into_owned(),
            access: access(&info.unwrap_or_default()),
        });
    }
    open.sort_unstable_by_key(|one| one.descriptor);
    Some(open)
}

fn access(info: &str) -> &'static str {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    match flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()) {
        // With O_PATH the two bits of O_ACCMODE mean nothing.
        Some(flags) if flags & 0o10_000_000 != 0 => "path",
        Some(flags) => match flags & 0o3 {
            0 => "read",
            1 => "write",
            2 => "read and write",
            _ => "control",
        },
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_may_be_done() {
        for (info, want) in [
            ("pos:\t0\nflags:\t0100000\nmnt_id:\t25\n", "read"),
            ("flags:\t0100001\n", "write"),
            ("flags:\t02100002\n", "read and write"),
            ("flags:\t0100003\n", "control"),
            ("flags:\t012000002\n", "path"),
            ("flags:\t9\n", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(access(info), want, "{info}");
        }
    }

    #[test]
    fn cgroup_includes_descendants_not_siblings() {
        for (groups, inside) in [
            ("0::/system.slice/nginx.service\n", true),
            ("12:pids:/x\n0::/system.slice/nginx.service/worker\n", true),
            ("0::/system.slice/nginx.service2\n", false),
            ("0::/user.slice/system.slice/nginx.service\n", false),
            ("12:pids:/system.slice/nginx.service\n0::/\n", false),
            ("", false),
        ] {
            assert_eq!(
                is_in(groups, "/system.slice/nginx.service"),
                inside,
                "{groups}"
            );
        }
    }

    #[test]
    fn a_process_tells_what_it_has_open() {
        let dir = std::env::temp_dir().join(format!("remit-openfiles-{}", std::process::id()));
        let file = fs::File::create(&dir).unwrap();
        fs::remove_file(&dir).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let open = of_process(Path::new("/proc"), pid).unwrap();
        let deleted = format!("{} (deleted)", dir.display());
        let found = open.iter().find(|one| one.file == deleted).unwrap();
        assert_eq!((found.access, found.pid), ("write", pid));
        assert!(!found.program.is_empty());
        drop(file);
        assert_eq!(of_process(Path::new("/nonexistent"), pid), None);
    }
}
