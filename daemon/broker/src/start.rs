//! Start-up in one visible order: who am I, link, spool, fences, then serve.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use remit_common::caps;
use remit_link::Link;

use crate::broker;
use crate::fence;
use crate::identity;
use crate::log;
use crate::spool::Spool;

/// Exit status for a wrong command line (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;
/// Exit status when the surroundings are not as they must be (EX_CONFIG).
const REFUSED: u8 = 78;
/// Threads beside the one that serves: host facts, and the two pipes of each job.
const THREADS: usize = caps::HOST_CALLS + 1 + 2 * caps::JOBS;

/// Runs the broker until the link ends.
pub fn run() -> ExitCode {
    let spool = match arguments(std::env::args_os().skip(1)) {
        Ok(spool) => spool,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match prepare(&spool).and_then(|(link, spool)| serve(link, spool)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn arguments(mut args: impl Iterator<Item = OsString>) -> Result<PathBuf, String> {
    match (args.next(), args.next(), args.next()) {
        (Some(flag), Some(dir), None) if flag == "--spool" => Ok(dir.into()),
        _ => Err("usage: remit-broker --spool DIR (the warden starts it)".to_owned()),
    }
}

/// Everything before a client's first byte. One thread until the end of it:
/// landlock_restrict_self(2) and seccomp(2) bind the calling thread and those it makes.
fn prepare(dir: &Path) -> Result<(Link, Spool), String> {
    let link = Link::inherited().map_err(|error| format!("cannot take the link: {error}"))?;
    identity::check()?;
    log::start();
    let spool = Spool::open(dir)?;
    let landlock = fence::landlock::restrict(dir)?;
    fence::seccomp::restrict()?;
    match landlock {
        // Its absence has been told.
        0 => tracing::info!("confined by seccomp"),
        _ => tracing::info!("confined by landlock and seccomp"),
    }
    Ok((link, spool))
}

fn serve(link: Link, spool: Spool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let ended = tokio::task::LocalSet::new().block_on(&runtime, broker::serve(link, spool));
    // A thread may hang in a dead file system: do not wait for it.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_command_line_is_taken() {
        let parse = |args: &[&str]| arguments(args.iter().map(OsString::from));
        assert_eq!(parse(&["--spool", "/x"]), Ok(PathBuf::from("/x")));
        for wrong in [
            &[][..],
            &["--spool"],
            &["/x"],
            &["--spool", "/x", "y"],
            &["-s", "/x"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
