//! `processes.by_memory`, `processes.by_cpu`, `processes.stuck`: the first processes of /proc as a table, and their number.
//! `processes.named`: each with its command line.

use std::cmp::Reverse;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, Uid, User, sysconf};
use remit_common::text;
use remit_words::cgroup;

use crate::text::{number, print, size, span, table};

struct Process {
    pid: u32,
    ppid: u32,
    uid: u32,
    state: char,
    name: String,
    /// Clock ticks on a processor, and from boot to its start.
    ticks: u64,
    start: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

struct Machine {
    uptime: u64,
    ticks_a_second: u64,
    page: u64,
}

pub fn by_memory(count: &str) -> Result<ExitCode, String> {
    let machine = Machine::now()?;
    let mut all = processes()?;
    all.sort_by_key(|one| (Reverse(one.resident_pages), one.pid));
    let row = |one: &Process| {
        [
            one.pid.to_string(),
            user(one.uid),
            size(one.resident_pages.saturating_mul(machine.page)),
            size(one.virtual_bytes),
            unit(one.pid),
            one.name.clone(),
        ]
    };
    let head = ["PID", "USER", "RSS", "VIRTUAL", "UNIT", "COMMAND"];
    show(head, &all, number(count)?, row)
}

pub fn by_cpu(count: &str) -> Result<ExitCode, String> {
    let machine = Machine::now()?;
    let mut all = processes()?;
    all.sort_by_key(|one| (Reverse(machine.share(one)), one.pid));
    let row = |one: &Process| {
        let share = machine.share(one);
        [
            one.pid.to_string(),
            user(one.uid),
            format!("{}.{} %", share / 10, share % 10),
            span(one.ticks / machine.ticks_a_second),
            span(machine.age(one)),
            unit(one.pid),
            one.name.clone(),
        ]
    };
    let head = ["PID", "USER", "CPU", "TIME", "AGE", "UNIT", "COMMAND"];
    show(head, &all, number(count)?, row)
}

pub fn stuck(count: &str) -> Result<ExitCode, String> {
    let machine = Machine::now()?;
    let mut all = processes()?;
    let total = all.len();
    all.retain(|one| matches!(one.state, 'D' | 'Z'));
    if all.is_empty() {
        print(&format!("none of {total} processes is in state D or Z\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    all.sort_by_key(|one| (one.state, one.pid));
    let row = |one: &Process| {
        [
            one.state.to_string(),
            one.pid.to_string(),
            one.ppid.to_string(),
            user(one.uid),
            span(machine.age(one)),
            unit(one.pid),
            one.name.clone(),
        ]
    };
    let head = ["STATE", "PID", "PPID", "USER", "AGE", "UNIT", "COMMAND"];
    show(head, &all, number(count)?, row)
}

pub fn named(name: &str) -> Result<ExitCode, String> {
    let own = std::process::id();
    let mut all = processes()?;
    let total = all.len();
    all.retain(|one| one.pid != own);
    all.sort_by_key(|one| one.pid);
    let mut shown = String::new();
    for one in &all {
        let line = fs::read(format!("/proc/{}/cmdline", one.pid)).unwrap_or_default();
        if is_named(name, &one.name, &line) {
            shown += &format!("{} {}\n", one.pid, command_line(&one.name, &line));
        }
    }
    match shown.is_empty() {
        true => print(&format!(
            "none of {total} processes has '{name}' in its name\n"
        ))?,
        false => print(&shown)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The kernel keeps 15 bytes of a name. The first word of the command line is the whole name, but of a script.
fn is_named(name: &str, kept: &str, line: &[u8]) -> bool {
    const KEPT: usize = 15;
    let first = line.split(|byte| b"\0 ".contains(byte)).next();
    let first = String::from_utf8_lossy(first.unwrap_or_default());
    let file = first.rsplit('/').next().unwrap_or_default();
    [kept, file].iter().any(|own| own.contains(name))
        || (kept.len() == KEPT && name.starts_with(kept) && !file.starts_with(kept))
}

/// Arguments with blanks between them, as pgrep(1) shows them. A process without any has the name that the kernel keeps.
fn command_line(name: &str, line: &[u8]) -> String {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let words: Vec<u8> = line
        .iter()
        .map(|byte| if *byte == 0 { b' ' } else { *byte })
        .collect();
    match words.is_empty() {
        true => name.to_owned(),
        false => text::line(&words, 4096),
    }
}

fn show<const N: usize>(
    head: [&str; N],
    all: &[Process],
    most: usize,
    row: impl Fn(&Process) -> [String; N],
) -> Result<ExitCode, String> {
    let rows: Vec<[String; N]> = all.iter().take(most).map(row).collect();
    let mut shown = table(head, &rows);
    if rows.len() < all.len() {
        shown += &format!("{} of {}\n", rows.len(), all.len());
    }
    print(&shown)?;
    Ok(ExitCode::SUCCESS)
}

impl Machine {
    fn now() -> Result<Self, String> {
        // As the kernel counts starts of processes. In a container /proc/uptime can be that of the container.
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|errno| format!("cannot read the clock: {errno}"))?;
        let of = |variable| {
            let value = sysconf(variable).ok().flatten();
            value.and_then(|value| u64::try_from(value).ok())
        };
        Ok(Self {
            uptime: u64::try_from(uptime.tv_sec()).unwrap_or_default(),
            ticks_a_second: of(SysconfVar::CLK_TCK).unwrap_or(100).max(1),
            page: of(SysconfVar::PAGE_SIZE).unwrap_or(4096),
        })
    }

    fn age(&self, process: &Process) -> u64 {
        self.uptime
            .saturating_sub(process.start / self.ticks_a_second)
    }

    /// Tenths of a per cent of one processor since its start, as ps(1) counts.
    fn share(&self, process: &Process) -> u64 {
        process.ticks.saturating_mul(1000) / (self.age(process).max(1) * self.ticks_a_second)
    }
}

fn processes() -> Result<Vec<Process>, String> {
    let cannot = |error| format!("cannot read /proc: {error}");
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(pid) = name.and_then(|name| name.parse().ok())
            && let Ok(owner) = fs::metadata(&path)
            && let Ok(stat) = fs::read(path.join("stat"))
            && let Some(process) = parsed(pid, owner.uid(), &stat)
        {
            all.push(process);
        }
    }
    if hides_others() {
        eprintln!("remit-look: {HIDDEN}: {} are seen", all.len());
    }
    Ok(all)
}

pub(super) const HIDDEN: &str = "/proc hides processes of other users (its mount option hidepid; a remount without it ends that)";

/// Each process may read this of each other but with hidepid.
pub(super) fn hides_others() -> bool {
    fs::read("/proc/1/stat").is_err()
}

/// Parses /proc/PID/stat (proc_pid_stat(5)). The name may have any byte, so fields are counted from its last parenthesis.
fn parsed(pid: u32, uid: u32, stat: &[u8]) -> Option<Process> {
    let start = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 of the page is the first here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Process {
        pid,
        ppid: u32::try_from(field(4)?).ok()?,
        uid,
        state: fields.first()?.chars().next()?,
        name: text::line(stat.get(start..end)?, 64),
        ticks: field(14)?.saturating_add(field(15)?),
        start: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

pub(super) fn user(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(
        || uid.to_string(),
        |user| text::line(user.name.as_bytes(), 32),
    )
}

/// The outermost unit of its cgroup that is no slice; `-` for none.
fn unit(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let (unit, _) = cgroup::units_of(path.unwrap_or_default());
    unit.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_found_whole_and_in_part() {
        let journald = b"/usr/lib/systemd/systemd-journald\0".as_slice();
        let script = b"/usr/bin/python3\0/usr/bin/unattended-upgrade-shutdown\0".as_slice();
        for (name, kept, line, expect) in [
            ("systemd-journald", "systemd-journal", journald, true),
            ("journald", "systemd-journal", journald, true),
            ("journal", "systemd-journal", journald, true),
            ("lib", "systemd-journal", journald, false),
            ("systemd-journalx", "systemd-journal", journald, false),
            ("unattended-upgrade", "unattended-upgr", script, true),
            ("nginx", "nginx", b"nginx: master process x\0", true),
            ("master", "nginx", b"nginx: master process x\0", false),
            ("ngin.", "nginx", b"nginx\0", false),
            ("kthreadd", "kthreadd", b"", true),
            ("nginx-extra", "nginx", b"nginx\0", false),
        ] {
            assert_eq!(is_named(name, kept, line), expect, "{name} {kept}");
        }
    }

    #[test]
    fn command_line_is_one_line() {
        for (line, expect) in [
            (b"a\0b c\0".as_slice(), "a b c"),
            (b"a\n7 forged\0", "a\\n7 forged"),
            (b"", "name"),
        ] {
            assert_eq!(command_line("name", line), expect);
        }
    }

    #[test]
    fn fields_are_counted_behind_any_name() {
        let stat =
            b"7 (a) Z (b\n) D 3 7 7 0 -1 4194560 1 2 3 4 50 6 0 0 20 0 1 0 900 8192 12 1844\n";
        let found = parsed(7, 5, stat).expect("a process");
        assert_eq!(
            (found.ppid, found.state, found.name.as_str()),
            (3, 'D', "a) Z (b\\n")
        );
        assert_eq!((found.ticks, found.start), (56, 900));
        assert_eq!((found.virtual_bytes, found.resident_pages), (8192, 12));
        let machine = Machine {
            uptime: 29,
            ticks_a_second: 100,
            page: 4096,
        };
        assert_eq!((machine.age(&found), machine.share(&found)), (20, 28));
        for cut in 0..stat.len() - 7 {
            assert!(parsed(7, 5, &stat[..cut]).is_none(), "{cut}");
        }
    }
}
