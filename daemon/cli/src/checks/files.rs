//! Checks owners and modes of remit's own files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use remit_common::names::Runtime;

use super::report::{Check, or_ok};
use crate::checks::file_facts::{FileFacts, FileKind, word};
use crate::commands::policy::{broker_word, group_words};
use crate::render::units;

/// Names of the programs that a package has.
const PROGRAMS: &str = include_str!("../../../../packaging/programs");
/// Configuration and policy, and the sshd files that restrict agents to mcp-shim.
const SETTINGS: [&str; 7] = [
    "/etc/remit",
    "/etc/remit/policy.d",
    "/etc/remit/shadow",
    "/etc/remit/shadow/policy.d",
    "/usr/lib/remit/policy.d",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d",
];
const STATE: &str = "/var/lib/remit";
const REMIT_TOML: &str = "/etc/remit/remit.toml";
/// Subdirectories of the state directory that nobody but root may enter.
const OF_ROOT: [&str; 4] = ["warden", "commits", "enrolled", "prove"];
/// Those that nobody but root and the broker may enter.
const OF_BROKER: [&str; 3] = ["spool", "history", "uploads"];
/// Maximum number of names in one directory that are checked.
const NAMES: usize = 1024;
/// Bytes of free space below which audit records and output will soon not fit.
const LITTLE: u64 = 128 << 20;
/// Bytes of free space below which they do not fit.
const NONE: u64 = 8 << 20;

pub fn checks(runtime: &Runtime, own: &[PathBuf]) -> Vec<Check> {
    let mut checks = programs();
    checks.extend(trust(own));
    checks.extend(sockets(runtime));
    checks.extend(state());
    checks.push(free_space(Path::new(STATE), "nothing will run"));
    checks
}

/// Returns what only root may write, with the entries of the settings directories and the `units` that systemd has read.
pub fn own(units: &[PathBuf]) -> Vec<PathBuf> {
    let settings = SETTINGS.iter().map(PathBuf::from);
    let mut paths: Vec<PathBuf> = program_paths().chain(settings).collect();
    for dir in SETTINGS {
        if let Ok(entries) = fs::read_dir(dir) {
            let names = entries.filter_map(Result::ok).take(NAMES);
            paths.extend(names.map(|entry| entry.path()));
        }
    }
    paths.extend(units.iter().cloned());
    paths.push(STATE.into());
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    paths.retain(there);
    paths.sort();
    paths.dedup();
    paths
}

/// Returns everything that controls remit: its own files, all directories above them, and the admin socket.
pub fn guarded(own: &[PathBuf], runtime: &Runtime) -> Vec<PathBuf> {
    let socket = runtime.admin_socket();
    let ways = own
        .iter()
        .chain([&socket])
        .flat_map(|path| FileFacts::along_path(path));
    // A write through a link changes its target, and the target is on the way too.
    let steps = ways.flatten().filter(|facts| facts.kind != FileKind::Link);
    let paths: BTreeSet<PathBuf> = steps.map(|facts| facts.path).collect();
    paths.into_iter().collect()
}

fn trust(own: &[PathBuf]) -> Vec<Check> {
    let name = "owners and modes";
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in own {
        match FileFacts::along_path(path) {
            Ok(along_path) => {
                let new = along_path
                    .iter()
                    .filter(|facts| seen.insert(facts.path.clone()));
                found.extend(new.filter_map(|facts| {
                    let (why, fix) = facts.fault()?;
                    // The fault is in the target of a link. The target may rightly belong to a user.
                    let fix = match path.starts_with(&facts.path) {
                        true => fix,
                        false => {
                            format!("remove the link that leads there: namei -l {}", word(path))
                        }
                    };
                    Some(Check::failure(name, why, fix))
                }));
            }
            Err(error) => {
                let why = format!("cannot examine '{}': {error}", path.display());
                found.push(Check::failure(name, why, format!("ls -ld {}", word(path))));
            }
        }
    }
    or_ok(found, name, format!("{} files and directories", own.len()))
}

/// Where a package installs its programs.
fn program_paths() -> impl Iterator<Item = PathBuf> {
    PROGRAMS.lines().map(|name| match name {
        "remit" | "mcp-shim" => Path::new("/usr/bin").join(name),
        _ => Path::new("/usr/libexec/remit").join(name),
    })
}

fn programs() -> Vec<Check> {
    let paths: Vec<PathBuf> = program_paths().collect();
    let found = paths
        .iter()
        .filter_map(|path| program(path, FileFacts::look(path).ok().flatten().as_ref()));
    or_ok(found.collect(), "programs", paths.len().to_string())
}

fn program(path: &Path, facts: Option<&FileFacts>) -> Option<Check> {
    let shown = path.display();
    let reinstall = "install the package again";
    match facts {
        Some(facts) if facts.mode & 0o6000 != 0 => Some(Check::failure(
            "programs",
            format!("'{shown}' is setuid or setgid, and must not be"),
            format!("chmod ug-s {}", word(path)),
        )),
        Some(facts) if facts.kind == FileKind::File && facts.mode & 0o111 != 0 => None,
        Some(_) => {
            let why = format!("'{shown}' is not a program");
            Some(Check::failure("programs", why, reinstall))
        }
        None => {
            let why = format!("there is no '{shown}'");
            Some(Check::failure("programs", why, reinstall))
        }
    }
}

