//! Empties the pipes of a job until its end, and says when all is on disk.
//!
//! Pipes are read on threads of their own: whoever reads a pipe takes its lock, also without
//! waiting for data, and a job can hold that lock as long as it likes: by a splice(2) from what
//! gives nothing, by a write(2) of memory whose page faults last. Then that one thread waits,
//! and nobody else.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use remit_common::caps;
use remit_common::outcome::Stream;
use remit_link::ToWarden;
use sha2::{Digest, Sha256};
use tokio::io::{Interest, Ready};
use tokio::task::{spawn_blocking, yield_now};

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
    // No read may wait for data.
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let pipe = watch(Arc::new(pipe), Interest::READABLE)?;
    let mut file = None;
    loop {
        let mut ready = pipe.readable().await?;
        if ready.ready() == Ready::READ_CLOSED && job.output(stream).kept() == 0 {
            return Ok(());
        }
        match turn(broker, job, stream, pipe.get_ref(), &mut file).await {
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
async fn turn(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: &Arc<OwnedFd>,
    file: &mut Option<Arc<File>>,
) -> Result<u64, Errno> {
    let output = job.output(stream);
    let share = broker.spool.limits.per_job.saturating_sub(job.kept());
    if !output.has_lost() && share > 0 {
        match keep(broker, job, stream, pipe, file, share).await {
            Ok(moved) => return Ok(moved),
            Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => return Err(errno),
            Err(errno) => {
                tracing::warn!(job = %job.id, error = %errno, "the spool takes no more");
                job.lose(Lost::Full(errno.desc().to_owned()));
            }
        }
    }
    let pipe = Arc::clone(pipe);
    let bytes = aside(move || output::read_turn(&*pipe)).await?;
    output.count(&bytes);
    if share == 0 && !bytes.is_empty() && job.lose_share() {
        broker.warden.tell(&ToWarden::OverLimit { job: job.id });
    }
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

async fn keep(
    broker: &Broker,
    job: &Job,
    stream: Stream,
    pipe: &Arc<OwnedFd>,
    file: &mut Option<Arc<File>>,
    share: u64,
) -> Result<u64, Errno> {
    let room = broker
        .jobs
        .make_room(&broker.spool, job.owner.uid)
        .min(share);
    if room == 0 {
        return Err(Errno::EDQUOT);
    }
    let file = match file {
        Some(file) => file,
        None => file.insert(Arc::new(broker.spool.create(job.id, stream)?)),
    };
    let (pipe, file) = (Arc::clone(pipe), Arc::clone(file));
    let output = job.output(stream);
    let offset = output.kept();
    let moved = aside(move || output::splice_turn(&*pipe, &file, offset, room)).await?;
    output.keep(moved);
    broker.spool.grew(moved);
    Ok(moved)
}

/// On a thread where it may wait.
async fn aside<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Errno> + Send + 'static,
) -> Result<T, Errno> {
    // It does not panic, and the pool ends with the process.
    spawn_blocking(call).await.unwrap_or(Err(Errno::EIO))
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
