//! The broker's own sandbox layers, enforced before it reads the first byte of a client: no privilege, Landlock,
//! seccomp. It writes only below the spool and in the history's directory, and reads also where host facts are.
//! Landlock is used up to ABI 6 (Linux 6.12). The rights of later ones are not handled: UDP is refused by seccomp, and
//! finding sockets by a path (Linux 7.1) needs rules for the system bus and the journal, whose directories may appear
//! after the broker's start. Without Landlock the broker serves anyway.

pub mod seccomp;
pub mod sink;

use std::path::Path;

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::sys::prctl;
use nix::unistd::{Gid, getgroups, getresgid, getresuid};

const READ: [&str; 10] = [
    "/proc",
    "/sys",
    "/etc",
    "/usr",
    "/run",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/boot",
    "/var/cache",
];

const VERSIONS: [(u32, ABI); 6] = [
    (6, ABI::V6),
    (5, ABI::V5),
    (4, ABI::V4),
    (3, ABI::V3),
    (2, ABI::V2),
    (1, ABI::V1),
];

/// Restricts the calling thread. Returns the ABI version, 0 without Landlock. Fails if rules cannot be enforced.
pub fn restrict_paths<'a>(writable: impl IntoIterator<Item = &'a Path>) -> Result<u32, String> {
    restrict(&READ, writable)
}

/// As [`restrict_paths`], with no path at all.
pub fn restrict_to_no_path() -> Result<u32, String> {
    restrict(&[], [])
}

fn restrict<'a>(
    readable: &[&str],
    writable: impl IntoIterator<Item = &'a Path>,
) -> Result<u32, String> {
    for (version, abi) in VERSIONS {
        // An error here means only that the kernel does not support all of this version.
        let Ok(ruleset) = handled(abi) else { continue };
        return put_in_force(ruleset, abi, (readable, writable))
            .map(|()| version)
            .map_err(|error| format!("cannot restrict itself with landlock: {error}"));
    }
    tracing::warn!("no landlock here: only seccomp and file permissions confine the broker");
    Ok(0)
}

fn handled(abi: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}

fn put_in_force<'a>(
    ruleset: Ruleset,
    abi: ABI,
    (readable, writable): (&[&str], impl IntoIterator<Item = &'a Path>),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut ruleset = ruleset.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // The history cuts off an entry that was not written whole. Before ABI 3, that needs no right.
    let truncate = AccessFs::from_all(abi) & AccessFs::Truncate;
    let write = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | truncate;
    for path in writable {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, read | write))?;
    }
    for path in readable {
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, read))?;
        }
    }
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err("not fully enforced".into())
        }
    }
}

/// Refuses an id of root and any capability, then sets no_new_privs.
pub fn check_privileges() -> Result<(), String> {
    let uid = getresuid().map_err(|error| format!("cannot read own uids: {error}"))?;
    let gid = getresgid().map_err(|error| format!("cannot read own gids: {error}"))?;
    let mut groups = getgroups().map_err(|error| format!("cannot read own groups: {error}"))?;
    groups.extend([gid.real, gid.effective, gid.saved]);
    let uids = [uid.real, uid.effective, uid.saved];
    if uids.iter().any(|uid| uid.is_root()) || groups.contains(&Gid::from_raw(0)) {
        return Err("refusing to run as root: the warden starts the broker as its own user".into());
    }
    for set in [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        let left =
            caps::read(None, set).map_err(|error| format!("cannot read capabilities: {error}"))?;
        if !left.is_empty() {
            return Err(format!(
                "refusing to run with {} {set:?} capabilities",
                left.len()
            ));
        }
    }
    prctl::set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    // Other processes of this uid can neither trace nor dump it.
    prctl::set_dumpable(false).map_err(|error| format!("cannot become undumpable: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use crate::output::spool::tests::Scratch;

    /// Runs both layers on a separate thread, because they restrict the calling thread.
    fn fenced<T: Send>(scratch: &Scratch, inside: impl FnOnce(u32) -> T + Send) -> T {
        let path = scratch.path.as_path();
        std::thread::scope(|scope| {
            let confined = || {
                let version = super::restrict_paths([path]).unwrap();
                super::seccomp::restrict().unwrap();
                inside(version)
            };
            scope.spawn(confined).join().unwrap()
        })
    }

    #[test]
    fn only_spool_is_writable() {
        let (scratch, outside) = (Scratch::new(), Scratch::new());
        let (path, other) = (scratch.path.clone(), outside.path.join("file"));
        fs::write(&other, "free").unwrap();
        let version = fenced(&scratch, |version| {
            fs::write(path.join("file"), "x").unwrap();
            assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
            fs::remove_file(path.join("file")).unwrap();
            assert!(fs::read("/proc/self/mountinfo").is_ok() && fs::read("/etc/passwd").is_ok());
            if version > 0 {
                for error in [
                    OpenOptions::new().write(true).open(&other).unwrap_err(),
                    fs::write(other.with_file_name("new"), "x").unwrap_err(),
                    fs::remove_file(&other).unwrap_err(),
                    fs::read(&other).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                }
            }
            assert!(fs::create_dir(path.join("dir")).is_err());
            assert!(fs::hard_link("/etc/passwd", path.join("link")).is_err());
            assert!(
                fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o777))
                    .is_err()
            );
            version
        });
        assert!(
            version > 0 || std::env::var_os("REMIT_TESTS_MUST_RUN").is_none(),
            "this kernel has no Landlock"
        );
        assert_eq!(fs::read(&other).unwrap(), b"free");
    }

    #[test]
    fn exec_and_network_denied_threads_and_unix_allowed() {
        assert!(
            Command::new("/bin/true").status().unwrap().success()
                && TcpListener::bind("127.0.0.1:0").is_ok()
        );
        let scratch = Scratch::new();
        fenced(&scratch, |_| {
            assert_eq!(
                Command::new("/bin/true")
                    .status()
                    .unwrap_err()
                    .raw_os_error(),
                Some(libc::EPERM)
            );
            assert_eq!(
                TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(),
                Some(libc::EPERM)
            );
            assert!(UnixDatagram::unbound().is_ok());
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            let own = nix::unistd::getpid();
            assert_eq!(
                nix::sys::signal::kill(own, None),
                Err(nix::errno::Errno::EPERM)
            );
        });
    }
}
