//! remit's own files: whose they are, who may write them, and whether the daemon accepts them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use remit_common::names::Runtime;

use super::check::{Check, or_ok};
use super::place::{Kind, Place, word};
use crate::configuration::{self, Answer, Finding, REMITD};
use crate::human;

/// All programs of the package.
const PROGRAMS: [&str; 5] = [
    REMITD,
    "/usr/libexec/remit/remit-broker",
    "/usr/libexec/remit/remit-look",
    "/usr/bin/remit",
    "/usr/bin/mcp-shim",
];
/// Where configuration and policy lie, and what holds agents to mcp-shim.
const SETTINGS: [&str; 5] = [
    "/etc/remit",
    "/etc/remit/policy.d",
    "/usr/lib/remit/policy.d",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d",
];
/// What outlives a restart.
const STATE: &str = "/var/lib/remit";
/// Below the state directory: who may enter, besides root.
const PRIVATE: [(&str, Option<&str>); 3] = [
    ("warden", None),
    ("spool", Some("remit-broker")),
    ("enrolled", None),
];
/// The most names of one directory that are looked at.
const NAMES: usize = 1024;
/// Less room than this, in bytes, and records and output will soon not fit.
const LITTLE: u64 = 128 << 20;
/// Less than this, and they do not.
const NONE: u64 = 8 << 20;

/// Every file and directory that nobody but root may write, with what lies in the directories.
/// `units` are those that systemd has read.
pub fn own(units: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = PROGRAMS
        .iter()
        .chain(&SETTINGS)
        .map(PathBuf::from)
        .collect();
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

/// By what remit is steered: its own files, all directories above them, and the admin socket.
pub fn guarded(own: &[PathBuf], runtime: &Runtime) -> Vec<PathBuf> {
    let socket = runtime.admin_socket();
    let ways = own
        .iter()
        .chain([&socket])
        .flat_map(|path| Place::way(path));
    // To write a link is to write what it leads to, and that is on the way too.
    let places = ways.flatten().filter(|place| place.kind != Kind::Link);
    let paths: BTreeSet<PathBuf> = places.map(|place| place.path).collect();
    paths.into_iter().collect()
}

/// Whether others than root may change these, or a directory above them.
pub fn trust(own: &[PathBuf]) -> Vec<Check> {
    let name = "owners and modes";
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in own {
        match Place::way(path) {
            Ok(way) => {
                let new = way.iter().filter(|place| seen.insert(place.path.clone()));
                found.extend(new.filter_map(|place| {
                    let (why, fix) = place.fault()?;
                    // Behind a link: what it leads to may well be somebody's.
                    let fix = match path.starts_with(&place.path) {
                        true => fix,
                        false => format!(
                            "take the link away that leads there: namei -l {}",
                            word(path)
                        ),
                    };
                    Some(Check::failure(name, why, fix))
                }));
            }
            Err(error) => {
                let why = format!("cannot look at '{}': {error}", path.display());
                found.push(Check::failure(name, why, format!("ls -ld {}", word(path))));
            }
        }
    }
    or_ok(found, name, format!("{} files and directories", own.len()))
}

/// Whether each program is there, and runs as who starts it.
pub fn programs() -> Vec<Check> {
    let found = PROGRAMS.iter().filter_map(|path| {
        let path = Path::new(path);
        program(path, Place::look(path).ok().flatten().as_ref())
    });
    or_ok(found.collect(), "programs", format!("{}", PROGRAMS.len()))
}

fn program(path: &Path, place: Option<&Place>) -> Option<Check> {
    let shown = path.display();
    let reinstall = "install the package again";
    match place {
        Some(place) if place.mode & 0o6000 != 0 => Some(Check::failure(
            "programs",
            format!("'{shown}' is setuid or setgid, and must not be"),
            format!("chmod ug-s {}", word(path)),
        )),
        Some(place) if place.kind == Kind::File && place.mode & 0o111 != 0 => None,
        Some(_) => {
            let why = format!("'{shown}' is no program");
            Some(Check::failure("programs", why, reinstall))
        }
        None => {
            let why = format!("there is no '{shown}'");
            Some(Check::failure("programs", why, reinstall))
        }
    }
}

/// What the daemon says of configuration and policy. Needs root.
pub fn accepted() -> Vec<Check> {
    let name = "configuration and policy";
    match configuration::ask() {
        Err(why) => vec![Check::skipped(name, why)],
        Ok(Answer::Taken { policy, warnings }) => {
            or_ok(warned(name, warnings).collect(), name, policy)
        }
        Ok(Answer::Refused { errors, warnings }) => {
            let errors = errors.into_iter().map(|Finding { what, help }| {
                let why = format!("the daemon refuses it, and would not start again: {what}");
                let help = help.unwrap_or_else(|| "mend it".into());
                let fix = format!("{help}; look with: {REMITD} --check, then: remit policy reload");
                Check::failure(name, why, fix)
            });
            errors.chain(warned(name, warnings)).collect()
        }
    }
}

fn warned(name: &str, warnings: Vec<Finding>) -> impl Iterator<Item = Check> {
    warnings.into_iter().map(move |Finding { what, help }| {
        let help = help.unwrap_or_else(|| "mend it".into());
        Check::warning(name, what, format!("{help}, then: remit policy reload"))
    })
}

/// Whether the sockets let in those they should.
pub fn sockets(runtime: &Runtime) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Ok(way) = Place::way(runtime.dir()) {
        checks.extend(way.iter().filter_map(|place| {
            let (why, fix) = place.fault()?;
            Some(Check::failure("sockets", why, fix))
        }));
    }
    for (path, group, unit) in [
        (runtime.socket(), "remit", "remitd.socket"),
        (runtime.admin_socket(), "remit-admin", "remitd-admin.socket"),
    ] {
        let place = Place::look(&path).ok().flatten();
        checks.push(socket(&path, group, unit, place.as_ref()));
    }
    checks
}

