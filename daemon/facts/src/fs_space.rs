//! Free space of file systems, with a timeout, because statvfs(3) on a dead one never returns. A separate thread asks,
//! and is abandoned on timeout. At most [`THREADS`] exist; then questions are refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use remit_wire::host::FsUsage;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::read::{self, Why};

const EACH: Duration = Duration::from_millis(300);
const ALL: Duration = Duration::from_secs(2);
/// Why the space of a file system is unknown that hangs.
pub(crate) const NO_ANSWER: &str = "it did not answer in time";
/// Why nothing is known of one that has less than its time.
const LATE: &str = "not asked: earlier ones took all the time given";
/// Maximum waiting threads, of all calls together.
const THREADS: usize = 8;

#[derive(Clone, Copy)]
struct Asking {
    query_usage: fn(&Question) -> Result<FsUsage, Why>,
    each: Duration,
    all: Duration,
    waiting: &'static AtomicUsize,
}

#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) index: usize,
    /// Id of the mount that must be found at `target`.
    pub(crate) mount: u64,
    pub(crate) target: PathBuf,
}

type Answer = (usize, Result<FsUsage, Why>);

/// Asks each file system in turn. Returns one answer per question, in order, within about two seconds.
pub(crate) fn ask(questions: Vec<Question>) -> Vec<Answer> {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let asking = Asking {
        query_usage,
        each: EACH,
        all: ALL,
        waiting: &WAITING,
    };
    asking.ask(questions)
}

