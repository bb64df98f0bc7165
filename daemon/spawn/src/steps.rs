//! Names of the set-up steps, and the protocol between a starting child and the warden. The child notes each finished
//! step in memory and writes the notes in one go, just before the exec or with its failure. One write per step would
//! wake the warden fifteen times. The pipe is close-on-exec, so its end after the notes means: executed.

use std::{io::Read, os::fd::BorrowedFd};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Own session, default signals and mask, umask, personality.
    Session = 1,
    /// Nice, policy, affinity, ioprio, timer slack and `oom_score_adj`.
    Scheduling,
    Cgroup,
    Network,
    /// Its own mount namespace; in base `strict` also its own pid, ipc, uts and cgroup namespaces.
    Namespaces,
    /// Whole tree private, read-only, nosuid, nodev; private `/tmp`s; a minimal `/dev`. Base `read`.
    Mounts,
    /// A root with what the profile lists; the host's is left behind. Base `strict`.
    Root,
    /// The plan of a check is laid into its copy of the machine. Base `plan`.
    Plan,
    Keyring,
    NoNewPrivs,
    Landlock,
    Seccomp,
    Loginuid,
    Descriptors,
    Rlimits,
    /// Own uid, or the profile's; exactly its groups; exactly its capabilities in each of the five sets, mostly none;
    /// securebits locked. Base `host`: the user as any program of the host.
    Identity,
    /// The job's home and the working directory, opened inside with the job's identity.
    Cwd,
    Arguments,
    Exec,
}

impl Step {
    pub const ALL: [Step; 19] = [
        Step::Session,
        Step::Scheduling,
        Step::Cgroup,
        Step::Network,
        Step::Namespaces,
        Step::Mounts,
        Step::Root,
        Step::Plan,
        Step::Keyring,
        Step::NoNewPrivs,
        Step::Landlock,
        Step::Seccomp,
        Step::Loginuid,
        Step::Descriptors,
        Step::Rlimits,
        Step::Identity,
        Step::Cwd,
        Step::Arguments,
        Step::Exec,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Step::Session => "session",
            Step::Descriptors => "descriptors",
            Step::Cgroup => "cgroup",
            Step::Loginuid => "loginuid",
            Step::Scheduling => "scheduling",
            Step::Rlimits => "rlimits",
            Step::Namespaces => "namespaces",
            Step::Network => "network",
            Step::Mounts => "mounts",
            Step::Root => "root",
            Step::Plan => "plan",
            Step::Arguments => "arguments",
            Step::Keyring => "keyring",
            Step::Identity => "identity",
            Step::NoNewPrivs => "no_new_privs",
            Step::Landlock => "landlock",
            Step::Cwd => "cwd",
            Step::Seccomp => "seccomp",
            Step::Exec => "exec",
        }
    }

    fn from_byte(byte: u8) -> Option<Step> {
        Step::ALL.into_iter().find(|s| *s as u8 == byte)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    Errno = 0,
    NotFound,
    /// Exec: the file has no execute permission for anyone, or is of no known format.
    NotExecutable,
    IsDirectory,
    /// Exec: a FIFO, socket or device.
    NotRegular,
    /// Exec: the file exists, its interpreter or loader does not.
    BadInterpreter,
    PermissionDenied,
    /// Arguments: not the wanted file or kind. Root: a device or a socket is listed, and something else is there. Plan: not what the
    /// plan has found.
    WrongKind,
    /// Others than root and the job's user can change a directory on the way; of Exec also the program or a hashed file.
    Untrusted,
    /// Exec: a hashed file is not what it was when it was hashed, or is missing (errno). Plan: the same of an upload.
    Changed,
    /// Plan: the copy of the machine does not show what is there.
    Hidden,
    /// Exec: this identity may not read a hashed file, so it cannot be checked.
    Unreadable,
    /// A condition that the child checks while it confines itself does not hold.
    Unmet,
    /// The child ended before the exec and could not report why (killed, out of memory).
    Died,
}

impl Why {
    pub fn from_byte(byte: u8) -> Why {
        [
            Why::Errno,
            Why::NotFound,
            Why::NotExecutable,
            Why::IsDirectory,
            Why::NotRegular,
            Why::BadInterpreter,
            Why::PermissionDenied,
            Why::WrongKind,
            Why::Untrusted,
            Why::Changed,
            Why::Hidden,
            Why::Unreadable,
            Why::Unmet,
        ]
        .into_iter()
        .find(|w| *w as u8 == byte)
        .unwrap_or(Why::Died)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet: read again when the pipe is readable.
    More,
    Executed(Vec<Step>),
    /// With the steps before.
    Failed(StepFailure, Vec<Step>),
}

/// A failed step before the exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepFailure {
    pub step: Step,
    /// 0 if there is none.
    pub errno: i32,
    pub why: Why,
    /// For `Mounts` and `Root` a path of the profile (`Sandbox::path`), for `Arguments` the element of `argv`, for
    /// `Exec` the hashed file (`Job::measured`), for `Plan` the entry of the plan.
    pub at: Option<u16>,
}

