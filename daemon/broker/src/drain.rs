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
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use remit_common::caps;
use remit_common::outcome::Stream;
use remit_link::ToWarden;
use tokio::io::{Interest, Ready};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::aside::aside;
use crate::broker::Broker;
use crate::job::Job;
use crate::lost::Lost;
use crate::pipe::{self, Moved};
use crate::rest::Rest;
use crate::watch::watch;

/// Bytes of one stream that are taken at once, and how long others then have the processors to themselves: about
/// 100 MB/s. A job that writes as fast as it can took one for itself and one for us, and who else had a job
/// waited twice as long for it (`make bench`).
const BURST: u64 = 256 << 10;
const PAUSE: Duration = Duration::from_millis(1);
/// What a turn takes at most, where nobody keeps the pipe locked.
const TURN: Duration = Duration::from_millis(500);

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
        sleep(TURN).await;
    };
    tokio::select! {
        _ = both => {}
        () = hangs => tracing::warn!(job = %job.id, "somebody keeps its output locked after the end"),
    }
    job.settle(&broker.spool);
    let totals = job.totals(broker.digest(&job).await);
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

/// Empties one pipe.
async fn pump(broker: &Broker, job: &Job, stream: Stream, pipe: OwnedFd) {
    let mut flow = Flow {
        broker,
        job,
        stream,
        file: None,
        rest: None,
    };
    if let Err(error) = flow.until_end(pipe).await {
        tracing::warn!(job = %job.id, %error, "cannot read output");
    }
    flow.finish().await;
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
}

impl Flow<'_> {
    async fn until_end(&mut self, pipe: OwnedFd) -> std::io::Result<()> {
        // No read may wait for data.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pipe = watch(Arc::new(pipe), Interest::READABLE)?;
        let mut late = pin!(late(self.job));
        let mut burst = 0;
        loop {
            if burst >= BURST {
                burst = 0;
                sleep(PAUSE).await;
            }
            // Only between turns: what was moved is counted.
            let mut ready = tokio::select! {
                biased;
                () = &mut late => {
                    tracing::warn!(job = %self.job.id, "output is still open after the end");
                    return Ok(());
                }
                ready = pipe.readable() => ready?,
            };
            let nothing_came = self.job.output(self.stream).written() == 0;
            if ready.ready() == Ready::READ_CLOSED && nothing_came {
                return Ok(());
            }
            match self.turn(pipe.get_ref()).await {
                Ok(0) => return Ok(()),
                Ok(moved) => {
                    burst += moved;
                    self.job.wrote(self.stream);
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            yield_now().await;
        }
    }

    /// Moves what one turn allows: into the spool while it takes it, else beyond.
    async fn turn(&mut self, pipe: &Arc<OwnedFd>) -> Result<u64, Errno> {
        let (broker, job) = (self.broker, self.job);
        let limit = broker.spool.limits.per_job;
        let share = limit.saturating_sub(job.kept());
        if !job.output(self.stream).has_lost() && self.rest.is_none() && share > 0 {
            let why = match broker.room(job).await {
                Err(full) => full.sentence(),
                Ok(room) => match self.keep(pipe, room.min(share)).await {
                    Ok(moved) => return Ok(moved),
                    Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => return Err(errno),
                    Err(errno) => errno.desc().to_owned(),
                },
            };
            tracing::warn!(job = %job.id, why, "the spool takes no more");
            job.lose(Lost::Full(why));
        }
        let moved = self.count(pipe).await?;
        if share == 0 && moved > 0 && job.lose_share(limit) {
            broker.warden.tell(&ToWarden::OverLimit { job: job.id });
        }
        Ok(moved)
    }

    async fn keep(&mut self, pipe: &Arc<OwnedFd>, room: u64) -> Result<u64, Errno> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.broker.spool.create(self.job.id, self.stream)?;
                self.file.insert(Arc::new(file))
            }
        };
        let (pipe, file) = (Arc::clone(pipe), Arc::clone(file));
        let output = self.job.output(self.stream);
        let offset = output.kept();
        let turn = move || pipe::splice_turn(&*pipe, &file, offset, room);
        let moved = aside(turn).await.unwrap_or(Err(Errno::EIO))?;
        output.keep(moved);
        self.broker.spool.grew(moved.bytes);
        Ok(moved.bytes)
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
    async fn finish(mut self) {
        let Some(mut rest) = self.rest.take() else {
            return;
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
            sleep(Duration::from_millis(caps::DRAIN_MS) + 2 * TURN).await;
            drop(places);
        };
        let pipes = [out.into(), err.into()];
        tokio::join!(drain(Rc::clone(&broker), Rc::clone(&job), pipes), busy);
        let output = job.output(Stream::Stdout);
        assert_eq!((output.written(), output.lines()), (4, 2));
    }
}
