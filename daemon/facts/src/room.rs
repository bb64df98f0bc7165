//! Room on file systems, with a deadline: statvfs(3) on a dead one never returns.
//!
//! A question is asked on a thread of its own, which is left behind where the
//! answer does not come. At most [`THREADS`] live at once; further questions
//! are then refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use remit_common::host::Room;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::read::{self, Why};

/// Time for one file system.
const EACH: Duration = Duration::from_millis(300);
/// Time for all of them.
const ALL: Duration = Duration::from_secs(2);
/// Threads that may wait for file systems, of all calls together.
const THREADS: usize = 8;

/// How file systems are asked.
#[derive(Clone, Copy)]
struct Asking {
    room: fn(&Question) -> Result<Room, Why>,
    each: Duration,
    all: Duration,
    /// Threads that wait now.
    waiting: &'static AtomicUsize,
}

/// A file system to ask.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Number of the question, given back with its answer.
    pub(crate) index: usize,
    /// Id of the mount that must be found at `target`.
    pub(crate) mount: u64,
    /// Where it is mounted.
    pub(crate) target: PathBuf,
}

type Answer = (usize, Result<Room, Why>);

/// Asks each in turn. Every question gets its answer, in order, within about two seconds.
pub(crate) fn ask(questions: Vec<Question>) -> Vec<Answer> {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let asking = Asking {
        room,
        each: EACH,
        all: ALL,
        waiting: &WAITING,
    };
    asking.ask(questions)
}

impl Asking {
    /// Asks in turn; goes on with a new thread after a question that was not answered.
    fn ask(self, questions: Vec<Question>) -> Vec<Answer> {
        let end = Instant::now() + self.all;
        let mut answers = Vec::with_capacity(questions.len());
        let mut left = questions.into_iter();
        while !left.as_slice().is_empty() {
            let started = match Instant::now() < end {
                true => self.start(left.as_slice().to_vec()),
                false => Err("not asked: earlier ones took all the time given".into()),
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
                        answers.push((question.index, Err("it did not answer in time".into())));
                        break;
                    }
                }
            }
        }
        answers
    }

    /// Starts a thread that answers `questions` in turn until nobody listens.
    fn start(self, questions: Vec<Question>) -> Result<Receiver<Result<Room, Why>>, Why> {
        let seat = Seat::take(self.waiting)?;
        let (sender, receiver) = mpsc::channel();
        let answer = move || {
            let _seat = seat;
            for question in &questions {
                if sender.send((self.room)(question)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("room".into())
            .spawn(answer)
            .map_err(|err| format!("cannot start a thread to ask: {err}"))?;
        Ok(receiver)
    }
}

/// One of the [`THREADS`]; given back when dropped.
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

/// Asks one file system. The descriptor makes sure that the mount asked is the one meant.
fn room(question: &Question) -> Result<Room, Why> {
    let path = &question.target;
    // O_PATH neither needs a right on the object itself nor wakes an automount.
    let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|err| read::cannot("look at", path, &err.into()))?;
    if mount_id(&fd)? != question.mount {
        return Err("not visible here: another mount covers it".into());
    }
    let stat = fstatvfs(&fd).map_err(|err| read::cannot("ask", path, &err.into()))?;
    let unit = stat.fragment_size();
    Ok(room_of(
        unit,
        stat.blocks(),
        stat.blocks_free(),
        stat.blocks_available(),
        stat.files(),
        stat.files_free(),
    ))
}

/// The mount a descriptor is on (proc_pid_fdinfo(5)).
fn mount_id(fd: &OwnedFd) -> Result<u64, Why> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = read::text(Path::new(&path), 4096)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| format!("'{path}' has no mnt_id"))
}

/// Counts of blocks as bytes, with the percentage rounded up as df(1) does.
fn room_of(unit: u64, blocks: u64, free: u64, avail: u64, inodes: u64, inodes_free: u64) -> Room {
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    let used = blocks.saturating_sub(free);
    let usable = u128::from(used) + u128::from(avail);
    let percent = (u128::from(used) * 100)
        .checked_add(usable.saturating_sub(1))
        .and_then(|n| n.checked_div(usable));
    Room {
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

    /// Held while a file system is to hang.
    static HANG: Mutex<()> = Mutex::new(());

    fn questions(targets: &[&str]) -> Vec<Question> {
        let question = |(index, target): (usize, &&str)| Question {
            index,
            mount: 0,
            target: target.into(),
        };
        targets.iter().enumerate().map(question).collect()
    }

    fn stub(question: &Question) -> Result<Room, Why> {
        if question.target.starts_with("/hung") {
            drop(HANG.lock().unwrap());
        }
        Ok(room_of(1, 10, 5, 5, 0, 0))
    }

    #[test]
    fn hung_file_system_costs_its_own_answer_and_no_other() {
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        let (each, all) = (Duration::from_millis(300), Duration::from_secs(30));
        let asking = Asking {
            room: stub,
            each,
            all,
            waiting: &WAITING,
        };
        let asked = |targets: &[&str]| -> Vec<(usize, bool)> {
            let answers = asking.ask(questions(targets)).into_iter();
            answers
                .map(|(index, answer)| (index, answer.is_ok()))
                .collect()
        };
        let hang = HANG.lock().unwrap();
        assert_eq!(
            asked(&["/a", "/hung", "/b"]),
            [(0, true), (1, false), (2, true)]
        );
        assert_eq!(asked(&["/hung", "/hung/2"]), [(0, false), (1, false)]);
        // Every seat taken: refused at once, and possible again when they answer.
        let _ = asked(&["/hung"; THREADS]);
        let refused = asking.ask(questions(&["/a"])).remove(0).1.unwrap_err();
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
        assert_eq!(asked(&["/a"]), [(0, true)]);
    }

    #[test]
    fn time_for_all_ends_the_asking() {
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        let each = Duration::from_millis(50);
        let asking = Asking {
            room: stub,
            each,
            all: each,
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
        assert!(whys[2].starts_with("not asked: earlier ones"), "{whys:?}");
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
                room_of(4096, blocks, free, avail, 0, 0).used_percent,
                percent,
                "{blocks} {free} {avail}"
            );
        }
    }

    #[test]
    fn wrong_mount_id_is_told() {
        let covered = room(&Question {
            index: 0,
            mount: u64::MAX,
            target: "/".into(),
        });
        assert_eq!(
            covered.unwrap_err(),
            "not visible here: another mount covers it"
        );
        let missing = room(&Question {
            index: 0,
            mount: 1,
            target: "/no/such/place".into(),
        });
        assert_eq!(
            missing.unwrap_err(),
            "cannot look at '/no/such/place': No such file or directory"
        );
    }
}
