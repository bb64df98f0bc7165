//! `hermetic PROGRAM [ARGUMENT...]`: runs a test program with the accounts of `tests/fixtures/etc` and without an
//! installed remit. Bind-mounts the files of the user database in a separate mount namespace, so the machine's files
//! do not change. A user other than root lacks the privilege for that; then the program runs unmodified.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Files of the user database with their fixtures. `None` is an empty file.
const DATABASE: [(&str, Option<&str>); 5] = [
    ("/etc/passwd", Some("passwd")),
    ("/etc/group", Some("group")),
    ("/etc/nsswitch.conf", Some("nsswitch.conf")),
    ("/etc/subuid", None),
    ("/etc/subgid", None),
];
/// Directories of an installed remit, hidden by an empty one.
const INSTALLED: [&str; 4] = [
    "/etc/remit",
    "/usr/lib/remit",
    "/run/remit",
    "/var/lib/remit",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: hermetic PROGRAM [ARGUMENT...]");
        return ExitCode::from(64);
    };
    if nix::unistd::geteuid().is_root()
        && let Err(error) = isolate()
    {
        eprintln!("hermetic: cannot hide this machine's accounts: {error}");
        return ExitCode::from(71);
    }
    let error = run(&program, arguments);
    eprintln!("hermetic: cannot run '{}': {error}", program.display());
    ExitCode::from(127)
}

/// Returns only if the program cannot be executed.
fn run(program: &OsString, arguments: impl Iterator<Item = OsString>) -> io::Error {
    Command::new(program).args(arguments).exec()
}

fn isolate() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts must not propagate to the machine's own mount namespace.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/etc");
    for (file, fixture) in DATABASE {
        let source = fixture.map_or_else(|| "/dev/null".into(), |name| fixtures.join(name));
        if fixture.is_none() && !Path::new(file).exists() {
            continue;
        }
        mount(
            Some(&source),
            file,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(|errno| {
            io::Error::other(format!("mount '{}' on '{file}': {errno}", source.display()))
        })?;
    }
    for dir in INSTALLED.iter().filter(|dir| Path::new(dir).exists()) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("none"),
            *dir,
            Some("tmpfs"),
            flags,
            Some("size=64k,mode=755"),
        )?;
    }
    Ok(())
}