fn socket(path: &Path, group: &str, unit: &str, place: Option<&Place>) -> Check {
    let shown = path.display();
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let restart = format!("systemctl restart {unit} remitd.service");
    let Some(place) = place else {
        return Check::failure(name, format!("there is no '{shown}'"), restart);
    };
    let (mode, owner, of) = (place.mode & 0o777, &place.owner, &place.group.name);
    if place.kind != Kind::Socket {
        Check::failure(name, format!("'{shown}' is no socket"), restart)
    } else if owner.id != 0 {
        let why = format!(
            "'{shown}' belongs to user '{}', who may change its mode",
            owner.name
        );
        Check::failure(name, why, restart)
    } else if mode & 0o006 != 0 {
        let why = format!("'{shown}' has mode {mode:04o}: everyone may connect");
        Check::failure(name, why, format!("chmod 0660 {}", word(path)))
    } else if of != group {
        let why =
            format!("'{shown}' belongs to group '{of}': that is right only if remit.toml names it");
        Check::warning(name, why, restart)
    } else if mode != 0o660 {
        let why = format!("'{shown}' has mode {mode:04o}: group '{group}' cannot connect");
        Check::warning(name, why, format!("chmod 0660 {}", word(path)))
    } else {
        Check::ok(name, format!("{mode:04o} {}:{of}", owner.name))
    }
}

/// Who may enter the state directory's parts.
pub fn state() -> Vec<Check> {
    let parts = PRIVATE.iter().filter_map(|(part, owner)| {
        let path = Path::new(STATE).join(part);
        let place = Place::look(&path).ok().flatten()?;
        private(&place, *owner)
    });
    or_ok(parts.collect(), "state", STATE)
}

fn private(place: &Place, owner: Option<&str>) -> Option<Check> {
    let shown = place.path.display();
    let owner = owner.unwrap_or("root");
    let shell = word(&place.path);
    if place.kind != Kind::Directory || place.owner.name != owner {
        let why = format!("'{shown}' is no directory of user '{owner}'");
        return Some(Check::failure(
            "state",
            why,
            format!("chown {owner}: {shell}"),
        ));
    }
    (place.mode & 0o077 != 0).then(|| {
        let why = format!("'{shown}' has mode {:04o}: others may enter", place.mode);
        Check::failure("state", why, format!("chmod 0700 {shell}"))
    })
}

