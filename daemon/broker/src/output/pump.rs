//! Reads the pipes of a job to the end, on separate threads, and reports to the warden when all output is on disk.
//! Every read takes the lock of the pipe, which a job can hold for any time: by a splice(2) from a silent source, or a
//! write(2) from memory with slow page faults. The last close needs the lock too: see [`ForeignPipe`].

use std::cell::Cell;
use std::fs::File;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use remit_closer::ForeignPipe;
use remit_common::caps;
use remit_link::ToWarden;
use remit_wire::outcome::Stream;
use sha2::{Digest, Sha256};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::job::Job;
use crate::output::overflow::Overflow;
use crate::output::splice::{self, After, CHUNK, Moved, Turn};
use crate::output::spool::Lost;
use crate::runtime::async_fd::watch;
use crate::runtime::threads::run_blocking;
use crate::session::usage::Account;
use crate::state::Broker;

/// Maximum duration of a turn if nobody holds the pipe lock.
const LONGEST: Duration = Duration::from_millis(500);

/// Part of [`LONGEST`]: how often it is checked whether the time counts.
const TICK: Duration = Duration::from_millis(50);

/// Wait of one stream while the other one has reserved the rest of the share.
const MEANWHILE: Duration = Duration::from_millis(1);

/// The most that a job can leave in a pipe (pipe(7), pipe-max-size). Another process that holds the pipe can write forever.
const LEFT: u64 = 1 << 20;

/// Reads until both pipes end, or until [`caps::DRAIN_MS`] after the exit of the job and both are empty; then notifies
/// the warden.
pub async fn drain(broker: Rc<Broker>, job: Rc<Job>, pipes: [ForeignPipe; 2]) {
    // Keep a reference until the end: the drop here does not wait, because the closer thread closes the pipes.
    let pipes = pipes.map(Arc::new);
    let [out, err] = pipes.clone();
    job.is_unread.set(true);
    // Count before new output comes: the kept output must not change during the count. No time limit runs yet.
    broker.until_counted(&job).await;
    let freeing = Cell::new(0);
    let both = async {
        tokio::join!(
            pump(&broker, &job, Stream::Stdout, out, &freeing),
            pump(&broker, &job, Stream::Stderr, err, &freeing)
        )
    };
    let hangs = async {
        late(&job).await;
        let mut left = LONGEST;
        while !left.is_zero() {
            sleep(TICK).await;
            if freeing.get() == 0 {
                left = left.saturating_sub(TICK);
            }
        }
    };
    let (hashes, is_unread) = tokio::select! {
        ((out, out_unread), (err, err_unread)) = both => ([out, err], out_unread || err_unread),
        () = hangs => {
            tracing::warn!(job = %job.id, "job {}: its output is locked or the disk is slow after the end: the rest is left", job.id);
            ([None, None], true)
        }
    };
    job.is_unread.set(is_unread);
    job.finish_output(&broker.spool);
    let totals = job.totals(broker.digest(&job, hashes).await);
    broker.warden.tell(&ToWarden::Drained {
        job: job.id,
        totals,
    });
}

async fn late(job: &Job) {
    job.until_exited().await;
    sleep(Duration::from_millis(caps::DRAIN_MS)).await;
}

/// Reads one pipe to its end. Returns the hash of the kept output if all of it was read here, and true if output was left
/// in the pipe.
async fn pump(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: Arc<ForeignPipe>,
    freeing: &Cell<u32>,
) -> (Option<Sha256>, bool) {
    let is_new = job.output(stream).kept() == 0;
    let mut flow = Flow {
        broker,
        job,
        stream,
        account: broker.accounts.of(job.owner.uid),
        freeing,
        file: None,
        rest: None,
        hash: is_new.then(Sha256::new),
    };
    let is_unread = match flow.until_end(pipe).await {
        Ok(is_unread) => is_unread,
        Err(error) => {
            tracing::warn!(job = %job.id, "job {}: cannot read output: {error}", job.id);
            true
        }
    };
    (flow.finish().await, is_unread)
}

struct Flow<'a> {
    broker: &'a Broker,
    job: &'a Job,
    stream: Stream,
    account: Rc<Account>,
    /// Number of streams of the job that wait until output of other jobs is removed: no time of its own.
    freeing: &'a Cell<u32>,
    file: Option<Arc<File>>,
    rest: Option<Overflow>,
    hash: Option<Sha256>,
}

