//! Reads the paths that a profile lists, and limits what each list may hold.

use remit_common::caps;

use super::root;
use crate::load::reader::{Fields, Need, Report, WithSpan};
use crate::load::text::warn_of_pattern;
use remit_policy::model::paths::{self, beneath, nested, not_plain};
use remit_policy::model::profile::Listed;
use remit_policy::quoted;

pub(super) struct Lists {
    pub(super) read: Vec<Listed>,
    pub(super) write: Vec<Listed>,
    pub(super) exec: Vec<Listed>,
    pub(super) scratch: Vec<String>,
    pub(super) devices: Vec<Listed>,
    pub(super) sockets: Vec<Listed>,
    pub(super) write_and_exec: bool,
    pub(super) leads_to_root: bool,
}

/// Directories that many others rely on: a writer there is at once root, or any user.
const NEVER_WRITTEN: [&str; 26] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/ostree",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/sysroot",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];
/// Everything beneath them belongs to the system itself, or the kernel.
const NEVER_WRITTEN_BENEATH: [&str; 17] = [
    "/bin",
    "/dev",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
    "/usr/share",
];
/// Mounts that every job has of its own.
const OWN: [&str; 2] = ["/proc", "/dev"];
/// Nodes that show or change all memory.
const MEMORY: [&str; 3] = ["/dev/mem", "/dev/kmem", "/dev/port"];

type Why = Option<String>;

impl Lists {
    pub(super) fn read(
        fields: &mut Fields<'_>,
        protected: &[String],
        is_root: bool,
        report: &mut Report<'_>,
    ) -> Self {
        let mut count = 0;
        let mut list = |key, check: &dyn Fn(&str) -> Why, report: &mut Report<'_>| {
            let items = fields.strings(key, Need::Optional, report);
            count += items.len();
            if count > caps::PROFILE_PATHS && count - items.len() <= caps::PROFILE_PATHS {
                let message = format!("a profile lists at most {} paths", caps::PROFILE_PATHS);
                let span = fields.span_of(key).unwrap_or_default();
                report.error_with_help(span, message, "list a directory above several of them");
            }
            listed(&items, check, report)
        };
        let read = list("read", &shown, report);
        let write = list("write", &|path| written(path, protected), report);
        let exec = list("exec", &shown, report);
        let scratch = list("scratch", &own, report);
        let devices = list("devices", &device, report);
        let sockets = list("sockets", &|path| socket(path, protected), report);
        let write_and_exec = fields.boolean("write_and_exec", report);
        let leads_to_root = fields.boolean("leads_to_root", report);
        if !write_and_exec {
            for (one, span) in &write {
                let both = exec
                    .iter()
                    .find(|(other, _)| nested(&one.path, &other.path));
                if let Some((other, _)) = both {
                    let message = format!(
                        "{} could be written and executed, as 'exec' has {}",
                        quoted(&one.path),
                        quoted(&other.path)
                    );
                    let help = "what a job writes it could then run: say write_and_exec = true";
                    report.error_with_help(span.clone(), message, help);
                }
            }
        }
        for (one, span) in &read {
            let above = write.iter().find(|(write, _)| {
                beneath(&one.path, &write.path).is_some_and(|rest| rest.contains('/'))
            });
            if let Some((write, _)) = above {
                // The kernel does not let a mount point be moved, but the directory above it can be.
                let message = format!(
                    "a job can rename {} and write a new one: 'write' has {}",
                    quoted(&one.path),
                    quoted(&write.path)
                );
                let help = "a job can rename the directories between: list only the paths to write";
                report.error_with_help(span.clone(), message, help);
            }
        }
        if !leads_to_root {
            let socket = |path: &str| root::by_socket(path, is_root);
            refuse("write", &write, root::by_writing, report);
            refuse("sockets", &sockets, socket, report);
            refuse("devices", &devices, root::by_device, report);
            if !sockets.is_empty() {
                // The kernel requires only that a socket is visible, even on a read-only mount.
                for (key, list) in [("read", &read), ("write", &write), ("exec", &exec)] {
                    refuse(key, list, root::by_showing, report);
                }
            }
        }
        if !sockets.is_empty() {
            for list in [&read, &write, &exec] {
                shows_no_own_socket(list, protected, report);
            }
        }
        for (one, span) in &scratch {
            if one.optional {
                let message = "a directory of 'scratch' is made, so it cannot be missing".into();
                report.error_with_help(span.clone(), message, "delete the hyphen");
            }
        }
        let plain = |list: Vec<Spanned>| list.into_iter().map(|(one, _)| one).collect();
        Self {
            read: plain(read),
            write: plain(write),
            exec: plain(exec),
            scratch: scratch.into_iter().map(|(one, _)| one.path).collect(),
            devices: plain(devices),
            sockets: plain(sockets),
            write_and_exec,
            leads_to_root,
        }
    }
}

type Spanned = (Listed, std::ops::Range<usize>);

