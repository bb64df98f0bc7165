//! Reports to the service manager (sd_notify(3)). Non-blocking: the loop must not wait for a manager.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Bytes of a status text.
const STATUS: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Serving(usize),
    Locked(usize),
    /// Killed brokers hang, and no other one starts.
    HeldUp(usize),
    /// Bases in which nothing runs, with the reason.
    Refusing(String),
    Stopping {
        jobs: usize,
        waiting_for: Option<String>,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serving(jobs) => write!(f, "serving; jobs: {jobs}"),
            Self::Locked(jobs) => write!(f, "locked, refusing all runs; jobs: {jobs}"),
            Self::HeldUp(jobs) => write!(
                f,
                "serving no client: killed brokers hang, until the jobs are stopped that keep their output locked; jobs: {jobs}"
            ),
            Self::Refusing(why) => write!(f, "refusing all runs in {why}"),
            Self::Stopping {
                jobs,
                waiting_for: None,
            } => write!(f, "stopping; jobs to end: {jobs}"),
            Self::Stopping {
                jobs,
                waiting_for: Some(waiting_for),
            } => write!(f, "stopping; jobs: {jobs}; {waiting_for}"),
        }
    }
}

#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    last_sent: Option<Note>,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok();
        let own = std::process::id().to_string();
        let watchdog = variable("WATCHDOG_USEC").filter(|_| {
            // sd_watchdog_enabled(3): the variable is meant for another process.
            variable("WATCHDOG_PID").is_none_or(|pid| pid == own)
        });
        Self {
            socket: variable("NOTIFY_SOCKET").and_then(|path| connect(&path).ok()),
            watchdog: watchdog.and_then(|usec| interval(&usec)),
            last_sent: None,
        }
    }

    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Asks for `more` time to stop, counted from now.
    pub fn extend(&self, more: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()));
    }

    /// Reports why the daemon ends by itself. The journal may not know the unit of the last lines on standard error.
    pub fn failed(&self, why: &str) {
        let line = why.lines().next().unwrap_or_default();
        let status = remit_common::text::line(line.as_bytes(), STATUS);
        self.send(&format!("STATUS={status}"));
    }

    /// Reports readiness once, and each new status. Returns true if it sent: call again, as a full queue drops the datagram.
    pub fn note(&mut self, note: &Note) -> bool {
        if self.socket.is_none() || self.last_sent.as_ref() == Some(note) {
            return false;
        }
        let ready = match self.last_sent {
            None => "READY=1\n",
            Some(_) => "",
        };
        let status = remit_common::text::line(note.to_string().as_bytes(), STATUS);
        if self.send(&format!("{ready}STATUS={status}")) {
            self.last_sent = Some(note.clone());
        }
        true
    }

    fn send(&self, text: &str) -> bool {
        let sent = self.socket.as_ref().map(|to| to.send(text.as_bytes()));
        matches!(sent, Some(Ok(_)))
    }
}

/// A leading '@' means the abstract namespace (unix(7)).
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    Ok(socket)
}

fn interval(usec: &str) -> Option<Duration> {
    let usec = usec.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_sent_without_blocking() {
        let name = format!("remit-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let patience = Some(Duration::from_secs(10));
        manager.set_read_timeout(patience).unwrap();
        let mut notify = Notify {
            socket: Some(connect(&format!("@{name}")).unwrap()),
            watchdog: None,
            last_sent: None,
        };
        let hear = || {
            let mut text = [0; 100];
            let length = manager.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        assert!(notify.note(&Note::Serving(1)));
        assert!(!notify.note(&Note::Serving(1)));
        assert_eq!(hear(), "READY=1\nSTATUS=serving; jobs: 1");
        assert!(notify.note(&Note::Refusing("a\nb".into())));
        assert_eq!(hear(), "STATUS=refusing all runs in a\\nb");
        // Nobody reads, and the queue of datagrams is short.
        (0..10_000).for_each(|_| notify.alive());
        assert!(notify.note(&Note::Locked(0)), "there is something to say");
        while hear() == "WATCHDOG=1" {
            notify.note(&Note::Locked(0));
        }
        assert!(!notify.note(&Note::Locked(0)), "it was said");
        notify.failed("a\nb");
        while hear() != "STATUS=a" {}
    }

    #[test]
    fn a_watchdog_of_nothing_is_none() {
        for (text, want) in [
            ("30000000", Some(Duration::from_secs(30))),
            ("0", None),
            ("x", None),
            ("-1", None),
        ] {
            assert_eq!(interval(text), want, "{text}");
        }
    }
}
