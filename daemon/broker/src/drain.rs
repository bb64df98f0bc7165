//! Empties the pipes of a job until its end, and says when all is on disk.
//!
//! Pipes are read on threads of their own: whoever reads a pipe takes its lock, also without
//! waiting for data, and a job can hold that lock as long as it likes: by a splice(2) from what
//! gives nothing, by a write(2) of memory whose page faults last. Then that one thread waits,
//! and nobody else.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use remit_common::caps;
use remit_common::outcome::Stream;
use remit_link::ToWarden;
use sha2::{Digest, Sha256};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::aside::aside;
use crate::broker::Broker;
use crate::job::Job;
use crate::lost::Lost;
use crate::pipe::{self, After, CHUNK, Moved, Turn};
use crate::rest::Rest;
use crate::watch::watch;

/// What a turn takes at most, where nobody keeps the pipe locked.
const LONGEST: Duration = Duration::from_millis(500);

/// How long one stream waits for what the other one leaves of the last bytes of their share.
const MEANWHILE: Duration = Duration::from_millis(1);

/// Reads until both pipes end (or the job has exited and a moment has passed), then tells the warden.
pub async fn drain(broker: Rc<Broker>, job: Rc<Job>, [out, err]: [OwnedFd; 2]) {
    // Before more comes: what an earlier broker left must not move while it is counted. No time limit runs meanwhile.
    broker.until_counted(&job).await;
    let both = async {
        tokio::join!(
            pump(&broker, &job, Stream::Stdout, out),
            pump(&broker, &job, Stream::Stderr, err)
        )
    };
    let hangs = async {
        late(&job).await;
        sleep(LONGEST).await;
    };
    let hashes = tokio::select! {
        (out, err) = both => [out, err],
        () = hangs => {
            tracing::warn!(job = %job.id, "somebody keeps its output locked after the end");
            [None, None]
        }
    };
    job.settle(&broker.spool);
    let totals = job.totals(broker.digest(&job, hashes).await);
    broker.warden.tell(&ToWarden::Drained {
        job: job.id,
        totals,
    });
}

/// Waits until output that is still open is no longer waited for.
async fn late(job: &Job) {
    job.until_exited().await;
    sleep(Duration::from_millis(caps::DRAIN_MS)).await;
}

/// Empties one pipe. The hash of all that is kept of its stream, where that was read here from its first byte.
async fn pump(broker: &Broker, job: &Job, stream: Stream, pipe: OwnedFd) -> Option<Sha256> {
    let is_new = job.output(stream).kept() == 0;
    let mut flow = Flow {
        broker,
        job,
        stream,
        file: None,
        rest: None,
        hash: is_new.then(Sha256::new),
    };
    if let Err(error) = flow.until_end(pipe).await {
        tracing::warn!(job = %job.id, %error, "cannot read output");
    }
    flow.finish().await
}

/// A stream on its way.
struct Flow<'a> {
    broker: &'a Broker,
    job: &'a Job,
    stream: Stream,
    /// Its file, while that takes more.
    file: Option<Arc<File>>,
    /// What takes the rest.
    rest: Option<Rest>,
    /// Of what is in its file.
    hash: Option<Sha256>,
}

