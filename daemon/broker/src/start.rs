//! Start-up in one visible order: who am I, link, spool, fences, then serve.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use remit_common::caps;
use remit_link::Link;

use crate::aside;
use crate::broker;
use crate::call::SEARCHES;
use crate::fence;
use crate::identity;
use crate::log;
use crate::spool::{Limits, Spool};

/// Exit status for a wrong command line (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;
/// Exit status when the surroundings are not as they must be (EX_CONFIG).
const REFUSED: u8 = 78;
/// Threads beside the one that serves: host facts, searches, what is hashed or counted, and the two pipes of each job.
const THREADS: usize = caps::HOST_CALLS + 1 + SEARCHES + aside::PLACES + 2 * caps::JOBS;

/// Runs the broker until the link ends.
pub fn run() -> ExitCode {
    let options = match arguments(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match prepare(options).and_then(|(link, spool)| serve(link, spool)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

/// What the warden starts it with.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    spool: PathBuf,
    limits: Limits,
}

/// Each option once and each with its value; [`Limits::default`] for those that are absent.
fn arguments(mut args: impl Iterator<Item = OsString>) -> Result<Options, String> {
    const USAGE: &str = "usage: remit-broker --spool DIR [--per-job BYTES] [--per-user BYTES] \
         [--total BYTES] (the warden starts it)";
    let [mut spool, mut per_job, mut per_user, mut total] = [const { None::<OsString> }; 4];
    while let Some(name) = args.next() {
        let option = match name.to_str() {
            Some("--spool") => &mut spool,
            Some("--per-job") => &mut per_job,
            Some("--per-user") => &mut per_user,
            Some("--total") => &mut total,
            Some(_) | None => return Err(USAGE.to_owned()),
        };
        let value = args.next().filter(|_| option.is_none());
        *option = Some(value.ok_or(USAGE)?);
    }
    let bytes = |value: Option<OsString>, default| match value.as_deref() {
        None => Ok(default),
        Some(value) => bytes(value).ok_or_else(|| {
            format!(
                "'{}' is no number of bytes; {USAGE}",
                value.to_string_lossy()
            )
        }),
    };
    let default = Limits::default();
    Ok(Options {
        spool: spool.ok_or(USAGE)?.into(),
        limits: Limits {
            per_job: bytes(per_job, default.per_job)?,
            per_user: bytes(per_user, default.per_user)?,
            total: bytes(total, default.total)?,
        },
    })
}

/// A number of bytes, more than none.
fn bytes(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok().filter(|bytes| *bytes > 0)
}

/// Everything before a client's first byte. One thread until the end of it:
/// landlock_restrict_self(2) and seccomp(2) bind the calling thread and those it makes.
fn prepare(options: Options) -> Result<(Link, Spool), String> {
    let link = Link::inherited().map_err(|error| format!("cannot take the link: {error}"))?;
    identity::check()?;
    log::start();
    let spool = Spool::open(&options.spool, options.limits)?;
    let landlock = fence::landlock::restrict(&options.spool)?;
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

    fn parse(args: &[&str]) -> Result<Options, String> {
        arguments(args.iter().map(OsString::from))
    }

    #[test]
    fn limits_are_the_defaults_unless_given() {
        let plain = parse(&["--spool", "/x"]).unwrap();
        let limits = Limits {
            per_job: caps::SPOOL_PER_JOB,
            per_user: caps::SPOOL_PER_UID,
            total: caps::SPOOL,
        };
        assert_eq!((plain.spool, plain.limits), (PathBuf::from("/x"), limits));
        let all = [
            "--per-job",
            "1",
            "--total",
            "3",
            "--spool",
            "/x",
            "--per-user",
            "2",
        ];
        let given = parse(&all).unwrap().limits;
        assert_eq!((given.per_job, given.per_user, given.total), (1, 2, 3));
    }

    #[test]
    fn every_other_command_line_is_refused() {
        for wrong in [
            &[][..],
            &["--spool"],
            &["/x"],
            &["--spool", "/x", "y"],
            &["--spool", "/x", "--spool", "/y"],
            &["-s", "/x"],
            &["--total", "1"],
            &["--spool", "/x", "--total"],
            &["--spool", "/x", "--total", "0"],
            &["--spool", "/x", "--per-job", "1M"],
            &["--spool", "/x", "--per-user", "-1"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
