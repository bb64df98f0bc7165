//! When a process logged in: by its login session, which logind made (sd-login(3), pam_systemd(8)). A process that stays
//! in a session keeps it: a further channel of an ssh connection, tmux(1), su(1) and sudo(8) are no new login.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_sys::sys;

/// Files of logind, which only root writes.
const SESSIONS: &str = "/run/systemd/sessions";
const BYTES: u64 = 4096;
/// A longer name is none of logind's.
const NAME: usize = 64;
/// Classes of sessions in which a person works. Others are of cron(8), of service managers, of screens that ask for a name.
const CLASSES: [&str; 4] = ["user", "user-early", "user-light", "user-early-light"];

/// Returns when the session of a process began, by CLOCK_MONOTONIC. Fails if it is in no session of a person.
pub fn began(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Duration, Refusal> {
    let cgroups = sys::cgroups(pid, pidfd)
        .map_err(|error| refused(&format!("its cgroup cannot be read: {error}")))?;
    let name = session(&cgroups).ok_or_else(|| refused("it is not in a login session"))?;
    let path = format!("{SESSIONS}/{name}");
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(BYTES).read_to_string(&mut text));
    read.map_err(|error| refused(&format!("'{path}' cannot be read: {error}")))?;
    start_of(&text).map_err(|why| refused(&format!("session {name}: {why}")))
}

fn refused(why: &str) -> Refusal {
    let text = format!("cannot determine when this process logged in: {why}");
    Refusal::new(Code::DeniedRule, text)
        .next("log in again, as with ssh, and run it there yourself, not by a service or a timer")
}

/// Returns the paths of a process in the hierarchies of the service manager, by its /proc/PID/cgroup (cgroups(7)).
pub fn service_paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then_some(path)
    })
}

/// Returns a session's name by its scope. Only root moves a process there, and users make only what is beneath.
fn session(cgroups: &str) -> Option<&str> {
    let mut scopes = service_paths(cgroups).filter_map(|path| {
        let rest = path.strip_prefix("/user.slice/user-")?;
        let (uid, rest) = rest.split_once(".slice/session-")?;
        let (name, rest) = rest.split_once(".scope")?;
        let is_name = !name.is_empty()
            && name.len() <= NAME
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_uid = !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit());
        (is_uid && is_name && (rest.is_empty() || rest.starts_with('/'))).then_some(name)
    });
    scopes.next()
}

fn start_of(text: &str) -> Result<Duration, &'static str> {
    let value = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    if value("CLASS").is_none_or(|class| !CLASSES.contains(&class)) {
        return Err("nobody works in it");
    }
    // run0(1) and machinectl(1) open sessions for people who are in already.
    let is_at_console = value("TTY").is_some_and(|tty| !tty.is_empty() && !tty.starts_with("pts/"));
    if value("REMOTE") != Some("1") && !is_at_console {
        return Err("it came neither over the network nor from a console");
    }
    let began = value("MONOTONIC").and_then(|text| text.parse().ok());
    began
        .map(Duration::from_micros)
        .ok_or("logind does not say when it began")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_that_of_logind_alone() {
        for (cgroups, expect) in [
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n",
                Some("3"),
            ),
            (
                "0::/user.slice/user-0.slice/session-c12.scope/x\n",
                Some("c12"),
            ),
            (
                "9:name=systemd:/\n0::/user.slice/user-0.slice/session-7.scope\n",
                Some("7"),
            ),
            (
                "1:name=systemd:/user.slice/user-9.slice/session-7.scope\n",
                Some("7"),
            ),
            // A user's own cgroups, and other hierarchies.
            (
                "0::/user.slice/user-1000.slice/user@1000.service/session-3.scope\n",
                None,
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-0.slice/session-3.scope\n",
                None,
            ),
            ("5:cpu:/user.slice/user-1000.slice/session-3.scope\n", None),
            (
                "0::/user.slice/user-1000.slice/session-..%2f3.scope\n",
                None,
            ),
            ("0::/user.slice/user-1000.slice/session-../3.scope\n", None),
            ("0::/user.slice/user-1000.slice/session-.scope\n", None),
            ("0::/user.slice/user-1000.slice/session-3.scopes\n", None),
            ("0::/user.slice/user-x.slice/session-3.scope\n", None),
            ("0::/system.slice/cron.service\n", None),
            ("0::/../user.slice/user-1.slice/session-3.scope\n", None),
            ("", None),
        ] {
            assert_eq!(session(cgroups), expect, "{cgroups:?}");
        }
    }

    #[test]
    fn start_is_that_of_a_session_in_which_a_person_works() {
        let text = "# This is private data. Do not parse.\nUID=0\nREMOTE=1\nCLASS=user\nTTY=pts/0\nREALTIME=9\nMONOTONIC=26425851135\n";
        assert_eq!(start_of(text), Ok(Duration::from_micros(26_425_851_135)));
        for class in ["user-early", "user-light"] {
            assert!(start_of(&text.replace("CLASS=user", &format!("CLASS={class}"))).is_ok());
        }
        for (from, to) in [("REMOTE=1\n", ""), ("REMOTE=1", "REMOTE=0")] {
            let text = text.replace(from, to);
            assert!(start_of(&text).is_err(), "{text}");
            assert!(start_of(&text.replace("TTY=pts/0\n", "")).is_err());
            assert!(start_of(&text.replace("pts/0", "")).is_err());
            assert!(start_of(&text.replace("pts/0", "tty1")).is_ok());
        }
        for (from, to) in [
            ("CLASS=user", "CLASS=background"),
            ("CLASS=user", "CLASS=manager-early"),
            ("CLASS=user", "CLASS=user-incomplete"),
            ("CLASS=user\n", ""),
            ("MONOTONIC=26425851135", "MONOTONIC=-1"),
            ("MONOTONIC=26425851135", "MONOTONIC=99999999999999999999"),
            ("MONOTONIC=26425851135", "MONOTONIC="),
            ("MONOTONIC=26425851135\n", ""),
        ] {
            assert!(start_of(&text.replace(from, to)).is_err(), "{to}");
        }
        assert!(start_of("").is_err());
    }
}
