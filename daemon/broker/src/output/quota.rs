//! Free space for output, and what is removed to get more. A reserve of the file system is left to others.

use std::rc::Rc;

use remit_common::text::size;

use super::disk::{STREAMS, portion};
use crate::job::Job;
use crate::runtime::threads::run_blocking;
use crate::state::Broker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    User(u64),
    Total(u64),
    /// The disk, except for its reserve.
    Disk,
}

impl Full {
    pub fn sentence(self) -> String {
        match self {
            Self::User(share) => {
                format!("its user has {} of it, all from running jobs", size(share))
            }
            Self::Total(share) => format!("it has {}, all from running jobs", size(share)),
            Self::Disk => "its file system is almost full".to_owned(),
        }
    }
}

impl Broker {
    /// Returns how many bytes of a job's output may be kept in one turn. If necessary, removes output of the oldest
    /// ended jobs: of the same user if its quota is used up, otherwise of any user. Fails if nothing can be removed.
    pub async fn free_space(&self, job: &Job) -> Result<u64, Full> {
        let uid = job.owner.uid;
        if let Ok(free_space) = self.free_space_now(uid) {
            return Ok(free_space);
        }
        // One at a time, because space freed for one job also serves the next.
        let _turn = self.removing.acquire().await;
        loop {
            let full = match self.free_space_now(uid) {
                Ok(free_space) => return Ok(free_space),
                Err(full) => full,
            };
            let oldest = match full {
                Full::User(_) => self.jobs.oldest_ended(|job| job.owner.uid == uid),
                Full::Total(_) | Full::Disk => self.jobs.oldest_ended(|_| true),
            };
            let oldest: Rc<Job> = oldest.ok_or(full)?;
            // Count lines before the removal, because the counts stay.
            self.count_to_free(&oldest).await;
            let files = self.jobs.remove_output(&oldest, &self.spool);
            // Wait for the close: the disk space is free only after it.
            run_blocking(move || drop(files)).await;
        }
    }

    fn free_space_now(&self, uid: u32) -> Result<u64, Full> {
        let limits = self.spool.limits;
        let own = limits
            .per_user
            .saturating_sub(self.jobs.kept_of(&self.spool, uid));
        let all = limits.total.saturating_sub(self.spool.used());
        match (own, all, self.spool.free_on_disk()) {
            (0, _, _) => Err(Full::User(limits.per_user)),
            (_, 0, _) => Err(Full::Total(limits.total)),
            (_, _, 0) => Err(Full::Disk),
            (own, all, disk) => Ok(portion(own.min(all), STREAMS).min(disk)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use remit_common::names::JobId;
    use remit_link::JobMeta;
    use remit_wire::outcome::{JobReport, Stream};
    use tokio::time::timeout;

    use super::*;
    use crate::hints::notes::About;
    use crate::job::registry::tests::{ending, job, meta};
    use crate::output::splice::Moved;
    use crate::output::spool::tests::Scratch;
    use crate::output::spool::{LostRange, Spool, SpoolLimits};

    const LIMITS: SpoolLimits = SpoolLimits {
        per_job: 100,
        per_user: 20,
        total: 30,
    };

    /// Five jobs that kept `a\nb\n`: 1 of user 8, the others of user 9. All but 5 have ended.
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

    fn report(broker: &Broker, job: &Job) -> JobReport {
        job.report(&broker.spool, None).0
    }

    fn grow(broker: &Broker, job: &Job, bytes: u64) {
        job.output(Stream::Stdout).keep(Moved { bytes, lines: 0 });
        broker.spool.grew(bytes);
    }

    #[tokio::test]
    async fn oldest_ended_output_of_user_is_removed_first() {
        let scratch = Scratch::new();
        let (broker, [others, second, third, fourth, running]) = broker(&scratch);
        assert_eq!(broker.free_space(&running).await, Ok(4));
        grow(&broker, &running, 4);
        assert_eq!(
            broker.free_space(&running).await,
            Ok(4),
            "that of the second went"
        );
        let left = |job: &Job| report(&broker, job).stdout.head.len();
        assert_eq!(
            [&others, &second, &third, &fourth].map(|job| left(job)),
            [4, 0, 4, 4]
        );
        grow(&broker, &running, 12);
        assert_eq!(broker.free_space(&running).await, Err(Full::User(20)));
        assert_eq!([&others, &third, &fourth].map(|job| left(job)), [4, 0, 0]);
        assert_eq!(left(&running), 4, "what runs keeps its own");
        assert_eq!(broker.free_space(&others).await, Ok(6));
        broker.spool.grew(6);
        assert_eq!(broker.free_space(&others).await, Ok(4));
        assert_eq!(left(&others), 0);
        broker.spool.grew(4);
        assert_eq!(broker.free_space(&others).await, Err(Full::Total(30)));
    }

    /// The owner of the oldest output has calls that take long, and one that is about this output.
    #[tokio::test]
    async fn calls_of_its_owner_do_not_delay_the_removal_of_output() {
        let scratch = Scratch::new();
        let (broker, [others, .., running]) = broker(&scratch);
        let account = broker.accounts.of(others.owner.uid);
        let _busy = account.background_turn().await;
        let mut asked = pin!(broker.until_counted(&others));
        let soon = Duration::from_millis(10);
        assert!(timeout(soon, &mut asked).await.is_err());
        broker.spool.grew(10);
        let freed = timeout(Duration::from_secs(10), broker.free_space(&running));
        assert_eq!(freed.await.expect("it is soon free"), Ok(4));
        let stdout = report(&broker, &others).stdout;
        assert_eq!((stdout.lines, stdout.head.len()), (2, 0));
    }

    #[tokio::test]
    async fn removed_output_stays_counted_after_restart() {
        let scratch = Scratch::new();
        let (broker, [_, second, .., running]) = broker(&scratch);
        grow(&broker, &running, 4);
        broker.free_space(&running).await.unwrap();
        let gap = LostRange {
            base: 0,
            from: 0,
            to: 4,
            lines: 2,
        };
        assert_eq!(
            broker.spool.gaps(second.id),
            Ok([gap, LostRange::default()])
        );
        let again = JobMeta {
            ending: Some(ending()),
            ..meta(2, 9)
        };
        let again = Job::adopted(again, About::default(), &broker.spool);
        broker.until_counted(&again).await;
        for (job, expected_note) in [
            (&*second, "removed to free space"),
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
            assert!(
                report.notes[0].contains(expected_note),
                "{:?}",
                report.notes
            );
        }
    }

    #[tokio::test]
    async fn interrupted_removal_is_finished() {
        let scratch = Scratch::new();
        let (broker, [_, second, ..]) = broker(&scratch);
        let gap = LostRange {
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
    async fn output_removed_by_others_is_reported() {
        let scratch = Scratch::new();
        let (broker, [_, second, third, ..]) = broker(&scratch);
        std::fs::remove_file(scratch.path.join(format!("{}.out", second.id))).unwrap();
        std::fs::write(scratch.path.join(format!("{}.out", third.id)), "a").unwrap();
        for job in [second, third] {
            let notes = report(&broker, &job).notes;
            assert!(notes[0].contains("no longer there"), "{notes:?}");
        }
    }
}
