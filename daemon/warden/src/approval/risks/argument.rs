//! What arguments ask for, as far as most programs agree on it. Pure.

use super::{Numbered, about};

/// Long options that switch a check off, or do more than what was named.
const FORCE: &[&str] = &[
    "--allow-downgrades",
    "--allow-unauthenticated",
    "--assume-yes",
    "--delete",
    "--force",
    "--force-yes",
    "--insecure",
    "--no-check-certificate",
    "--no-gpg-check",
    "--no-gpgcheck",
    "--no-preserve-root",
    "--no-verify",
    "--nodeps",
    "--purge",
    "--skip-checks",
    "--yes",
];
/// Files and places of which a change or a look is never a small thing.
const GRAVE: &[&str] = &[
    "/boot",
    "/dev",
    "/etc/cron",
    "/etc/crontab",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/ld.so",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/profile",
    "/etc/remit",
    "/etc/security",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/systemd",
    "/proc",
    "/root",
    "/sys",
    "/usr/lib/remit",
    "/usr/lib/systemd",
    "/usr/libexec/remit",
    "/var/lib/remit",
];
/// Devices that everybody uses.
const HARMLESS: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/urandom",
];
/// Where everybody can put a file.
const PUBLIC: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run/user"];

/// What is seen in them.
pub fn notes(argv: &[Numbered<'_>]) -> Vec<String> {
    // The program is no argument.
    let args = argv.iter().filter(|(at, _)| *at > 0).copied();
    let args: Vec<_> = args.collect();
    let about = |is: &dyn Fn(&[u8]) -> bool, one: &str, many: &str| about(&args, is, one, many);
    let notes = [
        about(
            &|arg| path_of(arg) == Some(b"/"),
            "is the root directory of the machine",
            "are each the root directory of the machine",
        ),
        about(
            &|arg| path_of(arg).is_some_and(is_grave),
            "names a place that decides who may do what on the machine, or how it starts",
            "name places that decide who may do what on the machine, or how it starts",
        ),
        about(
            &|arg| is_force(arg),
            "switches a check or a question off, or does more than what is named (as --force)",
            "switch checks or questions off, or do more than what is named (as --force)",
        ),
        about(
            &|arg| is_recursive(arg),
            "asks for whole directory trees in most programs (as -r)",
            "ask for whole directory trees in most programs (as -r)",
        ),
        about(
            &|arg| arg.iter().any(|byte| b"*?[".contains(byte)) && !is_url(arg),
            "has a wildcard: what it stands for is found when it runs",
            "have wildcards: what they stand for is found when it runs",
        ),
        about(
            &|arg| arg.split(|byte| *byte == b'/').any(|part| part == b".."),
            "has '..' in a path: it is about another place than it begins with",
            "have '..' in a path: they are about other places than they begin with",
        ),
        about(
            &|arg| {
                path_of(arg).is_some_and(|path| PUBLIC.iter().any(|public| is_below(path, public)))
            },
            "is in a directory where every user can put files",
            "are in directories where every user can put files",
        ),
        about(
            &is_url,
            "names a network address: what is there can change at any time",
            "name network addresses: what is there can change at any time",
        ),
        about(
            &|arg| has_shell_characters(arg),
            "has characters that a shell would execute ($( ` ; | &)",
            "have characters that a shell would execute ($( ` ; | &)",
        ),
    ];
    notes.into_iter().flatten().collect()
}

/// The absolute path that an argument is, or ends in after `=`, without doubled slashes at the end.
fn path_of(arg: &[u8]) -> Option<&[u8]> {
    let path = match arg.first() {
        Some(b'/') => arg,
        _ => arg
            .split(|byte| *byte == b'=')
            .skip(1)
            .find(|part| part.first() == Some(&b'/'))?,
    };
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(1, |last| last + 1);
    path.get(..end)
}

fn is_grave(path: &[u8]) -> bool {
    let is_harmless = HARMLESS.iter().any(|harmless| harmless.as_bytes() == path);
    !is_harmless
        && GRAVE
            .iter()
            .any(|grave| is_below(path, grave) || is_kin(path, grave))
}

/// The path itself, or something in it.
fn is_below(path: &[u8], of: &str) -> bool {
    let rest = path.strip_prefix(of.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// `/etc/cron.d`, `/etc/sudoers.d`, `/etc/passwd-`.
fn is_kin(path: &[u8], of: &str) -> bool {
    let rest = path.strip_prefix(of.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'-')))
        || (of == "/etc/cron" && rest.is_some())
}

fn is_force(arg: &[u8]) -> bool {
    let name = arg.split(|byte| *byte == b'=').next().unwrap_or_default();
    let letters = short(arg).unwrap_or_default();
    // `-f` alone is a file as often.
    let is_short = letters.contains(&b'f') && is_recursive(arg);
    FORCE.iter().any(|force| force.as_bytes() == name) || is_short || arg == b"-y"
}

fn is_recursive(arg: &[u8]) -> bool {
    let letters = short(arg).unwrap_or_default();
    arg == b"--recursive" || letters.contains(&b'R') || letters.contains(&b'r')
}

/// The letters of `-rf`: a few, all of them letters.
fn short(arg: &[u8]) -> Option<&[u8]> {
    let letters = arg.strip_prefix(b"-")?;
    let plausible = (1..=4).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic);
    plausible.then_some(letters)
}

fn is_url(arg: &[u8]) -> bool {
    let at = arg.windows(3).position(|part| part == b"://");
    at.is_some_and(|at| at > 0)
}

fn has_shell_characters(arg: &[u8]) -> bool {
    !is_url(arg)
        && (arg.windows(2).any(|part| part == b"$(" || part == b"${")
            || arg.iter().any(|byte| b"`;|&".contains(byte)))
}
