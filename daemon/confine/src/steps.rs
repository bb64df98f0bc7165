//! The checklist's names, and the wire between a child on its way to exec and the warden.
//!
//! The child notes each finished step in memory and writes the notes in one go, just before
//! the exec or with its failure: a write a step would wake the warden fifteen times. The pipe
//! is close-on-exec, so its end after the notes means that the program was executed.

use std::{io::Read, os::fd::BorrowedFd};

/// One step of the checklist, in the order in which a child takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Own session, default signals and mask, umask, personality.
    Session = 1,
    /// In the job's own cgroup. Absent where there is none.
    Cgroup,
    /// Only stdin, stdout, stderr, the script and the step pipe stay open.
    Descriptors,
    /// The audit login uid. Absent on kernels without audit.
    Loginuid,
    /// Nice, policy, affinity, ioprio, timer slack and `oom_score_adj`.
    Scheduling,
    /// A network of its own, and the relay where there is one. Base `strict`.
    Network,
    /// Resource limits.
    Rlimits,
    /// A mount namespace of its own; base `strict`: own
    /// pid, ipc, uts and cgroup namespaces too.
    Namespaces,
    /// Whole tree private, read-only, nosuid, nodev; private `/tmp`s; a minimal `/dev`. Base `read`.
    Mounts,
    /// A root of its own with what the profile lists, the host's left behind. Base `strict`.
    Root,
    /// A session keyring of its own. Absent on kernels without keyrings.
    Keyring,
    /// Own uid, or the profile's; exactly its groups; in each of five sets exactly its capabilities,
    /// mostly none; securebits locked. Base `host`: the user as root gives it to anyone.
    Identity,
    /// `no_new_privs`.
    NoNewPrivs,
    /// The job's home and the working directory, opened inside by the job's identity.
    Cwd,
    /// Paths and secrets that arguments name, opened inside. Absent where there are none.
    Arguments,
    /// The Landlock domain. Absent on kernels without Landlock.
    Landlock,
    /// The system call filter.
    Seccomp,
    /// The program, looked up and executed inside.
    Exec,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 18] = [
        Step::Session,
        Step::Cgroup,
        Step::Descriptors,
        Step::Loginuid,
        Step::Scheduling,
        Step::Network,
        Step::Rlimits,
        Step::Namespaces,
        Step::Mounts,
        Step::Root,
        Step::Keyring,
        Step::Identity,
        Step::NoNewPrivs,
        Step::Cwd,
        Step::Arguments,
        Step::Landlock,
        Step::Seccomp,
        Step::Exec,
    ];

    /// The step's name in results and in the audit.
    pub fn name(self) -> &'static str {
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

    fn of(byte: u8) -> Option<Step> {
        Step::ALL.into_iter().find(|s| *s as u8 == byte)
    }
}

/// Why a step failed, beyond its errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// A system call failed; the errno says all.
    Errno = 0,
    /// Exec: no such file on the path searched.
    NotFound,
    /// Exec: the file has no execute permission for anyone, or is of no known format.
    NotExecutable,
    /// Exec: the name is a directory.
    IsDirectory,
    /// Exec: a FIFO, socket or device.
    NotRegular,
    /// Exec: the file is there, its interpreter or loader is not.
    BadInterpreter,
    /// Exec: this identity may not execute it.
    PermissionDenied,
    /// Arguments: neither a file nor a directory, or not the one that was wanted. Root: a device or
    /// a socket is listed, and something else is there.
    WrongKind,
    /// Arguments: a directory on the way can be changed by others than root and the job's user.
    /// Exec: the program, a measured file or a directory on the way can.
    Untrusted,
    /// Exec: a measured file is not what it was when it was measured, or is not there (errno).
    Changed,
    /// Exec: this identity may not read a measured file, so it cannot be checked.
    Unreadable,
    /// The process that confines itself had to check something and it did not hold.
    Unmet,
    /// The child ended before the exec and could not say why (killed, out of memory).
    Died,
}

impl Why {
    fn of(byte: u8) -> Why {
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
            Why::Unreadable,
            Why::Unmet,
        ]
        .into_iter()
        .find(|w| *w as u8 == byte)
        .unwrap_or(Why::Died)
    }
}

/// What is known of a child's way to its exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet: read again when the pipe is readable.
    More,
    /// The program runs; these steps were done.
    Executed(Vec<Step>),
    /// Nothing ran.
    Failed {
        /// The steps done before.
        done: Vec<Step>,
        /// The step that failed.
        step: Step,
        /// The errno, 0 when there is none.
        errno: i32,
        /// The kind.
        why: Why,
        /// Which one: of steps `Mounts` and `Root` a path of the profile (`Sandbox::path`), of
        /// `Arguments` the element of `argv`, of `Exec` the measured file (`Job::measured`).
        at: Option<u16>,
    },
}

/// First byte of a failure record; no step has it.
pub(crate) const FAILED: u8 = 0xff;
/// Last byte of the notes of a child that is about to execute; no step has it.
pub(crate) const DONE: u8 = 0xfe;
/// First byte of what a child says that the warden was not told of, before its pid in digits; no step has it.
pub(crate) const UNTOLD: u8 = 0xfd;
/// Bytes of that, at most.
pub(crate) const UNTOLD_LEN: usize = 16;
/// Bytes of a failure record: mark, step, kind, errno, path or argument.
pub(crate) const FAILURE_LEN: usize = 9;
/// No path and no argument.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// Reads the step pipe.
#[derive(Debug, Default)]
pub struct StepReader {
    got: Vec<u8>,
}

impl StepReader {
    /// A reader that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what is there, never waits when `fd` is non-blocking. Bounded: a child writes at
    /// most one byte a step and one failure record, anything longer counts as died.
    pub fn read(&mut self, fd: BorrowedFd<'_>) -> Progress {
        let mut buf = [0u8; 64];
        loop {
            match crate::floor::read(fd, &mut buf) {
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
                let Some(step) = Step::of(step) else {
                    return died(done);
                };
                return Progress::Failed {
                    done,
                    step,
                    errno: i32::from_le_bytes([a, b, c, d]),
                    why: Why::of(why),
                    at: (at != NOWHERE).then_some(at),
                };
            }
            [b] => match Step::of(b) {
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
    Progress::Failed {
        done,
        step,
        errno: 0,
        why: Why::Died,
        at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written() {
        let steps = Step::ALL.iter().take(17).map(|s| *s as u8);
        let all: Vec<u8> = steps.chain([DONE]).collect();
        assert_eq!(parse(&all), Progress::Executed(Step::ALL[..17].to_vec()));
        let failed = [
            Step::Session as u8,
            Step::Descriptors as u8,
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
        let want = Progress::Failed {
            done: vec![Step::Session, Step::Descriptors],
            step: Step::Mounts,
            errno: 13,
            why: Why::Errno,
            at: Some(0x102),
        };
        assert_eq!(parse(&failed), want);
        for cut in 0..failed.len() {
            assert!(
                matches!(
                    parse(&failed[..cut]),
                    Progress::Failed { why: Why::Died, .. }
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
                matches!(parse(&odd), Progress::Failed { why: Why::Died, .. }),
                "{odd:?}"
            );
        }
    }
}