fn sockets(runtime: &Runtime) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Ok(along_path) = FileFacts::along_path(runtime.dir()) {
        checks.extend(along_path.iter().filter_map(|facts| {
            let (why, fix) = facts.fault()?;
            Some(Check::failure("sockets", why, fix))
        }));
    }
    // Another check says what is wrong with the file.
    let Ok([clients, admins]) = group_words(Path::new(REMIT_TOML)) else {
        return checks;
    };
    for (path, group, unit) in [
        (runtime.socket(), clients, "remitd.socket"),
        (runtime.admin_socket(), admins, "remitd-admin.socket"),
    ] {
        let facts = FileFacts::look(&path).ok().flatten();
        checks.push(socket(&path, &group, unit, facts.as_ref()));
    }
    checks
}

fn socket(path: &Path, group: &str, unit: &str, facts: Option<&FileFacts>) -> Check {
    let shown = path.display();
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let restart = format!("systemctl restart {unit} remitd.service");
    let Some(facts) = facts else {
        return Check::failure(name, format!("there is no '{shown}'"), restart);
    };
    let (mode, owner, of) = (facts.mode & 0o777, &facts.owner, &facts.group.name);
    let is_of = |group: &str| of == group || format!("#{}", facts.group.id) == group;
    if facts.kind != FileKind::Socket {
        Check::failure(name, format!("'{shown}' is not a socket"), restart)
    } else if owner.id != 0 {
        let why = format!(
            "'{shown}' belongs to user '{}', who may change its mode",
            owner.name
        );
        Check::failure(name, why, restart)
    } else if mode & 0o006 != 0 {
        let why = format!("'{shown}' has mode {mode:04o}: everyone may connect");
        Check::failure(name, why, format!("chmod 0660 {}", word(path)))
    } else if !is_of(group) {
        let why = format!(
            "'{shown}' belongs to group '{of}', and remit.toml names group '{group}', which cannot connect"
        );
        Check::warning(name, why, restart)
    } else if mode != 0o660 {
        let why = format!("'{shown}' has mode {mode:04o}: group '{group}' cannot connect");
        Check::warning(name, why, format!("chmod 0660 {}", word(path)))
    } else {
        Check::ok(name, format!("{mode:04o} {}:{of}", owner.name))
    }
}

fn state() -> Vec<Check> {
    // Another check says what is wrong with the file.
    let broker = broker_word(Path::new(REMIT_TOML)).ok();
    let of_root = OF_ROOT.map(|part| (part, "root"));
    let of_broker = broker
        .iter()
        .flat_map(|broker| OF_BROKER.map(|part| (part, broker.as_str())));
    let parts = of_root.into_iter().chain(of_broker);
    let parts = parts.filter_map(|(part, owner)| {
        let path = Path::new(STATE).join(part);
        let facts = FileFacts::look(&path).ok().flatten()?;
        private(&facts, owner)
    });
    or_ok(parts.collect(), "state", STATE)
}

/// `owner`: a name, or `#uid`.
fn private(facts: &FileFacts, owner: &str) -> Option<Check> {
    let shown = facts.path.display();
    let shell = word(&facts.path);
    let is_owner = match owner.strip_prefix('#') {
        Some(uid) => facts.owner.id.to_string() == uid,
        None => facts.owner.name == owner,
    };
    let owner = owner.trim_start_matches('#');
    if facts.kind != FileKind::Directory || !is_owner {
        let why = format!("'{shown}' is not a directory of user '{owner}'");
        let fix = match (facts.kind, owner) {
            // A start gives it back with its files.
            (FileKind::Directory, broker) if broker != "root" => "systemctl restart remitd".into(),
            _ => format!("chown {owner}: {shell}"),
        };
        return Some(Check::failure("state", why, fix));
    }
    (facts.mode & 0o077 != 0).then(|| {
        let why = format!("'{shown}' has mode {:04o}: others may enter", facts.mode);
        Check::failure("state", why, format!("chmod 0700 {shell}"))
    })
}

/// `then`: what follows if there is none.
pub fn free_space(path: &Path, then: &str) -> Check {
    let name = format!("room for {}", path.display());
    match statvfs(path) {
        Ok(stat) => {
            // Types differ between architectures.
            #[allow(clippy::useless_conversion)]
            let bytes = u64::from(stat.blocks_available()).saturating_mul(stat.fragment_size());
            // Some file systems do not count files and return 0.
            let is_out_of_files = stat.files() > 0 && stat.files_available() == 0;
            free_space_check(name, path, then, bytes, is_out_of_files)
        }
        Err(error) => Check::skipped(name, format!("cannot examine it: {}", error.desc())),
    }
}

