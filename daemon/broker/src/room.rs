//! Room for more output: how much there is, and whose goes first where there is none.

use std::rc::Rc;

use remit_common::caps;

use crate::aside::aside;
use crate::broker::Broker;
use crate::job::Job;
use crate::lost::size;
use crate::pipe::CHUNK;

/// Streams that may write at the same time.
pub const STREAMS: u64 = 2 * caps::JOBS as u64;

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The share of the job's owner.
    User(u64),
    /// The whole spool.
    Total(u64),
    /// The disk, but for what is left to others.
    Disk,
}

impl Full {
    /// What is used up, in words.
    pub fn sentence(self) -> String {
        match self {
            Self::User(share) => {
                format!("its user has {} of it, all from jobs that run", size(share))
            }
            Self::Total(share) => format!("it has {}, all from jobs that run", size(share)),
            Self::Disk => "its file system is almost full".to_owned(),
        }
    }
}

/// What one of so many that take at the same time may take of what is left, so that together they take no more
/// than there is; but for the last of it, of which each may take a chunk.
pub fn portion(left: u64, takers: u64) -> u64 {
    let portion = left.checked_div(takers).unwrap_or(left);
    portion.max(CHUNK).min(left)
}

impl Broker {
    /// How much of a job's output may be kept in one turn now. Output of the oldest ended jobs goes first if need be: that of
    /// the same user where it has its share, else anybody's.
    ///
    /// # Errors
    /// There is no room, and nothing that may go.
    pub async fn room(&self, job: &Job) -> Result<u64, Full> {
        let uid = job.owner.uid;
        if let Ok(room) = self.room_now(uid) {
            return Ok(room);
        }
        // One after the other: what one removes is room for the next too.
        let _turn = self.removing.acquire().await;
        loop {
            let full = match self.room_now(uid) {
                Ok(room) => return Ok(room),
                Err(full) => full,
            };
            let oldest = match full {
                Full::User(_) => self.jobs.oldest_ended(|job| job.owner.uid == uid),
                Full::Total(_) | Full::Disk => self.jobs.oldest_ended(|_| true),
            };
            let oldest: Rc<Job> = oldest.ok_or(full)?;
            // The counts stay when the bytes go.
            self.until_counted(&oldest).await;
            let files = self.jobs.remove_output(&oldest, &self.spool);
            // The disk has no more room before.
            aside(move || drop(files)).await;
        }
    }