impl Flow<'_> {
    /// Returns true if output was left in the pipe.
    async fn until_end(&mut self, pipe: Arc<ForeignPipe>) -> std::io::Result<bool> {
        // Reads never wait for data: splice(2) is called non-blocking. `watched` is `None` while the pipe fills faster
        // than it is read: otherwise each write of the job would wake the serving thread without new information.
        let mut watched = Some(watched(&pipe)?);
        let mut late = pin!(late(self.job));
        let (since, mut taken) = (Instant::now(), 0);
        // Bytes that may still be read, once it is late.
        let mut left: Option<u64> = None;
        loop {
            // Select only between turns, so that moved bytes are always counted.
            let mut ready = match left {
                None => tokio::select! {
                    biased;
                    () = &mut late => {
                        tracing::warn!(job = %self.job.id, "job {}: output is still open after the end", self.job.id);
                        left = Some(LEFT);
                        continue;
                    }
                    ready = readable(watched.as_ref()) => ready?,
                },
                Some(_) if !splice::has_data(&*pipe) => return Ok(false),
                Some(0) => return Ok(true),
                Some(_) => None,
            };
            if (ready.as_ref()).is_some_and(|ready| ready.ready() == Ready::READ_CLOSED) {
                return Ok(false);
            }
            let now = Instant::now();
            let turn = match self.broker.pace.turn(self.job.id, since, taken, now) {
                Ok(turn) => left.map_or(turn, |left| turn.at_once(left)),
                Err(pause) => {
                    taken = 0;
                    sleep(pause).await;
                    continue;
                }
            };
            let (moved, after) = match self.turn(&pipe, turn).await {
                Err(Errno::EINTR) => continue,
                turned => turned?,
            };
            if moved > 0 {
                taken = taken.saturating_add(moved);
                left = left.map(|left| left.saturating_sub(moved));
                self.job.note_output(self.stream);
            }
            match (after, &mut ready) {
                (After::End, _) => return Ok(false),
                (After::Empty, _) if left.is_some() => {}
                (After::Empty, Some(ready)) => ready.clear_ready(),
                // A new registration reports data that came meanwhile at once.
                (After::Empty, None) => watched = Some(self::watched(&pipe)?),
                (After::More, _) => {
                    if moved >= CHUNK {
                        watched = None;
                    }
                    yield_now().await;
                }
            }
        }
    }

    async fn turn(&mut self, pipe: &Arc<ForeignPipe>, turn: Turn) -> Result<(u64, After), Errno> {
        let (broker, job) = (self.broker, self.job);
        let limit = broker.spool.limits.per_job;
        let share = limit.saturating_sub(job.kept());
        if !job.output(self.stream).has_lost() && self.rest.is_none() && share > 0 {
            self.freeing.set(self.freeing.get().saturating_add(1));
            let free_space = broker.free_space(job).await;
            self.freeing.set(self.freeing.get().saturating_sub(1));
            // Its own output may have been removed meanwhile, once it has ended.
            if job.output(self.stream).has_lost() {
                return Ok((0, After::More));
            }
            let why = match free_space {
                Err(full) => full.sentence(),
                Ok(free_space) => {
                    // The bytes reserved by the other stream are not free, except for one chunk: it may use none.
                    let free = share.saturating_add(CHUNK).saturating_sub(job.taking.get());
                    let bytes = turn.bytes.min(free_space).min(free).min(share);
                    if bytes == 0 {
                        sleep(MEANWHILE).await;
                        return Ok((0, After::More));
                    }
                    match self.keep(pipe, Turn { bytes, ..turn }).await {
                        Ok(moved) => return Ok(moved),
                        Err(errno) => errno.desc().to_owned(),
                    }
                }
            };
            tracing::warn!(job = %job.id, "job {}: the spool takes no more: {why}", job.id);
            job.lose(Lost::Full(why));
        }
        let moved = match self.count(pipe).await {
            Err(Errno::EAGAIN) => return Ok((0, After::Empty)),
            counted => counted?,
        };
        if share == 0 && moved > 0 && job.lose_share(limit) {
            broker.warden.tell(&ToWarden::OverLimit { job: job.id });
        }
        let after = if moved == 0 { After::End } else { After::More };
        Ok((moved, after))
    }

    async fn keep(&mut self, pipe: &Arc<ForeignPipe>, turn: Turn) -> Result<(u64, After), Errno> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                self.job.makes_files();
                let file = self.broker.spool.create(self.job.id, self.stream)?;
                self.file.insert(Arc::new(file))
            }
        };
        let (pipe, file) = (Arc::clone(pipe), Arc::clone(file));
        let output = self.job.output(self.stream);
        let offset = output.kept();
        let mut hash = self.hash.take();
        let take = move || {
            let taken = splice::take(&*pipe, &file, offset, turn, &mut hash);
            (taken, hash)
        };
        let taking = &self.job.taking;
        taking.set(taking.get().saturating_add(turn.bytes));
        let taken = self.on_thread(take).await;
        taking.set(taking.get().saturating_sub(turn.bytes));
        let (taken, hash) = taken?;
        self.hash = hash;
        let (moved, after) = taken?;
        output.keep(moved);
        self.broker.spool.grew(moved.bytes);
        Ok((moved.bytes, after))
    }

    async fn count(&mut self, pipe: &Arc<ForeignPipe>) -> Result<u64, Errno> {
        let mut rest = match self.rest.take() {
            Some(rest) => rest,
            None => self.rest().await?,
        };
        let was_on_disk = rest.is_on_disk();
        let pipe = Arc::clone(pipe);
        let turn = move || {
            let moved = rest.turn(&*pipe);
            (rest, moved)
        };
        let (rest, moved) = self.on_thread(turn).await?;
        if was_on_disk && !rest.is_on_disk() {
            self.broker.spool.remove_more(self.job.id, self.stream);
        }
        let output = self.job.output(self.stream);
        output.count(moved.unwrap_or_default(), &rest);
        self.rest = Some(rest);
        Ok(moved?.bytes)
    }

    /// Runs what can block on the pipe's lock.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Errno> {
        let turn = self.account.pipe_turn().await;
        let done = run_blocking(move || (work(), turn)).await;
        done.map(|(done, _)| done).ok_or(Errno::EIO)
    }

    async fn rest(&self) -> Result<Overflow, Errno> {
        let (spool, id) = (&self.broker.spool, self.job.id);
        self.job.makes_files();
        let lines = self.broker.recovered_lines(self.job, self.stream).await;
        let reach = self.job.output(self.stream).reach(lines);
        match (
            spool.create_more(id, self.stream),
            spool.note(id, self.stream),
        ) {
            (Ok(file), Ok(note)) => Ok(Overflow::on_disk(file, note, reach)),
            (file, note) => {
                let error = file.err().map(|errno| errno.to_string());
                let error = error.or(note.as_ref().err().map(ToString::to_string));
                let error = error.unwrap_or_default();
                tracing::warn!(job = %id, "job {id}: the rest of its output is held in memory: {error}");
                spool.remove_more(id, self.stream);
                Overflow::in_memory(note.ok(), reach)
            }
        }
    }

    async fn finish(mut self) -> Option<Sha256> {
        let Some(mut rest) = self.rest.take() else {
            return self.hash;
        };
        let trim = move || {
            let trimmed = rest.trim(1);
            (rest, trimmed)
        };
        let output = self.job.output(self.stream);
        if let Some((rest, trimmed)) = run_blocking(trim).await {
            if let Err(error) = trimmed {
                tracing::warn!(job = %self.job.id, "job {}: cannot discard output beyond the kept part: {error}", self.job.id);
            }
            output.count(Moved::default(), &rest);
            if !(rest.is_on_disk() && output.has_lost()) {
                self.broker.spool.remove_more(self.job.id, self.stream);
            }
        }
        self.hash
    }
}

