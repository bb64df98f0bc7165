//! Determines the newest record that must exist: from the daemon, or from the head that it left.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use remit_audit_verify::{Expected, Finding, Kind, Report};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_wire::client::ClientError;

use crate::client::admin_socket::{self, PATIENCE};
use crate::render::output::Context;

/// The state directory of the packages.
const STATE: &str = "/var/lib/remit";

/// The expected end of the audit log, from a source outside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    Daemon(Expected),
    /// The daemon does not run and left this in its state directory. No record has a number above `most`.
    File {
        newest: Expected,
        most: u64,
    },
    Unknown(String),
}

impl Head {
    pub fn ask(context: &Context, state: &Path) -> Self {
        Self::ask_within(PATIENCE, context, state)
    }

    fn ask_within(patience: Duration, context: &Context, state: &Path) -> Self {
        let boot = boot_id();
        // A daemon that runs has written the boot of this machine to its head. This is the directory of another machine, or a
        // copy.
        if state != Path::new(STATE) && read(state).is_ok_and(|head| Some(head.boot) != boot) {
            return left(state, boot);
        }
        let request = AdminRequest::AuditHead;
        match admin_socket::answer_within(patience, &context.runtime, request) {
            Ok(Some(Ok(AdminReply::AuditHead(head)))) => Self::Daemon(Expected {
                seq: head.seq,
                hash: head.hash,
            }),
            Ok(Some(Ok(_))) => Self::Unknown("the daemon's answer is off the protocol".into()),
            Ok(Some(Err(ClientError::NotAllowed { .. }))) => Self::Unknown(
                "only root and members of group remit-admin can ask the daemon what it is".into(),
            ),
            Ok(None | Some(Err(ClientError::NotRunning { .. }))) => left(state, boot),
            Ok(Some(Err(error))) => Self::Unknown(error.to_string()),
            Err(why) => Self::Unknown(why),
        }
    }

    pub fn expected(&self) -> Option<Expected> {
        match self {
            Self::Daemon(expected)
            | Self::File {
                newest: expected, ..
            } => Some(*expected),
            Self::Unknown(_) => None,
        }
    }

    /// Returns true if the daemon's file may end with half a record. A running daemon completes or removes it.
    pub fn allows_half(&self) -> bool {
        !matches!(self, Self::Daemon(_))
    }

    /// Returns the highest number that a record can have, if that is known.
    fn most(&self) -> Option<u64> {
        match self {
            Self::Daemon(head) => Some(head.seq),
            Self::File { most, .. } => Some(*most),
            Self::Unknown(_) => None,
        }
    }

    /// A finding if the audit log goes beyond the daemon's current head. Its state was set back, or it is foreign.
    pub fn is_behind(&self, context: &Context, state: &Path, report: &Report) -> Option<Finding> {
        let (_, last) = report.range?;
        if last <= self.most()? {
            return None;
        }
        // It may have written since, or started.
        let now = Self::ask(context, state);
        let most = now.most().filter(|most| last > *most)?;
        let next = match now {
            Self::File { .. } => {
                "; before remitd starts, put the newer state directory back: with this one, it writes other records with the \
                 same numbers"
            }
            Self::Daemon(_) | Self::Unknown(_) => "",
        };
        Some(Finding {
            kind: Kind::Fork,
            seq: most + 1,
            last,
            position: String::new(),
            text: format!(
                "the log continues to record {last}, and the newest that the daemon knows is {most}: \
                 its state was set back, or these records are not its own{next}"
            ),
        })
    }
}

/// Returns what the state directory says of a daemon that does not run. `boot` is the current boot id.
fn left(state: &Path, boot: Option<[u8; 16]>) -> Head {
    let why = match read(state) {
        // After a crash the head may be on disk without its newest records.
        Ok(head) if !head.is_stopped && Some(head.boot) != boot => {
            "the machine went down before it stopped: the newest records may be lost".to_owned()
        }
        Ok(head) => match head.expected() {
            Some(newest) => {
                let most = match (head.skips, head.pending) {
                    // After a crash of the machine the log may have newer records than this head.
                    (true, _) => head.reserved,
                    (false, Some(pending)) => pending.seq.max(newest.seq),
                    (false, None) => newest.seq,
                };
                return Head::File { newest, most };
            }
            None => "whether its newest record was written is in doubt".to_owned(),
        },
        Err(why) => why,
    };
    Head::Unknown(format!("the daemon does not run, and {why}"))
}