    fn room_now(&self, uid: u32) -> Result<u64, Full> {
        let limits = self.spool.limits;
        let own = limits
            .per_user
            .saturating_sub(self.jobs.kept_of(&self.spool, uid));
        let all = limits.total.saturating_sub(self.spool.used());
        match (own, all, self.spool.room_on_disk()) {
            (0, _, _) => Err(Full::User(limits.per_user)),
            (_, 0, _) => Err(Full::Total(limits.total)),
            (_, _, 0) => Err(Full::Disk),
            (own, all, disk) => Ok(portion(own.min(all), STREAMS).min(disk)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::{ending, job, meta};
    use crate::notes::About;
    use crate::pipe::Moved;
    use crate::spool::tests::Scratch;
    use crate::spool::{Gap, Limits, Spool};
    use remit_common::names::JobId;
    use remit_common::outcome::{JobReport, Stream};
    use remit_link::JobMeta;

    const LIMITS: Limits = Limits {
        per_job: 100,
        per_user: 20,
        total: 30,
    };

    /// A broker with five jobs that kept `a\nb\n`: 1 of user 8, the others of user 9. All but 5 have ended.
    fn broker(scratch: &Scratch) -> (Broker, [Rc<Job>; 5]) {
        let broker = Broker::new(Spool::open(&scratch.path, LIMITS).unwrap());
        let jobs = [1, 2, 3, 4, 5].map(|number| {
            let owner = if number == 1 { 8 } else { 9 };
            let job = job(&broker.spool, number, owner, b"a\nb\n");
            broker.jobs.add(Rc::clone(&job));
            job
        });
        for job in &jobs[..4] {
            broker.jobs.end(job.id, ending());
        }
        (broker, jobs)
    }

    #[test]
    fn what_all_take_at_once_is_no_more_than_there_is_but_for_a_chunk_of_each() {
        for (left, takers, expect) in [
            (0, 2, 0),
            (1, 2, 1),
            (CHUNK, 2, CHUNK),
            (3 * CHUNK, 2, 3 * CHUNK / 2),
            (3 * CHUNK, 100, CHUNK),
            (1000 * CHUNK, 100, 10 * CHUNK),
            (u64::MAX, 1, u64::MAX),
            (7, 0, 7),
        ] {
            assert_eq!(portion(left, takers), expect, "{left} of {takers}");
        }
    }

    fn report(broker: &Broker, job: &Job) -> JobReport {
        job.report(&broker.spool, None).0
    }

    fn grow(broker: &Broker, job: &Job, bytes: u64) {
        job.output(Stream::Stdout).keep(Moved { bytes, lines: 0 });
        broker.spool.grew(bytes);
    }

    #[tokio::test]
    async fn the_oldest_ended_output_of_the_same_user_goes_first() {
        let scratch = Scratch::new();
        let (broker, [others, second, third, fourth, running]) = broker(&scratch);
        assert_eq!(broker.room(&running).await, Ok(4));
        grow(&broker, &running, 4);
        assert_eq!(
            broker.room(&running).await,
            Ok(4),
            "that of the second went"
        );
        let left = |job: &Job| report(&broker, job).stdout.head.len();
        assert_eq!(
            [&others, &second, &third, &fourth].map(|job| left(job)),
            [4, 0, 4, 4]
        );
        grow(&broker, &running, 12);
        assert_eq!(broker.room(&running).await, Err(Full::User(20)));
        assert_eq!([&others, &third, &fourth].map(|job| left(job)), [4, 0, 0]);
        assert_eq!(left(&running), 4, "what runs keeps its own");
        // Somebody else has room, until all is full.
        assert_eq!(broker.room(&others).await, Ok(6));
        broker.spool.grew(6);
        assert_eq!(broker.room(&others).await, Ok(4));
        assert_eq!(left(&others), 0);
        broker.spool.grew(4);
        assert_eq!(broker.room(&others).await, Err(Full::Total(30)));
    }

    #[tokio::test]
    async fn what_was_removed_is_counted_by_this_broker_and_the_next() {
        let scratch = Scratch::new();
        let (broker, [_, second, .., running]) = broker(&scratch);
        grow(&broker, &running, 4);
        broker.room(&running).await.unwrap();
        let gap = Gap {
            base: 0,
            from: 0,
            to: 4,
            lines: 2,
        };
        assert_eq!(broker.spool.gaps(second.id), Ok([gap, Gap::default()]));
        let again = JobMeta {
            ending: Some(ending()),
            ..meta(2, 9)
        };
        let again = Job::adopted(again, About::default(), &broker.spool);
        broker.until_counted(&again).await;
        for (job, told) in [
            (&*second, "removed to make room"),
            (&again, "0 bytes are, of 4 bytes (2 newlines)"),
        ] {
            let report = report(&broker, job);
            assert_eq!(
                (
                    report.stdout.total,
                    report.stdout.lines,
                    report.stdout.omitted()
                ),
                (4, 2, 4)
            );
            assert!(report.notes[0].contains(told), "{:?}", report.notes);
        }
    }

    /// A broker may die between the note and the last of the files.
    #[tokio::test]
    async fn a_removal_that_was_begun_is_ended() {
        let scratch = Scratch::new();
        let (broker, [_, second, ..]) = broker(&scratch);
        let gap = Gap {
            base: 0,
            from: 0,
            to: 4,
            lines: 2,
        };
        broker
            .spool
            .note(second.id, Stream::Stdout)
            .unwrap()
            .write(gap)
            .unwrap();
        let again = Job::adopted(meta(2, 9), About::default(), &broker.spool);
        broker.until_counted(&again).await;
        let stdout = report(&broker, &again).stdout;
        assert_eq!((stdout.total, stdout.lines, stdout.head.len()), (4, 2, 0));
        assert!(
            broker
                .spool
                .find(JobId([2; 16]), Stream::Stdout)
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn what_somebody_else_took_away_is_told() {
        let scratch = Scratch::new();
        let (broker, [_, second, third, ..]) = broker(&scratch);
        std::fs::remove_file(scratch.path.join(format!("{}.out", second.id))).unwrap();
        std::fs::write(scratch.path.join(format!("{}.out", third.id)), "a").unwrap();
        for job in [second, third] {
            let notes = report(&broker, &job).notes;
            assert!(notes[0].contains("not there any more"), "{notes:?}");
        }
    }
}