fn free_space_check(
    name: String,
    path: &Path,
    then: &str,
    bytes: u64,
    is_out_of_files: bool,
) -> Check {
    let left = units::bytes(bytes);
    let shown = path.display();
    let fix = format!("df -h {0}; df -i {0}", word(path));
    if is_out_of_files {
        let why = format!("no new file can be created in '{shown}': {then}");
        Check::failure(name, why, fix)
    } else if bytes < NONE {
        let why = format!("only {left} free for '{shown}': {then}");
        Check::failure(name, why, fix)
    } else if bytes < LITTLE {
        Check::warning(name, format!("only {left} free for '{shown}'"), fix)
    } else {
        Check::ok(name, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::file_facts::Named;
    use crate::checks::report::Verdict;

    fn facts(kind: FileKind, uid: u32, group: &str, mode: u32) -> FileFacts {
        let owner = if uid == 0 { "root" } else { "remit-broker" };
        FileFacts {
            path: "/x".into(),
            kind,
            owner: Named::fake(uid, owner),
            group: Named::fake(7, group),
            mode,
        }
    }

    fn kind(check: &Check) -> &'static str {
        match check.verdict {
            Verdict::Ok(_) => "ok",
            Verdict::Skipped(_) => "skipped",
            Verdict::Warning(_) => "warning",
            Verdict::Failure(_) => "failure",
        }
    }

    #[test]
    fn a_socket_lets_in_its_group_alone() {
        let cases = [
            (facts(FileKind::Socket, 0, "remit", 0o660), "ok"),
            (facts(FileKind::Socket, 0, "remit", 0o666), "failure"),
            (facts(FileKind::Socket, 0, "remit", 0o662), "failure"),
            (facts(FileKind::Socket, 0, "remit", 0o600), "warning"),
            (facts(FileKind::Socket, 0, "users", 0o660), "warning"),
            (facts(FileKind::Socket, 7, "remit", 0o660), "failure"),
            (facts(FileKind::File, 0, "remit", 0o660), "failure"),
        ];
        for (facts, expect) in cases {
            let check = socket(Path::new("/x"), "remit", "u", Some(&facts));
            assert_eq!(kind(&check), expect, "{facts:?}");
        }
        assert_eq!(
            kind(&socket(Path::new("/x"), "remit", "u", None)),
            "failure"
        );
    }

    #[test]
    fn program_must_be_plain_executable() {
        let cases = [
            (Some(facts(FileKind::File, 0, "root", 0o755)), true),
            (Some(facts(FileKind::File, 0, "root", 0o4755)), false),
            (Some(facts(FileKind::File, 0, "root", 0o2755)), false),
            (Some(facts(FileKind::File, 0, "root", 0o644)), false),
            (Some(facts(FileKind::Directory, 0, "root", 0o755)), false),
            (None, false),
        ];
        for (facts, good) in cases {
            let found = program(Path::new("/x"), facts.as_ref());
            assert_eq!(found.is_none(), good, "{facts:?}");
        }
    }

    #[test]
    fn what_is_guarded_is_what_links_lead_to() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-guarded-XXXXXX")).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("masked")).unwrap();
        let runtime = Runtime::new(at("run"));
        let found = guarded(&[at("link"), at("masked")], &runtime);
        fs::remove_dir_all(&dir).unwrap();
        assert!(found.contains(&dir) && found.contains(&at("file")));
        for not in [at("link"), at("masked"), "/dev/null".into()] {
            assert!(!found.contains(&not), "{found:?}");
        }
    }

    #[test]
    fn private_parts_are_their_owners() {
        let root = |mode| private(&facts(FileKind::Directory, 0, "root", mode), "root").is_none();
        assert!(root(0o700) && !root(0o711) && !root(0o750));
        let spool = facts(FileKind::Directory, 7, "x", 0o700);
        for (owner, is_well) in [
            ("remit-broker", true),
            ("#7", true),
            ("#8", false),
            ("svc-remit", false),
            ("root", false),
        ] {
            assert_eq!(private(&spool, owner).is_none(), is_well, "{owner}");
        }
        // chown(1) of the directory alone would leave its files to another user.
        let other = private(&facts(FileKind::Directory, 0, "x", 0o700), "remit-broker");
        let Verdict::Failure(finding) = other.unwrap().verdict else {
            panic!("a failure");
        };
        assert_eq!(finding.fix, "systemctl restart remitd");
        assert!(private(&facts(FileKind::Link, 0, "x", 0o777), "root").is_some());
    }

    #[test]
    fn low_free_space_is_reported() {
        for (bytes, is_out, expect) in [
            (1 << 40, false, "ok"),
            (1 << 40, true, "failure"),
            (64 << 20, false, "warning"),
            (1 << 20, false, "failure"),
        ] {
            let check = free_space_check("room".into(), Path::new("/x"), "it ends", bytes, is_out);
            let why = match &check.verdict {
                Verdict::Failure(finding) => finding.why.as_str(),
                _ => "",
            };
            assert_eq!(why.ends_with(": it ends"), expect == "failure", "{why}");
            assert_eq!(kind(&check), expect, "{bytes}");
        }
        assert_eq!(kind(&free_space(Path::new("/nonexistent"), "")), "skipped");
    }
}
