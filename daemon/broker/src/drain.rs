//! Empties the pipes of a job until its end, and says when all is on disk.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use remit_common::caps;
use remit_common::outcome::Stream;
use remit_link::ToWarden;
use sha2::{Digest, Sha256};
use tokio::io::{Interest, Ready};
use tokio::task::yield_now;

use crate::broker::Broker;
use crate::job::{Job, Lost};
use crate::output;
use crate::watch::watch;

/// Bytes hashed in one turn.
const TURN: u64 = 256 << 10;

/// Reads until both pipes end (or the job has exited and a moment has passed), then tells the warden.
pub async fn drain(broker: Rc<Broker>, job: Rc<Job>, [out, err]: [OwnedFd; 2]) {
    let both = async {
        tokio::join!(
            pump(&broker, &job, Stream::Stdout, out),
            pump(&broker, &job, Stream::Stderr, err)
        )
    };
    let late = async {
        job.until_exited().await;
        tokio::time::sleep(Duration::from_millis(caps::DRAIN_MS)).await;
    };
    tokio::select! {
        _ = both => {}
        () = late => tracing::warn!(job = %job.id, "output is still open after the end"),
    }
    let written = job.written();
    if written.iter().sum::<u64>() > job.kept() {
        broker.spool.note_lost(job.id, written);
    }
    let totals = job.totals(hash(&broker, &job).await);
    broker.warden.tell(&ToWarden::Drained {
        job: job.id,
        totals,
    });
}

/// Empties one pipe.
async fn pump(broker: &Broker, job: &Job, stream: Stream, pipe: OwnedFd) {
    if let Err(error) = pump_until_end(broker, job, stream, pipe).await {
        tracing::warn!(job = %job.id, %error, "cannot read output");
    }
}

async fn pump_until_end(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: OwnedFd,
) -> std::io::Result<()> {
    // The pipe is ours alone to read; nothing here may wait in it.
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let pipe = watch(pipe, Interest::READABLE)?;
    let mut file = None;
    loop {
        let mut ready = pipe.readable().await?;
        if ready.ready() == Ready::READ_CLOSED && job.output(stream).kept() == 0 {
            return Ok(());
        }
        match turn(broker, job, stream, pipe.get_ref(), &mut file) {
            Ok(0) => return Ok(()),
            Ok(_) => job.wrote(stream),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        yield_now().await;
    }
}

/// Moves what one turn allows: into the spool while it takes it, else into the counts.
fn turn(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: &OwnedFd,
    file: &mut Option<File>,
) -> Result<u64, Errno> {
    let output = job.output(stream);
    let share = caps::SPOOL_PER_JOB.saturating_sub(job.kept());
    if !output.has_lost() && share > 0 {
        match keep(broker, job, stream, pipe, file, share) {
            Ok(moved) => return Ok(moved),
            Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => return Err(errno),
            Err(errno) => {
                tracing::warn!(job = %job.id, error = %errno, "the spool takes no more");
                job.lose(Lost::Full(errno.desc().to_owned()));
            }
        }
    }
    let moved = output.count(pipe, &mut broker.buffer.borrow_mut())?;
    if share == 0 && moved > 0 && job.lose_share() {
        broker.warden.tell(&ToWarden::OverLimit { job: job.id });
    }
    Ok(moved)
}

fn keep(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: &OwnedFd,
    file: &mut Option<File>,
    share: u64,
) -> Result<u64, Errno> {
    let room = broker.jobs.make_room(&broker.spool).min(share);
    if room == 0 {
        return Err(Errno::EDQUOT);
    }
    let file = match file {
        Some(file) => file,
        None => file.insert(broker.spool.create(job.id, stream)?),
    };
    let moved = job.output(stream).keep(pipe, file, room)?;
    broker.spool.grew(moved);
    Ok(moved)
}

/// SHA-256 of what is kept, stdout first. Read back from the page cache, in turns.
async fn hash(broker: &Broker, job: &Job) -> [u8; 32] {
    let mut hash = Sha256::new();
    for stream in [Stream::Stdout, Stream::Stderr] {
        let kept = job.output(stream).kept();
        let file = if kept > 0 {
            broker.spool.find(job.id, stream).ok().flatten()
        } else {
            None
        };
        let mut offset = 0;
        while offset < kept {
            let bytes = output::read(file.as_ref(), offset, TURN.min(kept - offset));
            if bytes.is_empty() {
                break;
            }
            offset = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            hash.update(&bytes);
            yield_now().await;
        }
    }
    hash.finalize().into()
}