/// Reads the paths of one list, sorted: their order means nothing.
fn listed(
    items: &[WithSpan<&str>],
    check: &dyn Fn(&str) -> Why,
    report: &mut Report<'_>,
) -> Vec<Spanned> {
    let mut found: Vec<Spanned> = Vec::new();
    for item in items.iter().take(caps::PROFILE_PATHS) {
        let (path, optional) = paths::optional(item.value);
        let why = match not_plain(path) {
            Some(why) => Some(why.to_owned()),
            None if found.iter().any(|(one, _)| one.path == path) => Some("is listed twice".into()),
            None => check(path),
        };
        if let Some(why) = why {
            let help = "write another absolute path, as \"/srv/app\", or delete it";
            report.error_with_help(item.span.clone(), format!("{} {why}", quoted(path)), help);
        } else {
            warn_of_pattern(item, report);
            let path = path.to_owned();
            found.push((Listed { path, optional }, item.span.clone()));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn shown(path: &str) -> Why {
    if path == "/" {
        return Some("is everything: that is what base read shows".into());
    }
    in_own(path)
}

fn in_own(path: &str) -> Why {
    let own = OWN.iter().find(|own| beneath(path, own).is_some())?;
    Some(format!(
        "is not the host's: every job has a {own} of its own"
    ))
}

fn written(path: &str, protected: &[String]) -> Why {
    if let Some(file) = protected.iter().find(|file| nested(path, file)) {
        return Some(format!("is not to be written: '{file}' is remit's own"));
    }
    if NEVER_WRITTEN.contains(&path) {
        return Some("is not to be written: list the directory below it that is meant".into());
    }
    let system = NEVER_WRITTEN_BENEATH
        .iter()
        .find(|root| beneath(path, root).is_some())?;
    Some(format!(
        "is not to be written: what lies below {system} is the system itself"
    ))
}

/// Reports each path of a list that can lead to all of root, with the line that permits it.
fn refuse(
    key: &str,
    list: &[Spanned],
    why: impl Fn(&str) -> Option<&'static str>,
    report: &mut Report<'_>,
) {
    for (one, span) in list {
        let Some(why) = why(&one.path) else { continue };
        let path = quoted(&one.path);
        let message =
            format!("{path} in '{key}' can lead to all of root, past this sandbox: {why}");
        let help = "where that is meant, write in this profile: leads_to_root = true";
        report.error_with_help(span.clone(), message, help);
    }
}

/// Checks the lists of a profile with sockets: a job that runs as root would control remit through its own sockets.
fn shows_no_own_socket(list: &[Spanned], protected: &[String], report: &mut Report<'_>) {
    // These contain programs and settings, which may be visible.
    const NO_SOCKETS: [&str; 2] = ["/etc", "/usr"];
    let may_listen = |file: &&String| NO_SOCKETS.iter().all(|dir| beneath(file, dir).is_none());
    for (one, span) in list {
        let mut own = protected.iter().filter(may_listen);
        if let Some(file) = own.find(|file| nested(&one.path, file)) {
            let message = format!(
                "{} is not to be shown where 'sockets' are listed: '{file}' is remit's own",
                quoted(&one.path)
            );
            let help = "any socket that is shown can be connected to: list what is needed of it";
            report.error_with_help(span.clone(), message, help);
        }
    }
}

/// For `scratch`, which covers the host's directory.
fn own(path: &str) -> Why {
    const NEEDED: [&str; 5] = ["/", "/usr", "/proc", "/dev", "/sys"];
    let covers = NEEDED.contains(&path);
    covers
        .then(|| "cannot be empty: no program would start".to_owned())
        .or_else(|| in_own(path))
}

fn device(path: &str) -> Why {
    if beneath(path, "/dev").is_none_or(str::is_empty) {
        return Some("is no device: those are below /dev".into());
    }
    MEMORY
        .contains(&path)
        .then(|| "is all memory of the machine".into())
}

fn socket(path: &str, protected: &[String]) -> Why {
    let file = protected.iter().find(|file| nested(path, file))?;
    Some(format!(
        "is not to be reached from a job: '{file}' is remit's own"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_the_system_are_not_written() {
        let protected = ["/etc/remit".to_owned(), "/var/lib/remit".to_owned()];
        for path in NEVER_WRITTEN.iter().chain(&NEVER_WRITTEN_BENEATH) {
            assert!(written(path, &protected).is_some(), "{path}");
        }
        for path in [
            "/usr/bin/env",
            "/lib/modules",
            "/usr/lib32/a",
            "/usr/libx32",
            "/sys/kernel",
            "/proc/sys",
            "/dev/sda",
            "/etc/remit",
            "/etc/remit/policy.d",
            "/etc/remit/policy.d/a.toml",
            "/var/lib/remit/audit",
        ] {
            assert!(written(path, &protected).is_some(), "{path}");
        }
        for path in [
            "/srv/www",
            "/var/lib/app",
            "/etc/nginx",
            "/etc/remitx",
            "/home/a",
            "/usr/local/share/a",
        ] {
            assert_eq!(written(path, &protected), None, "{path}");
        }
        let own = ["/srv/remit/state".to_owned()];
        assert!(written("/srv/remit", &own).is_some());
    }

    #[test]
    fn sockets_and_devices_are_what_they_are_called() {
        let protected = ["/run/remit".to_owned()];
        for path in ["/run/remit/remit.sock", "/run/remit", "/run"] {
            assert!(socket(path, &protected).is_some(), "{path}");
        }
        assert_eq!(socket("/run/postgresql/.s.PGSQL.5432", &protected), None);
        for path in [
            "/dev",
            "/etc/passwd",
            "/dev/mem",
            "/dev/kmem",
            "/dev/port",
            "/devx",
        ] {
            assert!(device(path).is_some(), "{path}");
        }
        assert_eq!(device("/dev/kvm"), None);
    }
}