/// Reads the head in the state directory. Fails with the reason.
fn read(state: &Path) -> Result<remit_trail::Head, String> {
    let file = state.join("warden").join("audit-head");
    let mut bytes = Vec::new();
    // One byte more than a head detects an oversized file.
    let most = remit_trail::Head::SIZE as u64 + 1;
    let read = File::open(&file).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read '{}': {error}", file.display()))?;
    remit_trail::Head::parse(&bytes).map_err(|error| format!("'{}': {error}", file.display()))
}

fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let number = u128::from_str_radix(&text.trim().replace('-', ""), 16);
    number.ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use remit_common::admin::{AdminCall, AuditHead};
    use remit_common::names::Runtime;
    use remit_common::{caps, frame};
    use remit_trail::Link;

    use super::*;
    use crate::render::output::Form;
    use crate::render::units::Width;

    const NEWEST: Link = Link {
        seq: 7,
        hash: [7; 32],
    };

    /// A state directory, and a runtime directory with no daemon.
    struct Scene {
        dir: PathBuf,
        context: Context,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("remit-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join("warden")).unwrap();
            let context = Context {
                runtime: Runtime::new(&dir),
                form: Form::Text,
                width: Width::UNLIMITED,
            };
            Self { dir, context }
        }

        fn put(&self, head: remit_trail::Head) {
            fs::write(self.dir.join("warden/audit-head"), head.bytes()).unwrap();
        }

        fn listen(&self) -> UnixListener {
            UnixListener::bind(self.context.runtime.admin_socket()).unwrap()
        }

        fn ask(&self) -> Head {
            Head::ask_within(Duration::from_secs(1), &self.context, &self.dir)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    fn head(boot: [u8; 16], is_stopped: bool) -> remit_trail::Head {
        remit_trail::Head {
            newest: NEWEST,
            is_stopped,
            ..remit_trail::Head::new(boot)
        }
    }

    #[test]
    fn head_is_unknown_after_machine_crash() {
        let scene = Scene::new("left");
        let here = boot_id().unwrap();
        for (boot, is_stopped, is_known) in [
            (here, true, true),
            (here, false, true),
            ([9; 16], true, true),
            ([9; 16], false, false),
        ] {
            scene.put(head(boot, is_stopped));
            let left = left(&scene.dir, Some(here));
            assert_eq!(left.expected().is_some(), is_known, "{left:?}");
        }
    }

    #[test]
    fn daemon_that_does_not_answer_ends_nothing() {
        let scene = Scene::new("stuck");
        let _unanswered = scene.listen();
        let expect = Head::Unknown("remitd does not answer within 1 s".into());
        assert_eq!(scene.ask(), expect);
    }

    #[test]
    fn state_of_another_machine_is_not_compared_with_the_daemon_of_this_one() {
        let here = boot_id().unwrap();
        for (boot, seq) in [(here, 20), ([9; 16], NEWEST.seq)] {
            let scene = Scene::new("foreign");
            scene.put(head(boot, boot != here));
            let listener = scene.listen();
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _: AdminCall = frame::read(&mut stream, caps::ADMIN_FRAME).unwrap();
                let reply = AdminReply::AuditHead(AuditHead {
                    seq: 20,
                    hash: [2; 32],
                });
                frame::write(&mut stream, &reply, caps::ADMIN_FRAME).unwrap();
            });
            let expected = scene.ask().expected().unwrap();
            assert_eq!(expected.seq, seq);
        }
    }

    #[test]
    fn log_beyond_the_head_of_a_stopped_daemon_is_found() {
        let scene = Scene::new("behind");
        let here = boot_id().unwrap();
        let pending = Some(Link { seq: 8, ..NEWEST });
        let stopped = head(here, true);
        let killed = head(here, false);
        let began = remit_trail::Head {
            skips: true,
            reserved: 100,
            ..killed
        };
        for (head, last, is_found) in [
            (stopped, 7, false),
            (stopped, 8, true),
            (remit_trail::Head { pending, ..killed }, 8, false),
            (remit_trail::Head { pending, ..killed }, 9, true),
            (began, 100, false),
            (began, 101, true),
        ] {
            scene.put(head);
            let report = Report {
                range: Some((1, last)),
                ..Report::default()
            };
            let asked = scene.ask();
            let found = asked.is_behind(&scene.context, &scene.dir, &report);
            let kind = found.map(|finding| finding.kind);
            assert_eq!(kind, is_found.then_some(Kind::Fork), "{head:?} {last}");
        }
    }
}
