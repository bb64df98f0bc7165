//! The closed table of messages. The spawner answers each question but `Forget` and `Fork` of a child that waits once, in order.

use std::path::PathBuf;

use remit_sys::Error;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Ceilings, Fork, Kernel, Layer, Wanted};

/// Changes with each change of a message. Both are of one release, which the spawner checks.
pub const VERSION: u16 = 12;

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first one. Its descriptor: the switch that ends all jobs. Answer: `Ready`.
    Setup {
        version: u16,
        one_session: bool,
    },
    /// Descriptor: the socket for listeners of workers (`remit_core::bus::Order::Listener`). Ends all workers before.
    UseBus,
    /// Starts a watchdog with this uid and gid. Answer: `Watching`, with its pidfd.
    Watch {
        id: u32,
    },
    Compile(Box<Wanted>),
    /// No job will use this sandbox any more. No answer.
    Forget {
        sandbox: u64,
    },
    /// Ends the workers of all other sandboxes.
    Keep {
        sandboxes: Vec<u64>,
    },
    /// Starts a worker, and waits until it is ready.
    Warm {
        sandbox: u64,
    },
    EndWorkers,
    /// Forks a child for a job that is there; its descriptors are those of `fork`. The child has its own socket: what a job
    /// is, the spawner does not hear.
    Fork {
        sandbox: u64,
        fork: Fork,
    },
    /// Ends the worker of this sandbox, which the warden has found to hang or to be gone.
    EndWorker {
        sandbox: u64,
    },
    /// Starts a self-test as this uid and gid. Descriptor: its cgroup. Answer: `Testing`, with a pipe for [`Findings`].
    SelfTest {
        sandbox: u64,
        own: (u32, u32),
    },
    /// Asks for the socket of a worker that is ready. On it the warden asks the worker itself for a pre-forked child, by a
    /// [`Fork`] without an answer: the child's socket says if there is none. Answer: `Worker`, with the socket.
    Worker {
        sandbox: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Children that were killed or have ended, for their parent to reap.
    #[serde(deserialize_with = "children")]
    pub gone: Vec<i32>,
    /// Why a worker was lost since the last answer.
    pub lost: Option<String>,
    pub answer: Result<Answer, Failure>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Ready(Kernel),
    Watching {
        #[serde(deserialize_with = "child")]
        pid: i32,
    },
    Compiled {
        sandbox: u64,
        description: Box<Description>,
    },
    Testing,
    Worker,
}

/// Refuses a number that wait4(2) and kill(2) take for more than one process, and process 1.
fn child<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    match i32::deserialize(from)? {
        pid @ 2.. => Ok(pid),
        _ => Err(D::Error::custom("no child has this pid")),
    }
}

fn children<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i32>, D::Error> {
    let all = Vec::<i32>::deserialize(from)?;
    match all.iter().all(|pid| *pid > 1) {
        true => Ok(all),
        false => Err(D::Error::custom("no child has this pid")),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub credentials: Credentials,
    /// A child can be pre-forked for its jobs.
    pub can_wait: bool,
    /// Its jobs' processes cannot be found by the job's own uid.
    pub needs_cgroup: bool,
    /// Processes that serve each job in addition to its own. They count among the tasks of its cgroup.
    pub attendants: u64,
    /// The profile's paths, in the order of `StepFailure::at`.
    pub paths: Vec<PathBuf>,
    pub ceilings: Ceilings,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub user: Option<(u32, u32)>,
    pub groups: Vec<u32>,
    pub capabilities: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub layer: Layer,
    pub held: bool,
    pub detail: String,
}

pub type Findings = Result<Vec<Finding>, Failure>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    doing: String,
    why: Result<i32, String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused { doing, why } => Self {
                doing,
                why: Err(why),
            },
            Error::Call { doing, source } => Self {
                doing,
                why: source.raw_os_error().ok_or_else(|| source.to_string()),
            },
        }
    }
}

impl From<Failure> for Error {
    fn from(Failure { doing, why }: Failure) -> Self {
        match why {
            Ok(errno) => Self::Call {
                doing,
                source: std::io::Error::from_raw_os_error(errno),
            },
            Err(why) => Self::Refused { doing, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket;

    #[test]
    fn number_that_is_no_child_is_no_answer() {
        for pid in [i32::MIN, -1, 0, 1, 2] {
            let answers = [
                Reply {
                    gone: Vec::new(),
                    lost: None,
                    answer: Ok(Answer::Watching { pid }),
                },
                Reply {
                    gone: vec![2, pid],
                    lost: None,
                    answer: Ok(Answer::Done),
                },
            ];
            for answer in answers {
                let (one, other) = socket::pair(1).unwrap();
                socket::send(one.as_fd(), &answer, &[]).unwrap();
                let heard = socket::receive::<Reply>(other.as_fd());
                assert_eq!(heard.is_ok(), pid > 1, "{answer:?}");
            }
        }
    }
}