/// First byte of a failure record; no step has it.
pub const FAILED: u8 = 0xff;
/// Last byte of the notes of a child that is about to execute; no step has it.
pub const DONE: u8 = 0xfe;
/// Bytes of a failure record: mark, step, kind, errno, path or argument.
pub const FAILURE_LEN: usize = 9;
pub const NOWHERE: u16 = u16::MAX;

#[derive(Debug, Default)]
pub struct StepReader {
    got: Vec<u8>,
}

impl StepReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what is available; waits only if `fd` blocks. A byte a step and one failure record; more counts as died.
    pub fn read(&mut self, fd: BorrowedFd<'_>) -> Progress {
        let mut buf = [0u8; 64];
        loop {
            match remit_sys::sys::read(fd, &mut buf) {
                Ok(0) => return parse(&self.got),
                Ok(n) => self.got.extend(buf.iter().take(n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Progress::More,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return died(Vec::new()),
            }
            if self.got.len() > buf.len() {
                return died(Vec::new());
            }
        }
    }
}

fn parse(mut got: &[u8]) -> Progress {
    let mut done = Vec::new();
    let mut ready = false;
    let mut byte = [0u8; 1];
    while got.read_exact(&mut byte).is_ok() {
        match byte {
            [DONE] if !ready => ready = true,
            [FAILED] => {
                let mut rest = [0u8; FAILURE_LEN - 1];
                if got.read_exact(&mut rest).is_err() || !got.is_empty() {
                    return died(done);
                }
                let [step, why, a, b, c, d, at, at_high] = rest;
                let at = u16::from_le_bytes([at, at_high]);
                let Some(step) = Step::from_byte(step) else {
                    return died(done);
                };
                let failure = StepFailure {
                    step,
                    errno: i32::from_le_bytes([a, b, c, d]),
                    why: Why::from_byte(why),
                    at: (at != NOWHERE).then_some(at),
                };
                return Progress::Failed(failure, done);
            }
            [b] => match Step::from_byte(b) {
                Some(step) if !ready => done.push(step),
                _ => return died(done),
            },
        }
    }
    if ready {
        Progress::Executed(done)
    } else {
        died(done)
    }
}

fn died(done: Vec<Step>) -> Progress {
    let after = done.last().copied();
    let step = Step::ALL
        .into_iter()
        .find(|s| Some(*s) > after)
        .unwrap_or(Step::Exec);
    let failure = StepFailure {
        step,
        errno: 0,
        why: Why::Died,
        at: None,
    };
    Progress::Failed(failure, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written() {
        let steps = Step::ALL.iter().take(18).map(|s| *s as u8);
        let all: Vec<u8> = steps.chain([DONE]).collect();
        assert_eq!(parse(&all), Progress::Executed(Step::ALL[..18].to_vec()));
        let failed = [
            Step::Session as u8,
            Step::Namespaces as u8,
            FAILED,
            Step::Mounts as u8,
            0,
            13,
            0,
            0,
            0,
            2,
            1,
        ];
        let failure = StepFailure {
            step: Step::Mounts,
            errno: 13,
            why: Why::Errno,
            at: Some(0x102),
        };
        let want = Progress::Failed(failure, vec![Step::Session, Step::Namespaces]);
        assert_eq!(parse(&failed), want);
        for cut in 0..failed.len() {
            assert!(
                matches!(
                    parse(&failed[..cut]),
                    Progress::Failed(StepFailure { why: Why::Died, .. }, _)
                ),
                "{cut}"
            );
        }
        for odd in [
            vec![0],
            vec![77],
            vec![FAILED, 99, 0, 0, 0, 0, 0, 0, 0],
            [&all[..], &[1]].concat(),
            [&all[..], &[DONE]].concat(),
            [&failed[..], &[1]].concat(),
        ] {
            assert!(
                matches!(
                    parse(&odd),
                    Progress::Failed(StepFailure { why: Why::Died, .. }, _)
                ),
                "{odd:?}"
            );
        }
    }
}
