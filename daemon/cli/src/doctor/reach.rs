//! What an account can write that it must not: sockets of powerful daemons, and remit's own files.
//!
//! The kernel is asked: a process with the account's ids tries each path (access(2)), so that
//! groups, access control lists and the directories on the way all count.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use remit_common::text;

use super::agents::Account;
use super::check::{Check, or_ok};
use super::place::word;
use crate::program::{Program, ProgramError};

/// Sockets whose writer is as good as root. libvirt's and snapd's are not here: anybody may
/// connect to these, and they ask who it is.
const SOCKETS: [&str; 10] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
];

/// What every account can write: without it in its answer, `find` did not look.
const EVERYONES: &str = "/dev/null";
/// The most bytes of what it said then.
const SAID: usize = 200;

/// Why the kernel could not be asked.
#[derive(Debug)]
pub enum ReachError {
    /// A program that asks is missing.
    Missing(&'static str),
    /// It did not look; what it said.
    Untold(String),
    /// It failed.
    Program(ProgramError),
}

impl std::fmt::Display for ReachError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "there is no '{name}' on this machine"),
            Self::Untold(said) => write!(f, "the kernel could not be asked: {said}"),
            Self::Program(error) => write!(f, "{error}"),
        }
    }
}

/// What `account` can write of the sockets and of `guarded`, by which remit is steered. Needs root.
pub fn checks(account: &Account, guarded: &[PathBuf]) -> Vec<Check> {
    let name = format!("{}: reach", account.name);
    if account.uid == 0 {
        return vec![Check::skipped(name, "root reaches everything")];
    }
    let sockets = SOCKETS.iter().map(Path::new);
    let paths: Vec<&Path> = sockets
        .filter(|path| path.symlink_metadata().is_ok())
        .chain(guarded.iter().map(PathBuf::as_path))
        .collect();
    match writable(account, &paths) {
        Ok(found) => judge(account, &found),
        Err(error) => vec![Check::skipped(name, error.to_string())],
    }
}

/// Which of `paths` the account can write.
fn writable(account: &Account, paths: &[&Path]) -> Result<Vec<PathBuf>, ReachError> {
    let missing = |name| ReachError::Missing(name);
    let setpriv = Program::find(&["/usr/bin/setpriv"]).ok_or_else(|| missing("setpriv"))?;
    let find = Program::find(&["/usr/bin/find", "/bin/find"]).ok_or_else(|| missing("find"))?;
    let find = find.path().to_string_lossy().into_owned();
    let groups: Vec<String> = account
        .groups
        .iter()
        .map(|group| group.id.to_string())
        .collect();
    let ids = [
        format!("--reuid={}", account.uid),
        format!("--regid={}", account.gid),
        match groups.is_empty() {
            true => "--clear-groups".to_owned(),
            false => format!("--groups={}", groups.join(",")),
        },
    ];
    let paths: Vec<&str> = paths.iter().filter_map(|path| path.to_str()).collect();
    let mut args: Vec<&str> = ids.iter().map(String::as_str).collect();
    args.extend(["--", &find, EVERYONES]);
    args.extend(paths);
    args.extend(["-maxdepth", "0", "-writable", "-print0"]);
    // A path that the account cannot even see makes find say so, and fail: that one it cannot write.
    let output = setpriv.run(&args).map_err(ReachError::Program)?;
    let words = output.stdout.split(|byte| *byte == 0);
    let mut found: Vec<PathBuf> = words
        .filter(|word| !word.is_empty())
        .map(|word| PathBuf::from(std::ffi::OsStr::from_bytes(word)))
        .collect();
    match found.first() {
        Some(first) if first == Path::new(EVERYONES) => {
            found.remove(0);
            Ok(found)
        }
        Some(_) | None => Err(ReachError::Untold(text::line(
            output.stderr.trim_ascii(),
            SAID,
        ))),
    }
}

fn judge(account: &Account, writable: &[PathBuf]) -> Vec<Check> {
    let name = format!("{}: reach", account.name);
    let user = &account.name;
    let found = writable.iter().map(|path| {
        let shown = path.display();
        let is_socket = SOCKETS.iter().any(|socket| Path::new(socket) == path);
        let why = match is_socket {
            true => format!("'{user}' can speak to '{shown}': whoever can is as good as root"),
            false => format!("'{user}' can write '{shown}', and so steer remit"),
        };
        Check::failure(&name, why, format!("getfacl {}", word(path)))
    });
    or_ok(
        found.collect(),
        &name,
        "no socket of a powerful daemon, nothing that steers remit",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::super::agents::tests::agent;
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn the_kernel_tells_what_can_be_written() {
        let dir = std::env::temp_dir().join(format!("remit-reach-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        for (name, gid, mode) in [
            ("no", 0, 0o644),
            ("everyone", 0, 0o666),
            ("group", 1234, 0o664),
            ("other group", 1235, 0o664),
        ] {
            fs::write(at(name), "").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
            chown(at(name), Some(0), Some(gid)).unwrap();
        }
        fs::create_dir(at("shut")).unwrap();
        fs::write(at("shut/x"), "").unwrap();
        fs::set_permissions(at("shut/x"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(at("shut"), fs::Permissions::from_mode(0o700)).unwrap();
        let names = [
            "no",
            "everyone",
            "group",
            "other group",
            "shut/x",
            "missing",
        ];
        let paths = names.map(&at);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let found = writable(&agent(&[(1234, "g")]), &paths);
        let expect = [at("everyone"), at("group")];
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.unwrap(), expect);
    }

    #[test]
    fn without_an_answer_nothing_is_green() {
        // No group has this number (setgroups(2)).
        let checks = checks(&agent(&[(u32::MAX, "none")]), &[]);
        assert!(
            matches!(checks[0].verdict, Verdict::Skipped(_)),
            "{checks:?}"
        );
    }

    #[test]
    fn each_path_is_a_failure_of_its_own() {
        let paths = ["/run/docker.sock", "/etc/remit/remit.toml"].map(PathBuf::from);
        let checks = judge(&agent(&[]), &paths);
        let whys: Vec<&str> = checks
            .iter()
            .filter_map(|check| match &check.verdict {
                Verdict::Failure(finding) => Some(finding.why.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(whys.len(), 2);
        assert!(whys[0].contains("as good as root") && whys[1].contains("steer remit"));
        assert!(matches!(judge(&agent(&[]), &[])[0].verdict, Verdict::Ok(_)));
    }
}
