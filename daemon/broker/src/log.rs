//! Ordinary logs: to journald where it collects this process, else to stderr.
//!
//! Never job output, argv, or what a client sent. The audit is the warden's.

use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Installs the logger. Before the fences, while journald's socket can be looked at.
pub fn start() {
    let journal = stderr_is_journal()
        .then(tracing_journald::layer)
        .and_then(Result::ok);
    let text = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .without_time()
    });
    // The only other logger would be one set before: then that one stays.
    let _ = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(journal)
        .with(text)
        .try_init();
}

/// Whether descriptor 2 is the stream that systemd connected to the journal (systemd.exec(5), JOURNAL_STREAM).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}
