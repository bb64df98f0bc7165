//! Which programs and libraries run when somebody logs in, by their paths. Other files of a package are not among them, so
//! its upgrade is not held up.
//!
//! **Invariant:** a path is judged with `/usr` before `bin`, `sbin` and `lib` or without it.

use crate::PlanPath;
use crate::deciding::as_merged;

/// In [`BIN`].
const PROGRAMS: &[&str] = &[
    "agetty",
    "ash",
    "bash",
    "busybox",
    "csh",
    "dash",
    "doas",
    "fish",
    "getty",
    "init",
    "ksh",
    "ld.so",
    "login",
    "mksh",
    "rbash",
    "sh",
    "sshd",
    "su",
    "sudo",
    "sulogin",
    "tcsh",
    "unix_chkpwd",
    "zsh",
];
const BIN: [&str; 2] = ["/bin", "/sbin"];

/// How the names of libraries begin without which no login begins. They lie in [`LIB`] or in one of their directories for a
/// machine's architecture, as `/lib/x86_64-linux-gnu`.
const LIBRARIES: &[&str] = &[
    "ld-2.",
    "ld-linux",
    "ld-musl-",
    "ld.so",
    "ld64.so",
    "libc-2.",
    "libc.musl-",
    "libc.so.",
    "libcrypt.so.",
    "libcrypto.so.",
    "libpam.so.",
    "libpam_misc.so.",
    "libpamc.so.",
];
const LIB: [&str; 2] = ["/lib", "/lib64"];
const ARCHITECTURE: &str = "-linux-";

/// Directories of helpers, beneath one of [`LIB`], of an architecture, or of `/usr/libexec`, and how the names of these begin.
const HELPERS: [(&str, &str); 6] = [
    ("openssh", "sshd-"),
    ("ssh", "sshd-"),
    ("security", "pam_"),
    ("sudo", ""),
    ("systemd", "systemd"),
    ("systemd", "libsystemd-"),
];
const LIBEXEC: &str = "/usr/libexec";

/// Splits a path into its directory and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = path.split_at(at.unwrap_or_default());
    (directory, name.strip_prefix(b"/").unwrap_or(name))
}

/// Returns true for a directory in which libraries lie.
fn has_libraries(directory: &[u8]) -> bool {
    let is_lib = |directory: &[u8]| LIB.iter().any(|lib| directory == lib.as_bytes());
    let (above, name) = split(directory);
    let mut parts = name.windows(ARCHITECTURE.len());
    is_lib(directory) || is_lib(above) && parts.any(|part| part == ARCHITECTURE.as_bytes())
}

/// Returns how the names of helpers begin that lie in this directory.
fn helpers(directory: &[u8]) -> impl Iterator<Item = &'static str> {
    let (above, own) = split(directory);
    let can_be = above == LIBEXEC.as_bytes() || has_libraries(above);
    let all = HELPERS.iter();
    all.filter(move |(name, _)| can_be && own == name.as_bytes())
        .map(|(_, start)| *start)
}

/// Returns true for a program or a library that runs when somebody logs in, or before.
pub(crate) fn is_of_logins(path: &PlanPath) -> bool {
    let (directory, name) = split(as_merged(path.as_bytes()));
    let begins = |start: &str| name.starts_with(start.as_bytes());
    let is_program = || {
        let mut known = PROGRAMS.iter();
        BIN.iter().any(|bin| directory == bin.as_bytes())
            && known.any(|known| name == known.as_bytes())
    };
    let is_library = || has_libraries(directory) && LIBRARIES.iter().any(|start| begins(start));
    is_program() || is_library() || helpers(directory).any(begins)
}

/// Returns true for a directory of such programs: whoever may not enter it runs none of them.
pub(crate) fn are_beneath(path: &PlanPath) -> bool {
    let path = as_merged(path.as_bytes());
    let mut bins = BIN.iter().chain(&[LIBEXEC]);
    bins.any(|bin| path == bin.as_bytes()) || has_libraries(path) || helpers(path).next().is_some()
}
