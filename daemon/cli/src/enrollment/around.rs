//! Checks for ways around remit: sshd's settings, keys, rights. Kills processes of accounts that lose access.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Request;
use super::arguments::Name;
use super::authorized_keys_line;
use super::key::PublicKey;
use super::refused::Refused;
use super::role::Role;
use crate::checks::{self, Check, Verdict};
use crate::openssh::effective::{Answers, Effective};
use crate::openssh::keys;
use crate::openssh::pattern::Connection;

/// Refuses an account that fails a check of `remit doctor`, and a key that opens other accounts. Returns the warnings.
pub(super) fn check_bypasses(request: &Request, sshd: &Answers) -> Result<Vec<String>, Refused> {
    let name = request.name;
    let blob = keys::decode_base64(request.key.base64.as_bytes()).unwrap_or_default();
    let checks = match request.role {
        Role::Agent => checks::checks_of_new_agent(name.as_str(), blob, sshd),
        Role::Approver => checks::checks_of_new_approver(name.as_str(), blob, sshd),
    };
    let checks =
        checks.map_err(|error| Refused::new(format!("cannot look at user '{name}': {error}")))?;
    let (mut whys, mut fixes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for check in checks {
        match check.verdict {
            Verdict::Failure(finding) => {
                whys.push(finding.why);
                fixes.push(finding.fix);
            }
            Verdict::Warning(finding) => warnings.push(finding.why),
            Verdict::Ok(_) | Verdict::Skipped(_) => {}
        }
    }
    if whys.is_empty() {
        return Ok(warnings);
    }
    let text = match request.role {
        Role::Agent => format!("user '{name}' can bypass remit: {}", whys.join("; ")),
        Role::Approver => format!(
            "the key would open more than approving: {}",
            whys.join("; ")
        ),
    };
    Err(Refused::new(text).lift(ways_out(name, &fixes)))
}

/// Returns why sshd does not let a key of the account in, which is enrolled all the same.
pub(super) fn login_warnings(name: &Name) -> Vec<String> {
    let checks = match checks::login_checks(name.as_str()) {
        Ok(checks) => checks,
        Err(error) => return vec![format!("cannot look at user '{name}': {error}")],
    };
    let why = |check: Check| match check.verdict {
        Verdict::Failure(finding) | Verdict::Warning(finding) => Some(finding.why),
        Verdict::Ok(_) | Verdict::Skipped(_) => None,
    };
    checks.into_iter().filter_map(why).collect()
}

/// Returns each way once, one a line, without the enrollment that was refused.
fn ways_out(name: &Name, fixes: &[String]) -> String {
    let refused = checks::or_enroll(name.as_str());
    let mut ways: Vec<String> = Vec::new();
    let last =
        "or choose an unused name and a new key, and remit will create the account".to_owned();
    for way in fixes
        .iter()
        .map(|fix| fix.replace(&refused, ""))
        .chain([last])
    {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.join("\n")
}

pub(super) fn sshd_of(role: Role, name: &Name, sshd: &Answers) -> Result<Rc<Effective>, Refused> {
    let usual = Connection::default();
    let settings = sshd.ask(name.as_str(), &usual).map_err(|error| {
        Refused::new(error.to_string()).lift("install an ssh server; 'sshd -t' checks its settings")
    })?;
    check_not_forced(role, name, &settings, "")?;
    for way in sshd.ways(name.as_str()) {
        let Some(connection) = &way.connection else {
            continue;
        };
        let there = sshd.ask(name.as_str(), connection);
        let there = there.map_err(|error| Refused::new(error.to_string()))?;
        check_not_forced(role, name, &there, &format!(", by {}", way.block.location))?;
    }
    Ok(settings)
}

/// ForceCommand overrides the command of the key (sshd_config(5)).
fn check_not_forced(
    role: Role,
    name: &Name,
    settings: &Effective,
    location: &str,
) -> Result<(), Refused> {
    match settings.get("forcecommand") {
        Some(command) if command != role.command() => Err(Refused::new(format!(
            "sshd forces another command on user '{name}'{location}: {command}"
        ))
        .lift("in '/etc/ssh/sshd_config', exclude this user from ForceCommand")),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a key that opens root's account, for whatever program. Root's own files are trusted.
pub(super) fn check_not_root_key(role: Role, key: &PublicKey) -> Result<(), Refused> {
    let settings = Effective::ask("root", &Connection::default())?;
    for path in settings.authorized_keys_files("root", 0, Path::new("/root")) {
        // sshd finds no key either in a file that is missing or unreadable.
        let text = fs::read(&path).unwrap_or_default();
        if let Some(line) = authorized_keys_line::find_line(&text, key) {
            let text = format!(
                "the key opens root's account: '{}', line {line}",
                path.display()
            );
            return Err(Refused::new(text).lift(format!(
                "remove that line, or give the {} a key of its own",
                role.noun()
            )));
        }
    }
    Ok(())
}

/// Refuses a file that sshd reads for another account, too: a key in it would open that account.
pub(super) fn check_own_file(name: &Name, file: &Path, sshd: &Answers) -> Result<(), Refused> {
    let other = checks::other_account_of(name.as_str(), file, sshd)
        .map_err(|error| Refused::new(format!("cannot look at other accounts: {error}")))?;
    match other {
        None => Ok(()),
        Some(other) => Err(Refused::new(format!(
            "the key would also open the account of '{other}': sshd reads its keys in '{}', too",
            file.display()
        ))
        .lift(format!(
            "in '/etc/ssh/sshd_config', set AuthorizedKeysFile for '{name}' to a file of its own, \
             such as '/etc/ssh/keys/%u'"
        ))),
    }
}

const DEADLINE: Duration = Duration::from_secs(5);
/// Poll interval. They are not our children, so no notification exists.
const PAUSE: Duration = Duration::from_millis(20);

/// Kills all processes of `uid` and returns how many there were. Only for an agent's own account.
pub fn end(uid: u32) -> io::Result<usize> {
    let deadline = Instant::now() + DEADLINE;
    let mut first = None;
    loop {
        let pids = of(uid)?;
        let count = *first.get_or_insert(pids.len());
        if pids.is_empty() {
            return Ok(count);
        }
        if Instant::now() > deadline {
            let text = format!("{} processes of uid {uid} do not end", pids.len());
            return Err(io::Error::other(text));
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(PAUSE);
    }
}

pub fn count(uid: u32) -> io::Result<usize> {
    Ok(of(uid)?.len())
}

/// Counts processes of `uid` with the group `gid`: they keep a group until they end (credentials(7)).
pub fn in_group(uid: u32, gid: u32) -> io::Result<usize> {
    let gid = gid.to_string();
    let has_it = |pid: &i32| {
        let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
        // The process name may be any bytes.
        let status = String::from_utf8_lossy(&status);
        let groups = status.lines().filter_map(|line| {
            line.strip_prefix("Groups:")
                .or_else(|| line.strip_prefix("Gid:"))
        });
        groups.flat_map(str::split_whitespace).any(|one| one == gid)
    };
    Ok(of(uid)?.iter().filter(|pid| has_it(pid)).count())
}

/// Returns processes with this effective uid, which owns them in `/proc` (proc(5)). An unreaped zombie counts. Those of
/// a container do not: there the same number is another account.
fn of(uid: u32) -> io::Result<Vec<i32>> {
    let own = Namespaces::of("self");
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let Ok(pid) = name.parse() else {
            continue;
        };
        let is_of_uid = entry.metadata().is_ok_and(|found| found.uid() == uid);
        if is_of_uid && !Namespaces::of(name).is_container_of(&own) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Namespaces of a process (namespaces(7)). `None`: it has ended, or nobody may look.
#[derive(Debug)]
struct Namespaces {
    user: Option<PathBuf>,
    pid: Option<PathBuf>,
}

impl Namespaces {
    fn of(process: &str) -> Self {
        let link = |name: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
        Self {
            user: link("user"),
            pid: link("pid"),
        }
    }

    /// Only root makes a pid namespace without a user namespace, so no account hides a process of its own there.
    fn is_container_of(&self, own: &Self) -> bool {
        let is_same_user = self.user.is_some() && self.user == own.user;
        is_same_user && self.pid.is_some() && own.pid.is_some() && self.pid != own.pid
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[test]
    fn ways_out_are_one_a_line_and_each_once() {
        let name: Name = "ann".parse().unwrap();
        let by_hand = |line| format!("put X before the key in line {line}");
        let found = |line| by_hand(line) + &checks::or_enroll("ann");
        let there = format!("{}; or change the block at /x:3", found(1));
        let ways = ways_out(&name, &[found(1), found(1), found(2), there]);
        let expect = [
            by_hand(1),
            by_hand(2),
            format!("{}; or change the block at /x:3", by_hand(1)),
            "or choose an unused name and a new key, and remit will create the account".to_owned(),
        ];
        assert_eq!(ways.lines().collect::<Vec<_>>(), expect);
    }

    /// A container's process may have the number of an account of the host.
    #[test]
    fn process_of_a_container_is_not_of_the_account() {
        let uid = 60_179;
        let mut container = Command::new("unshare")
            .args(["--pid", "--fork"])
            .args([
                "setpriv",
                "--reuid",
                "60179",
                "--clear-groups",
                "/bin/sh",
                "-c",
            ])
            .arg("echo ready; read -r end")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let mut stdout = container.stdout.take().unwrap();
        stdout.read_exact(&mut ready).unwrap();
        let mut own = Command::new("/bin/sleep");
        let mut own = own.arg("600").uid(uid).spawn().unwrap();
        assert_eq!(count(uid).unwrap(), 1);
        let reaper = thread::spawn(move || own.wait().unwrap().signal());
        assert_eq!(end(uid).unwrap(), 1);
        assert_eq!(reaper.join().unwrap(), Some(9));
        assert_eq!(
            container.try_wait().unwrap(),
            None,
            "it has a child that runs"
        );
        // It ends with its input.
        drop(container.stdin.take());
        container.wait().unwrap();
    }

    #[test]
    fn a_user_namespace_hides_no_process() {
        let namespaces = |user: &str, pid: &str| Namespaces {
            user: Some(user.into()),
            pid: Some(pid.into()),
        };
        let own = namespaces("user:[1]", "pid:[1]");
        for (user, pid, expect) in [
            ("user:[1]", "pid:[1]", false),
            ("user:[1]", "pid:[2]", true),
            ("user:[2]", "pid:[2]", false),
            ("user:[2]", "pid:[1]", false),
        ] {
            assert_eq!(
                namespaces(user, pid).is_container_of(&own),
                expect,
                "{user} {pid}"
            );
        }
        let gone = Namespaces {
            user: None,
            pid: None,
        };
        assert!(!gone.is_container_of(&own) && !own.is_container_of(&gone));
    }

    #[test]
    fn all_of_one_account_end_and_no_other() {
        let uid = 60_177;
        let sleep = |uid: u32| {
            let mut command = Command::new("/bin/sleep");
            command.arg("600").uid(uid).gid(uid).spawn().unwrap()
        };
        let mut own = [sleep(uid), sleep(uid)];
        let mut other = sleep(60_178);
        assert_eq!((count(uid).unwrap(), count(60_178).unwrap()), (2, 1));
        assert_eq!(in_group(uid, uid).unwrap(), 2);
        assert_eq!(in_group(uid, 60_178).unwrap(), 0);
        let reaper =
            thread::spawn(move || own.each_mut().map(|child| child.wait().unwrap().signal()));
        assert_eq!(end(uid).unwrap(), 2);
        assert_eq!(reaper.join().unwrap(), [Some(9), Some(9)]);
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(end(uid).unwrap(), 0);
    }
}