fn watched(pipe: &Arc<ForeignPipe>) -> std::io::Result<AsyncFd<Arc<ForeignPipe>>> {
    watch(Arc::clone(pipe), Interest::READABLE)
}

async fn readable(
    watched: Option<&AsyncFd<Arc<ForeignPipe>>>,
) -> std::io::Result<Option<AsyncFdReadyGuard<'_, Arc<ForeignPipe>>>> {
    match watched {
        Some(watched) => watched.readable().await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::registry::tests::{ending, job};
    use crate::output::spool::tests::Scratch;
    use crate::output::spool::{Spool, SpoolLimits};
    use crate::runtime::blocking::BACKGROUND_TASKS;
    use crate::session::usage::PIPES;
    use nix::fcntl::{SpliceFFlags, splice};
    use remit_closer::Closer;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn output_awaiting_count_is_not_abandoned() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.path, SpoolLimits::default()).unwrap();
        let broker = Rc::new(Broker::new(spool));
        let job = job(&broker.spool, 1, 9, b"a\n");
        let ((out, mut writer), (err, _)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        writer.write_all(b"b\n").unwrap();
        drop(writer);
        job.exited();
        let permits = broker
            .background
            .acquire_many(BACKGROUND_TASKS as u32)
            .await
            .unwrap();
        let busy = async {
            sleep(Duration::from_millis(caps::DRAIN_MS) + 2 * LONGEST).await;
            drop(permits);
        };
        let closer = Closer::default();
        let pipes = [out.into(), err.into()].map(|pipe| ForeignPipe::new(pipe, &closer));
        tokio::join!(drain(Rc::clone(&broker), Rc::clone(&job), pipes), busy);
        let output = job.output(Stream::Stdout);
        assert_eq!((output.written(), output.lines()), (4, 2));
    }

    /// The paused clock goes on when nothing else is to do: the broker has all the time that it takes here.
    #[tokio::test(start_paused = true)]
    async fn k02_output_awaiting_space_is_not_abandoned() {
        let scratch = Scratch::new();
        let limits = SpoolLimits {
            per_job: 2,
            per_user: 2,
            total: 100,
        };
        let broker = Rc::new(Broker::new(Spool::open(&scratch.path, limits).unwrap()));
        let [before, job] = [(1, b"a\n".as_slice()), (2, b"")]
            .map(|(number, text)| job(&broker.spool, number, 9, text));
        for job in [&before, &job] {
            broker.jobs.add(Rc::clone(job));
        }
        broker.jobs.end(before.id, ending());
        let ((out, mut writer), (err, held)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        writer.write_all(b"b\nc\n").unwrap();
        job.exited();
        let removing = broker.removing.acquire().await.unwrap();
        let busy = async {
            sleep(Duration::from_millis(caps::DRAIN_MS) + 4 * LONGEST).await;
            drop(removing);
        };
        let closer = Closer::default();
        let pipes = [out, err].map(|pipe| ForeignPipe::new(pipe.into(), &closer));
        tokio::join!(drain(Rc::clone(&broker), Rc::clone(&job), pipes), busy);
        let output = job.output(Stream::Stdout);
        assert_eq!((output.kept(), output.written()), (2, 4));
        job.end(ending());
        let notes = job.report(&broker.spool, None).0.notes;
        assert!(
            notes.len() == 1 && notes[0].contains("more than 2 bytes"),
            "{notes:?}"
        );
        drop((writer, held));
    }

    /// Holds the lock of the pipe of `writer`, by a splice(2) from a silent socket. It is released when the returned
    /// socket is dropped, or after 30 s; the flag reports it.
    fn locked(writer: std::io::PipeWriter) -> (UnixStream, Arc<AtomicBool>) {
        let (near, silent) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let let_go = Arc::new(AtomicBool::new(false));
        let (done, (says, said)) = (Arc::clone(&let_go), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            says.send(nix::unistd::gettid()).unwrap();
            let _ = splice(&near, None, &writer, None, 4096, SpliceFFlags::empty());
            done.store(true, Ordering::SeqCst);
        });
        let task = format!("/proc/self/task/{}/", said.recv().unwrap());
        // State S in splice: the thread holds the lock. A thread that waits for the lock is in state D.
        let read = |name: &str| std::fs::read_to_string(task.clone() + name).unwrap();
        let splice = format!("{} ", libc::SYS_splice);
        while !(read("stat").contains(") S ") && read("syscall").starts_with(&splice)) {
            std::thread::yield_now();
        }
        (silent, let_go)
    }

    #[tokio::test]
    async fn k01_locked_pipe_is_abandoned_without_blocking() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.path, SpoolLimits::default()).unwrap();
        let broker = Rc::new(Broker::new(spool));
        let job = job(&broker.spool, 1, 9, b"");
        let ((out, mut out_end), (err, err_end)) =
            (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        out_end.write_all(b"left").unwrap();
        let locks = [locked(out_end), locked(err_end)];
        let closer = Closer::default();
        let pipes = [out, err].map(|pipe| ForeignPipe::new(pipe.into(), &closer));
        job.exited();
        drain(Rc::clone(&broker), Rc::clone(&job), pipes).await;
        let waited = |(_, let_go): &(UnixStream, Arc<AtomicBool>)| let_go.load(Ordering::SeqCst);
        assert!(!locks.iter().any(waited));
        let account = broker.accounts.of(9);
        assert_eq!(account.pipes_read(), 1, "its thread is still in splice");
        job.end(ending());
        let notes = job.report(&broker.spool, None).0.notes;
        assert!(
            notes.len() == 1 && notes[0].contains("the rest is missing"),
            "{notes:?}"
        );
    }

    /// The threads that are left in locked pipes are its user's, and no other user's jobs go without one.
    #[tokio::test(start_paused = true)]
    async fn k03_user_with_all_threads_left_delays_no_other() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.path, SpoolLimits::default()).unwrap();
        let broker = Rc::new(Broker::new(spool));
        let closer = Closer::default();
        let account = broker.accounts.of(9);
        let mut left = Vec::new();
        for _ in 0..PIPES {
            left.push(account.pipe_turn().await);
        }
        for (number, uid, notes) in [(1, 9, 1), (2, 8, 0)] {
            let job = job(&broker.spool, number, uid, b"");
            let ((out, mut writer), (err, _)) =
                (std::io::pipe().unwrap(), std::io::pipe().unwrap());
            writer.write_all(b"text").unwrap();
            drop(writer);
            job.exited();
            let pipes = [out, err].map(|pipe| ForeignPipe::new(pipe.into(), &closer));
            drain(Rc::clone(&broker), Rc::clone(&job), pipes).await;
            job.end(ending());
            assert_eq!(job.report(&broker.spool, None).0.notes.len(), notes);
        }
    }
}
