//! A job on its way to another process: what of it are descriptors travels beside it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remit_sys::Limits;
use serde::{Deserialize, Serialize};

use crate::{Argument, Job, Kept, Measured, PathIs, What};

/// One job, for a child that is in its cgroup already. Its descriptors, if set: stdin, script, those of a kept view, those of
/// the arguments.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub uid: u32,
    pub gid: u32,
    pub loginuid: Option<u32>,
    pub argv: Vec<CString>,
    pub arguments: Vec<Sent>,
    pub path: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub measured: Vec<Measured>,
    pub limits: Limits,
    pub stdin: bool,
    pub script: bool,
    pub kept: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    index: usize,
    before: Vec<u8>,
    /// `None`: a secret.
    path: Option<SentPath>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentPath {
    under: CString,
    beneath: CString,
    is: PathIs,
    by_descriptor: bool,
    copy: bool,
}

impl Order {
    pub fn new(job: &Job<'_>) -> Order {
        Order {
            uid: job.uid,
            gid: job.gid,
            loginuid: job.loginuid,
            argv: job.argv.to_vec(),
            arguments: job.arguments.iter().map(Sent::new).collect(),
            path: job.path.to_vec(),
            env: job.env.to_vec(),
            cwd: job.cwd.to_owned(),
            measured: job.measured.to_vec(),
            limits: *job.limits,
            stdin: job.stdin.is_some(),
            script: job.script.is_some(),
            kept: job.kept.is_some(),
        }
    }

    /// Returns the descriptors of a job, in the order that [`Self::with`] expects.
    pub fn fds<'a>(job: &Job<'a>) -> Vec<BorrowedFd<'a>> {
        let kept = [
            job.kept.map(|kept| kept.users),
            job.kept.map(|kept| kept.tree),
        ];
        let own = [job.stdin, job.script].into_iter().chain(kept).flatten();
        let of_arguments = job
            .arguments
            .iter()
            .filter_map(|argument| match argument.what {
                What::Path { copy, .. } => copy,
                What::Secret(fd) => Some(fd),
            });
        own.chain(of_arguments).collect()
    }

    /// Joins the order and its descriptors. `None`: they are not as many as it has.
    pub fn with<'a>(&'a self, fds: &'a [OwnedFd]) -> Option<WithFds<'a>> {
        let mut left = fds.iter().map(AsFd::as_fd);
        let mut next = |there: bool| match there {
            true => left.next().map(Some).ok_or(()),
            false => Ok(None),
        };
        let stdin = next(self.stdin).ok()?;
        let script = next(self.script).ok()?;
        let kept = [next(self.kept).ok()?, next(self.kept).ok()?];
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for Sent {
            index,
            before,
            path,
        } in &self.arguments
        {
            let what = match path {
                None => What::Secret(next(true).ok()??),
                Some(path) => What::Path {
                    under: &path.under,
                    beneath: &path.beneath,
                    is: path.is,
                    by_descriptor: path.by_descriptor,
                    copy: next(path.copy).ok()?,
                },
            };
            arguments.push(Argument {
                index: *index,
                before,
                what,
            });
        }
        left.next().is_none().then_some(WithFds {
            order: self,
            arguments,
            stdin,
            script,
            kept,
        })
    }
}

impl Sent {
    fn new(argument: &Argument<'_>) -> Sent {
        Sent {
            index: argument.index,
            before: argument.before.to_vec(),
            path: match argument.what {
                What::Secret(_) => None,
                What::Path {
                    under,
                    beneath,
                    is,
                    by_descriptor,
                    copy,
                } => Some(SentPath {
                    under: under.to_owned(),
                    beneath: beneath.to_owned(),
                    is,
                    by_descriptor,
                    copy: copy.is_some(),
                }),
            },
        }
    }
}

#[derive(Debug)]
pub struct WithFds<'a> {
    order: &'a Order,
    arguments: Vec<Argument<'a>>,
    stdin: Option<BorrowedFd<'a>>,
    script: Option<BorrowedFd<'a>>,
    kept: [Option<BorrowedFd<'a>>; 2],
}

impl WithFds<'_> {
    pub fn job<'a>(&'a self, cgroup: Option<BorrowedFd<'a>>) -> Job<'a> {
        let order = self.order;
        Job {
            uid: order.uid,
            gid: order.gid,
            loginuid: order.loginuid,
            argv: &order.argv,
            arguments: &self.arguments,
            path: &order.path,
            env: &order.env,
            cwd: &order.cwd,
            stdin: self.stdin,
            script: self.script,
            kept: match self.kept {
                [Some(users), Some(tree)] => Some(Kept { users, tree }),
                _ => None,
            },
            staged: None,
            measured: &order.measured,
            cgroup,
            limits: &order.limits,
        }
    }
}
