//! Start-up in order: identity, link, spool, confinement, then serve; or serve as the sink of `remit-broker --sink`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use remit_closer::{inherited, sink};
use remit_common::caps;
use remit_link::closer::ARGUMENT;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::call::SEARCHES;
use crate::call::history::History;
use crate::confine_self;
use crate::output::spool::{Spool, SpoolLimits};
use crate::runtime::{blocking, threads};
use crate::session::usage::SlowLimit;
use crate::snapshots::Snapshots;
use crate::state::{self, Prepared};
use crate::uploads::{self, UploadStore};

// Exit status for a wrong command line (sysexits.h, EX_USAGE).
const USAGE: u8 = 64;
// Exit status for a wrong environment (EX_CONFIG).
const REFUSED: u8 = 78;
/// Blocking threads: host facts, comparisons of snapshots, lists of units, one snapshot, two removals, uploads, searches,
/// hashes and counts, two pipes for each job, and as many that ended jobs have left in locked pipes. More of one user wait:
/// [`crate::session::usage::PIPES`].
const THREADS: usize = 3 * caps::HOST_CALLS
    + 3
    + uploads::THREADS
    + SEARCHES
    + blocking::BACKGROUND_TASKS
    + 4 * caps::JOBS;

pub fn run() -> ExitCode {
    let options = match arguments(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match prepare(options).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remit-broker: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    spool: PathBuf,
    /// Absent: no history is kept.
    history: Option<PathBuf>,
    /// Absent: no uploads are kept.
    uploads: Option<PathBuf>,
    limits: SpoolLimits,
    slow: SlowLimit,
}

/// Parses options; each may occur once and needs a value. Absent ones get [`SpoolLimits::default`].
fn arguments(mut args: impl Iterator<Item = OsString>) -> Result<Options, String> {
    const USAGE: &str = "usage: remit-broker --spool DIR [--history DIR] [--uploads DIR] [--per-job BYTES] \
         [--per-user BYTES] [--total BYTES] [--slow-refusals NUMBER] [--slow-within SECONDS] (the warden starts it)";
    let [mut spool, mut history, mut per_job, mut per_user, mut total] =
        [const { None::<OsString> }; 5];
    let [mut uploads, mut refusals, mut within] = [const { None::<OsString> }; 3];
    while let Some(name) = args.next() {
        let option = match name.to_str() {
            Some("--spool") => &mut spool,
            Some("--history") => &mut history,
            Some("--uploads") => &mut uploads,
            Some("--per-job") => &mut per_job,
            Some("--per-user") => &mut per_user,
            Some("--total") => &mut total,
            Some("--slow-refusals") => &mut refusals,
            Some("--slow-within") => &mut within,
            Some(_) | None => return Err(USAGE.to_owned()),
        };
        let value = args.next().filter(|_| option.is_none());
        *option = Some(value.ok_or(USAGE)?);
    }
    let bytes = |value: Option<OsString>, default| match value.as_deref() {
        None => Ok(default),
        Some(value) => bytes(value).ok_or_else(|| {
            format!(
                "'{}' is not a number of bytes; {USAGE}",
                value.to_string_lossy()
            )
        }),
    };
    let number = |value: Option<OsString>| match value.as_deref() {
        None => Ok(0),
        Some(value) => {
            let number = value.to_str().and_then(|text| text.parse().ok());
            number.ok_or_else(|| format!("'{}' is not a number; {USAGE}", value.to_string_lossy()))
        }
    };
    let default = SpoolLimits::default();
    Ok(Options {
        spool: spool.ok_or(USAGE)?.into(),
        history: history.map(PathBuf::from),
        uploads: uploads.map(PathBuf::from),
        limits: SpoolLimits {
            per_job: bytes(per_job, default.per_job)?,
            per_user: bytes(per_user, default.per_user)?,
            total: bytes(total, default.total)?,
        },
        slow: SlowLimit {
            refusals: usize::try_from(number(refusals)?).unwrap_or(usize::MAX),
            within: Duration::from_secs(number(within)?),
        },
    })
}

fn bytes(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok().filter(|bytes| *bytes > 0)
}

/// Prepares everything before a client's first byte, in one thread: landlock_restrict_self(2), seccomp(2).
fn prepare(options: Options) -> Result<Prepared, String> {
    let link = inherited::link().map_err(|error| format!("cannot take the link: {error}"))?;
    confine_self::check_privileges()?;
    start_log();
    let spool = Spool::open(&options.spool, options.limits)?;
    let (history, uploads) = (options.history.as_deref(), options.uploads.as_deref());
    let writable = [options.spool.as_path()]
        .into_iter()
        .chain(history)
        .chain(uploads);
    let landlock = confine_self::restrict_paths(writable)?;
    confine_self::seccomp::restrict()?;
    match landlock {
        // `restrict_paths` has already logged a warning.
        0 => tracing::info!("confined by seccomp"),
        _ => tracing::info!("confined by landlock and seccomp"),
    }
    // After the confinement, because the files are input.
    let snapshots = Snapshots::open(history);
    let history = History::open(history);
    let uploads = UploadStore::open(uploads)?;
    Ok(Prepared {
        slow: options.slow,
        link,
        spool,
        history,
        snapshots,
        uploads,
    })
}

fn serve(prepared: Prepared) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    threads::keep_one(&runtime)?;
    let ended = tokio::task::LocalSet::new().block_on(&runtime, state::serve(prepared));
    // Do not wait for threads that can be blocked by a dead file system.
    runtime.shutdown_background();
    ended
}

