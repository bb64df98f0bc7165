//! Finds sockets of root-equivalent daemons and files of remit that an account can write. A process with the account's
//! ids tries each path (access(2)), so groups, access control lists and directories on the way count.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use remit_common::{engines, text};

use super::agents::AccountFacts;
use super::report::{Check, or_ok};
use crate::checks::file_facts::word;
use crate::external_program::{Program, ProgramError};

/// Every account can write it. If it is missing in `find`'s answer, `find` did not check anything.
const ALWAYS_WRITABLE: &str = "/dev/null";
/// Bytes of `find`'s stderr in the error.
const SAID: usize = 200;

#[derive(Debug)]
pub enum ReachError {
    Missing(&'static str),
    NoAnswer(String),
    Program(ProgramError),
}

impl std::fmt::Display for ReachError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "there is no '{name}' on this machine"),
            Self::NoAnswer(said) => write!(f, "the kernel could not be asked: {said}"),
            Self::Program(error) => write!(f, "{error}"),
        }
    }
}

/// Checks which sockets and which `guarded` paths `account` can write. Needs root.
pub fn checks(account: &AccountFacts, guarded: &[PathBuf]) -> Vec<Check> {
    let name = format!("{}: reach", account.name);
    if account.uid == 0 {
        return vec![Check::skipped(name, "root can write everything")];
    }
    let sockets = engines::SOCKETS.iter().map(Path::new);
    let paths: Vec<&Path> = sockets
        .filter(|path| path.symlink_metadata().is_ok())
        .chain(guarded.iter().map(PathBuf::as_path))
        .collect();
    match writable(account, &paths) {
        Ok(found) => judge(account, &found),
        Err(error) => vec![Check::skipped(name, error.to_string())],
    }
}

fn writable(account: &AccountFacts, paths: &[&Path]) -> Result<Vec<PathBuf>, ReachError> {
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
    args.extend(["--", &find, ALWAYS_WRITABLE]);
    args.extend(paths);
    args.extend(["-maxdepth", "0", "-writable", "-print0"]);
    // `find` also fails for a path that the account cannot see, and so cannot write: its exit status is ignored.
    let output = setpriv.run(&args).map_err(ReachError::Program)?;
    let words = output.stdout.split(|byte| *byte == 0);
    let mut found: Vec<PathBuf> = words
        .filter(|word| !word.is_empty())
        .map(|word| PathBuf::from(std::ffi::OsStr::from_bytes(word)))
        .collect();
    match found.first() {
        Some(first) if first == Path::new(ALWAYS_WRITABLE) => {
            found.remove(0);
            Ok(found)
        }
        Some(_) | None => Err(ReachError::NoAnswer(text::line(
            output.stderr.trim_ascii(),
            SAID,
        ))),
    }
}

fn judge(account: &AccountFacts, writable: &[PathBuf]) -> Vec<Check> {
    let name = format!("{}: reach", account.name);
    let user = &account.name;
    let found = writable.iter().map(|path| {
        let shown = path.display();
        let is_socket = engines::SOCKETS
            .iter()
            .any(|socket| Path::new(socket) == path);
        let why = match is_socket {
            true => format!("'{user}' can connect to '{shown}', which is equivalent to root"),
            false => format!("'{user}' can write '{shown}', which controls remit"),
        };
        Check::failure(&name, why, format!("getfacl {}", word(path)))
    });
    or_ok(
        found.collect(),
        &name,
        "no privileged daemon's socket, no file that controls remit",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::Verdict;

    #[test]
    fn the_kernel_tells_what_can_be_written() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-reach-XXXXXX")).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
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
        assert!(whys[0].contains("equivalent to root") && whys[1].contains("controls remit"));
        assert!(matches!(judge(&agent(&[]), &[])[0].verdict, Verdict::Ok(_)));
    }
}