impl Asking {
    fn ask(self, questions: Vec<Question>) -> Vec<Answer> {
        let end = Instant::now() + self.all;
        let mut answers = Vec::with_capacity(questions.len());
        let mut left = questions.into_iter();
        while !left.as_slice().is_empty() {
            let started = match Instant::now() < end {
                true => self.start(left.as_slice().to_vec()),
                false => Err(LATE.into()),
            };
            let receiver = match started {
                Ok(receiver) => receiver,
                Err(why) => {
                    answers.extend(left.map(|question| (question.index, Err(why.clone()))));
                    break;
                }
            };
            for question in left.by_ref() {
                let patience = self.each.min(end.saturating_duration_since(Instant::now()));
                match receiver.recv_timeout(patience) {
                    Ok(answer) => answers.push((question.index, answer)),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                        let why = if patience < self.each {
                            LATE
                        } else {
                            NO_ANSWER
                        };
                        answers.push((question.index, Err(why.into())));
                        break;
                    }
                }
            }
        }
        answers
    }

    fn start(self, questions: Vec<Question>) -> Result<Receiver<Result<FsUsage, Why>>, Why> {
        let seat = Seat::take(self.waiting)?;
        let (sender, receiver) = mpsc::channel();
        let answer = move || {
            let _seat = seat;
            for question in &questions {
                if sender.send((self.query_usage)(question)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("fs-space".into())
            .spawn(answer)
            .map_err(|err| format!("cannot start a thread to ask: {err}"))?;
        Ok(receiver)
    }
}

struct Seat(&'static AtomicUsize);

impl Seat {
    fn take(waiting: &'static AtomicUsize) -> Result<Self, Why> {
        let free = |waiting| (waiting < THREADS).then_some(waiting + 1);
        match waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, free) {
            Ok(_) => Ok(Self(waiting)),
            Err(_) => Err(format!(
                "not asked: {THREADS} earlier questions to file systems still wait"
            )),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says "not visible here" of what this process may not see: the file system itself can be sound.
fn not_opened(path: &Path, errno: Errno) -> Why {
    let why = read::cannot("look at", path, &errno.into());
    match errno {
        Errno::EACCES | Errno::EPERM | Errno::ENOENT | Errno::ENOTDIR => {
            format!("not visible here: {why}")
        }
        _ => why,
    }
}

/// Asks one file system. The open descriptor makes sure that the answer is about the intended mount.
fn query_usage(question: &Question) -> Result<FsUsage, Why> {
    let path = &question.target;
    // O_PATH needs no permission on the object itself and triggers no automount.
    let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| not_opened(path, errno))?;
    if mount_id(&fd)? != question.mount {
        return Err("not visible here: another mount covers it".into());
    }
    let stat = fstatvfs(&fd).map_err(|err| read::cannot("ask", path, &err.into()))?;
    let unit = stat.fragment_size();
    Ok(usage_from_blocks(
        unit,
        stat.blocks(),
        stat.blocks_free(),
        stat.blocks_available(),
        stat.files(),
        stat.files_free(),
    ))
}

/// Returns the mount id of a descriptor (proc_pid_fdinfo(5)).
fn mount_id(fd: &OwnedFd) -> Result<u64, Why> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = read::text(Path::new(&path), 4096)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| format!("'{path}' has no mnt_id"))
}

/// Converts block counts to bytes. Rounds the percentage up, as df(1) does.
fn usage_from_blocks(
    unit: u64,
    blocks: u64,
    free: u64,
    avail: u64,
    inodes: u64,
    inodes_free: u64,
) -> FsUsage {
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    let used = blocks.saturating_sub(free);
    let usable = u128::from(used) + u128::from(avail);
    let percent = (u128::from(used) * 100)
        .checked_add(usable.saturating_sub(1))
        .and_then(|n| n.checked_div(usable));
    FsUsage {
        size: bytes(blocks),
        used: bytes(used),
        avail: bytes(avail),
        used_percent: percent
            .and_then(|percent| percent.try_into().ok())
            .unwrap_or(0),
        inodes,
        inodes_free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static HANG: Mutex<()> = Mutex::new(());

    fn questions(targets: &[&str]) -> Vec<Question> {
        let question = |(index, target): (usize, &&str)| Question {
            index,
            mount: 0,
            target: target.into(),
        };
        targets.iter().enumerate().map(question).collect()
    }

    fn stub(question: &Question) -> Result<FsUsage, Why> {
        if question.target.starts_with("/hung") {
            drop(HANG.lock().unwrap());
        }
        Ok(usage_from_blocks(1, 10, 5, 5, 0, 0))
    }

    #[test]
    fn hung_file_system_costs_own_answer_only() {
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        let hasty = Asking {
            query_usage: stub,
            each: Duration::from_millis(50),
            all: Duration::from_secs(30),
            waiting: &WAITING,
        };
        let patient = Asking {
            each: Duration::from_secs(3),
            ..hasty
        };
        let asked = |asking: Asking, targets: &[&str]| -> Vec<(usize, bool)> {
            let answers = asking.ask(questions(targets)).into_iter();
            answers
                .map(|(index, answer)| (index, answer.is_ok()))
                .collect()
        };
        let hang = HANG.lock().unwrap();
        assert_eq!(
            asked(patient, &["/a", "/hung", "/b"]),
            [(0, true), (1, false), (2, true)]
        );
        assert_eq!(
            asked(hasty, &["/hung", "/hung/2"]),
            [(0, false), (1, false)]
        );
        let _ = asked(hasty, &["/hung"; THREADS]);
        let refused = patient.ask(questions(&["/a"])).remove(0).1.unwrap_err();
        assert!(
            refused.starts_with("not asked: 8 earlier questions"),
            "{refused}"
        );
        drop(hang);
        let patience = Instant::now() + Duration::from_secs(10);
        while WAITING.load(Ordering::Acquire) > 0 {
            assert!(Instant::now() < patience, "threads were never given back");
            std::thread::yield_now();
        }
        assert_eq!(asked(patient, &["/a"]), [(0, true)]);
    }

    #[test]
    fn time_for_all_ends_the_asking() {
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        let each = Duration::from_secs(1);
        let asking = Asking {
            query_usage: stub,
            each,
            all: each * 3 / 2,
            waiting: &WAITING,
        };
        let hang = HANG.lock().unwrap();
        let answers = asking.ask(questions(&["/hung", "/hung/2", "/a"]));
        drop(hang);
        let whys: Vec<Why> = answers
            .into_iter()
            .filter_map(|(_, answer)| answer.err())
            .collect();
        assert_eq!(whys.len(), 3);
        assert_eq!(whys[0], "it did not answer in time");
        // What has less than its time is not said to be silent.
        assert_eq!(whys[1..], [LATE, LATE]);
    }

    #[test]
    fn percent_is_rounded_up_like_df() {
        for (blocks, free, avail, percent) in [
            (1000, 1000, 900, 0),
            (1000, 999, 899, 1),
            (1000, 100, 0, 100),
            (0, 0, 0, 0),
            (u64::MAX, 0, u64::MAX, 50),
            (10, 20, 20, 0),
        ] {
            assert_eq!(
                usage_from_blocks(4096, blocks, free, avail, 0, 0).used_percent,
                percent,
                "{blocks} {free} {avail}"
            );
        }
    }

    #[test]
    fn wrong_mount_id_is_an_error() {
        let covered = query_usage(&Question {
            index: 0,
            mount: u64::MAX,
            target: "/".into(),
        });
        assert_eq!(
            covered.unwrap_err(),
            "not visible here: another mount covers it"
        );
        let missing = query_usage(&Question {
            index: 0,
            mount: 1,
            target: "/no/such/path".into(),
        });
        assert_eq!(
            missing.unwrap_err(),
            "not visible here: cannot look at '/no/such/path': No such file or directory"
        );
        assert_eq!(
            not_opened(Path::new("/dead"), Errno::EIO),
            "cannot look at '/dead': I/O error"
        );
    }
}
