//! Notes about arguments, by conventions that most programs share.

use super::{Numbered, about};

/// Long options that disable a check, or do more than was named.
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
const HARMLESS: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/urandom",
];
const PUBLIC: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run/user"];

pub fn notes(argv: &[Numbered<'_>]) -> Vec<String> {
    let args = argv.iter().filter(|(at, _)| *at > 0).copied();
    let args: Vec<_> = args.collect();
    let about = |is: &dyn Fn(&[u8]) -> bool, one: &str, many: &str| about(&args, is, one, many);
    let notes = [
        about(
            &|arg| path_of(arg).is_some_and(|path| path == b"/"),
            "is the root directory of this machine",
            "are each the root directory of this machine",
        ),
        about(
            &|arg| path_of(arg).is_some_and(|path| is_grave(&path)),
            "names a path that decides who may do what on this machine, or how it boots",
            "name paths that decide who may do what on this machine, or how it boots",
        ),
        about(
            &|arg| is_force(arg),
            "switches off a check or a question, or does more than is named (like --force)",
            "switch off checks or questions, or do more than is named (like --force)",
        ),
        about(
            &|arg| is_recursive(arg),
            "means whole directory trees in most programs (like -r)",
            "mean whole directory trees in most programs (like -r)",
        ),
        about(
            &|arg| arg.iter().any(|byte| b"*?[".contains(byte)) && !is_url(arg),
            "has a wildcard: what it matches is decided when it runs",
            "have wildcards: what they match is decided when it runs",
        ),
        about(
            &|arg| arg.split(|byte| *byte == b'/').any(|part| part == b".."),
            "has '..' in a path: it leads elsewhere than it begins",
            "have '..' in a path: they lead elsewhere than they begin",
        ),
        about(
            &|arg| {
                path_of(arg).is_some_and(|path| PUBLIC.iter().any(|public| is_below(&path, public)))
            },
            "is in a directory where every user can put files",
            "are in directories where every user can put files",
        ),
        about(
            &is_url,
            "names a network address, whose content can change at any time",
            "name network addresses, whose content can change at any time",
        ),
        about(
            &|arg| has_shell_characters(arg),
            "has characters that a shell would execute ($( ` ; | &)",
            "have characters that a shell would execute ($( ` ; | &)",
        ),
    ];
    notes.into_iter().flatten().collect()
}

/// Returns the path in an argument as the kernel reads it, without empty parts and `.`.
fn path_of(arg: &[u8]) -> Option<Vec<u8>> {
    let path = match arg.first() {
        Some(b'/') => arg,
        _ => arg
            .split(|byte| *byte == b'=')
            .skip(1)
            .find(|part| part.first() == Some(&b'/'))?,
    };
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !matches!(part, [] | [b'.'])).collect();
    Some([b"/", &*parts.join(&b'/')].concat())
}

fn is_grave(path: &[u8]) -> bool {
    let is_harmless = HARMLESS.iter().any(|harmless| harmless.as_bytes() == path);
    !is_harmless
        && GRAVE
            .iter()
            .any(|grave| is_below(path, grave) || is_kin(path, grave))
}

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
    // `-f` alone names a file as often.
    let is_short = letters.contains(&b'f') && is_recursive(arg);
    FORCE.iter().any(|force| force.as_bytes() == name) || is_short || arg == b"-y"
}

fn is_recursive(arg: &[u8]) -> bool {
    let letters = short(arg).unwrap_or_default();
    arg == b"--recursive" || letters.contains(&b'R') || letters.contains(&b'r')
}

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