impl Flow<'_> {
    async fn until_end(&mut self, pipe: OwnedFd) -> std::io::Result<()> {
        // No read of it waits for data: splice(2) is told so.
        let pipe = Arc::new(pipe);
        // Absent while the pipe fills faster than it is emptied: each write of the job would wake the one thread that
        // serves, to learn what it knows.
        let mut watched = Some(watched(&pipe)?);
        let mut late = pin!(late(self.job));
        let (since, mut taken) = (Instant::now(), 0);
        loop {
            // Only between turns: what was moved is counted.
            let mut ready = tokio::select! {
                biased;
                () = &mut late => {
                    tracing::warn!(job = %self.job.id, "output is still open after the end");
                    return Ok(());
                }
                ready = readable(watched.as_ref()) => ready?,
            };
            // Nobody can write to it any more, and what they wrote was taken.
            if (ready.as_ref()).is_some_and(|ready| ready.ready() == Ready::READ_CLOSED) {
                return Ok(());
            }
            let now = Instant::now();
            let turn = match self.broker.pace.turn(self.job.id, since, taken, now) {
                Ok(turn) => turn,
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
                self.job.wrote(self.stream);
            }
            match (after, &mut ready) {
                (After::End, _) => return Ok(()),
                (After::Empty, Some(ready)) => ready.clear_ready(),
                // What came meanwhile is told at once.
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

    /// Moves what one turn allows: into the spool while it takes it, else beyond.
    async fn turn(&mut self, pipe: &Arc<OwnedFd>, turn: Turn) -> Result<(u64, After), Errno> {
        let (broker, job) = (self.broker, self.job);
        let limit = broker.spool.limits.per_job;
        let share = limit.saturating_sub(job.kept());
        if !job.output(self.stream).has_lost() && self.rest.is_none() && share > 0 {
            let why = match broker.room(job).await {
                Err(full) => full.sentence(),
                Ok(room) => {
                    // What the other stream may take meanwhile is not free, but for a chunk: it may take none of it.
                    let free = share.saturating_add(CHUNK).saturating_sub(job.taking.get());
                    let bytes = turn.bytes.min(room).min(free).min(share);
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
            tracing::warn!(job = %job.id, why, "the spool takes no more");
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

    async fn keep(&mut self, pipe: &Arc<OwnedFd>, turn: Turn) -> Result<(u64, After), Errno> {
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
            let taken = pipe::take(&*pipe, &file, offset, turn, &mut hash);
            (taken, hash)
        };
        let taking = &self.job.taking;
        taking.set(taking.get().saturating_add(turn.bytes));
        let taken = aside(take).await;
        taking.set(taking.get().saturating_sub(turn.bytes));
        let (taken, hash) = taken.ok_or(Errno::EIO)?;
        self.hash = hash;
        let (moved, after) = taken?;
        output.keep(moved);
        self.broker.spool.grew(moved.bytes);
        Ok((moved.bytes, after))
    }

    async fn count(&mut self, pipe: &Arc<OwnedFd>) -> Result<u64, Errno> {
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
        let (rest, moved) = aside(turn).await.ok_or(Errno::EIO)?;
        if was_on_disk && !rest.is_on_disk() {
            self.broker.spool.remove_more(self.job.id, self.stream);
        }
        let output = self.job.output(self.stream);
        output.count(moved.unwrap_or_default(), &rest);
        self.rest = Some(rest);
        Ok(moved?.bytes)
    }

    /// What takes the rest: a file, or memory where the disk takes none.
    async fn rest(&self) -> Result<Rest, Errno> {
        let (spool, id) = (&self.broker.spool, self.job.id);
        self.job.makes_files();
        let lines = self.broker.lines_left(self.job, self.stream).await;
        let reach = self.job.output(self.stream).reach(lines);
        match (
            spool.create_more(id, self.stream),
            spool.note(id, self.stream),
        ) {
            (Ok(file), Ok(note)) => Ok(Rest::on_disk(file, note, reach)),
            (file, note) => {
                let error = file.err().map(|errno| errno.to_string());
                let error = error.or(note.as_ref().err().map(ToString::to_string));
                tracing::warn!(job = %id, error, "the rest of its output is held in memory");
                spool.remove_more(id, self.stream);
                Rest::in_memory(note.ok(), reach)
            }
        }
    }

    /// Lets go of what is neither beginning nor end.
    async fn finish(mut self) -> Option<Sha256> {
        let Some(mut rest) = self.rest.take() else {
            return self.hash;
        };
        let trim = move || {
            let trimmed = rest.trim(1);
            (rest, trimmed)
        };
        let output = self.job.output(self.stream);
        if let Some((rest, trimmed)) = aside(trim).await {
            if let Err(error) = trimmed {
                tracing::warn!(job = %self.job.id, %error, "cannot give up what is not shown");
            }
            output.count(Moved::default(), &rest);
            if !(rest.is_on_disk() && output.has_lost()) {
                self.broker.spool.remove_more(self.job.id, self.stream);
            }
        }
        self.hash
    }
}

fn watched(pipe: &Arc<OwnedFd>) -> std::io::Result<AsyncFd<Arc<OwnedFd>>> {
    watch(Arc::clone(pipe), Interest::READABLE)
}

/// Waits until there is something to read, or not at all where nothing is watched.
async fn readable(
    watched: Option<&AsyncFd<Arc<OwnedFd>>>,
) -> std::io::Result<Option<AsyncFdReadyGuard<'_, Arc<OwnedFd>>>> {
    match watched {
        Some(watched) => watched.readable().await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aside::PLACES;
    use crate::jobs::tests::job;
    use crate::spool::tests::Scratch;
    use crate::spool::{Limits, Spool};
    use std::io::Write;

    #[tokio::test]
    async fn output_is_not_given_up_while_it_waits_to_be_counted() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.path, Limits::default()).unwrap();
        let broker = Rc::new(Broker::new(spool));
        let job = job(&broker.spool, 1, 9, b"a\n");
        let ((out, mut writer), (err, _)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        writer.write_all(b"b\n").unwrap();
        drop(writer);
        job.exited();
        let places = broker.background.acquire_many(PLACES as u32).await.unwrap();
        let busy = async {
            sleep(Duration::from_millis(caps::DRAIN_MS) + 2 * LONGEST).await;
            drop(places);
        };
        let pipes = [out.into(), err.into()];
        tokio::join!(drain(Rc::clone(&broker), Rc::clone(&job), pipes), busy);
        let output = job.output(Stream::Stdout);
        assert_eq!((output.written(), output.lines()), (4, 2));
    }
}