/// Whether there is room left where `path` lies.
pub fn room(path: &Path) -> Check {
    let name = format!("room for {}", path.display());
    match statvfs(path) {
        Ok(stat) => {
            // Types differ between architectures.
            #[allow(clippy::useless_conversion)]
            let bytes = u64::from(stat.blocks_available()).saturating_mul(stat.fragment_size());
            // Some file systems do not count files and say 0.
            let is_out_of_files = stat.files() > 0 && stat.files_available() == 0;
            enough(name, path, bytes, is_out_of_files)
        }
        Err(error) => Check::skipped(name, format!("cannot look at it: {}", error.desc())),
    }
}

fn enough(name: String, path: &Path, bytes: u64, is_out_of_files: bool) -> Check {
    let left = human::bytes(bytes);
    let shown = path.display();
    let fix = format!("df -h {0}; df -i {0}", word(path));
    if is_out_of_files {
        let why = format!("there is no room for a new file in '{shown}': nothing will run");
        Check::failure(name, why, fix)
    } else if bytes < NONE {
        let why = format!("{left} are left where '{shown}' lies: nothing will run");
        Check::failure(name, why, fix)
    } else if bytes < LITTLE {
        Check::warning(name, format!("{left} are left where '{shown}' lies"), fix)
    } else {
        Check::ok(name, left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::super::place::Named;
    use super::*;

    fn place(kind: Kind, uid: u32, group: &str, mode: u32) -> Place {
        let owner = if uid == 0 { "root" } else { "remit-broker" };
        Place {
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
            (place(Kind::Socket, 0, "remit", 0o660), "ok"),
            (place(Kind::Socket, 0, "remit", 0o666), "failure"),
            (place(Kind::Socket, 0, "remit", 0o662), "failure"),
            (place(Kind::Socket, 0, "remit", 0o600), "warning"),
            (place(Kind::Socket, 0, "users", 0o660), "warning"),
            (place(Kind::Socket, 7, "remit", 0o660), "failure"),
            (place(Kind::File, 0, "remit", 0o660), "failure"),
        ];
        for (place, expect) in cases {
            let check = socket(Path::new("/x"), "remit", "u", Some(&place));
            assert_eq!(kind(&check), expect, "{place:?}");
        }
        assert_eq!(
            kind(&socket(Path::new("/x"), "remit", "u", None)),
            "failure"
        );
    }

    #[test]
    fn programs_run_as_who_starts_them() {
        let cases = [
            (Some(place(Kind::File, 0, "root", 0o755)), true),
            (Some(place(Kind::File, 0, "root", 0o4755)), false),
            (Some(place(Kind::File, 0, "root", 0o2755)), false),
            (Some(place(Kind::File, 0, "root", 0o644)), false),
            (Some(place(Kind::Directory, 0, "root", 0o755)), false),
            (None, false),
        ];
        for (place, good) in cases {
            let found = program(Path::new("/x"), place.as_ref());
            assert_eq!(found.is_none(), good, "{place:?}");
        }
    }

    #[test]
    fn what_is_guarded_is_what_links_lead_to() {
        let dir = std::env::temp_dir().join(format!("remit-guarded-{}", std::process::id()));
        let at = |name: &str| dir.join(name);
        fs::create_dir(&dir).unwrap();
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
        let root = |mode| private(&place(Kind::Directory, 0, "root", mode), None).is_none();
        assert!(root(0o700) && !root(0o711) && !root(0o750));
        let spool = place(Kind::Directory, 7, "x", 0o700);
        assert!(private(&spool, Some("remit-broker")).is_none());
        assert!(private(&spool, None).is_some());
        assert!(private(&place(Kind::Link, 0, "x", 0o777), None).is_some());
    }

    #[test]
    fn room_is_enough_or_not() {
        for (bytes, is_out, expect) in [
            (1 << 40, false, "ok"),
            (1 << 40, true, "failure"),
            (64 << 20, false, "warning"),
            (1 << 20, false, "failure"),
        ] {
            let check = enough("room".into(), Path::new("/x"), bytes, is_out);
            assert_eq!(kind(&check), expect, "{bytes}");
        }
        assert_eq!(kind(&room(Path::new("/nonexistent"))), "skipped");
    }
}