pub fn is_sink_wanted() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments
        .next()
        .is_some_and(|first| first.as_bytes() == ARGUMENT.to_bytes())
        && arguments.next().is_none()
}

/// Closes sockets for the warden: a client can leave a descriptor in its socket whose close blocks, and the warden has
/// one thread. This process serves no clients, and the warden kills it if it takes no more.
pub fn run_sink() -> ExitCode {
    let closed = inherited::socket()
        .map_err(|error| format!("cannot take the socket: {error}"))
        .and_then(|socket| {
            confine_self::check_privileges()?;
            confine_self::sink::restrict()?;
            Ok(socket)
        })
        .and_then(|socket| sink(&socket).map_err(|errno| errno.to_string()));
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-broker --sink: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Installs the logger: in a service of systemd journald with fields such as BROKER_JOB, otherwise lines on standard
/// error. Diagnostics never contain job output, argv or client data. Must run before the process confines itself.
pub fn start_log() {
    let journal = stderr_is_journal()
        .then(tracing_journald::layer)
        .and_then(Result::ok)
        .map(|layer| {
            layer
                .with_syslog_identifier("remit-broker".to_owned())
                .with_field_prefix(Some("BROKER".to_owned()))
                .with_priority_mappings(PriorityMappings {
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    ..PriorityMappings::new()
                })
        });
    let lines = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .event_format(Line)
    });
    // Fails only if a logger is already installed; that one stays.
    let _ = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(journal)
        .with(lines)
        .try_init();
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "remit-broker: ")?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Returns true if fd 2 is connected to the journal (systemd.exec(5), JOURNAL_STREAM).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        arguments(args.iter().map(OsString::from))
    }

    #[test]
    fn limits_are_defaults_if_absent() {
        let plain = parse(&["--spool", "/x"]).unwrap();
        let limits = SpoolLimits {
            per_job: caps::SPOOL_PER_JOB,
            per_user: caps::SPOOL_PER_UID,
            total: caps::SPOOL,
        };
        assert_eq!((plain.spool, plain.limits), (PathBuf::from("/x"), limits));
        assert_eq!(plain.history, None);
        let all = [
            "--history",
            "/h",
            "--per-job",
            "1",
            "--total",
            "3",
            "--spool",
            "/x",
            "--per-user",
            "2",
        ];
        let parsed = parse(&all).unwrap();
        assert_eq!(parsed.history, Some(PathBuf::from("/h")));
        assert_eq!(parsed.slow, SlowLimit::default());
        let parsed = parsed.limits;
        assert_eq!((parsed.per_job, parsed.per_user, parsed.total), (1, 2, 3));
    }

    #[test]
    fn slow_limit_is_off_if_absent() {
        let slow = |args: &[&str]| parse(&[&["--spool", "/x"], args].concat()).unwrap().slow;
        assert_eq!(slow(&[]).refusals, 0);
        let set = slow(&["--slow-refusals", "30", "--slow-within", "300"]);
        assert_eq!((set.refusals, set.within), (30, Duration::from_secs(300)));
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
            &["--history", "/h"],
            &["--spool", "/x", "--history"],
            &["--spool", "/x", "--total"],
            &["--spool", "/x", "--total", "0"],
            &["--spool", "/x", "--per-job", "1M"],
            &["--spool", "/x", "--per-user", "-1"],
            &["--spool", "/x", "--slow-refusals", "x"],
            &["--spool", "/x", "--slow-within"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
