//! Work on threads of its own, so that the one thread that serves does not wait for it.

use std::fs::File;

use remit_common::outcome::Stream;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::broker::Broker;
use crate::job::{BOTH, Job};
use crate::left::Lines;
use crate::output;

/// Files that are hashed or counted at once, one of each uid.
pub const PLACES: usize = 2;
/// Bytes hashed at once. What is no more than this in all needs no thread.
const BLOCK: u64 = 64 << 10;

/// The result of `work`, done on a thread that may wait. None when this process ends.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.ok()
}

impl Broker {
    /// Waits until the lines of what an earlier broker left of a job are counted.
    pub async fn until_counted(&self, job: &Job) {
        for stream in BOTH {
            self.lines_left(job, stream).await;
        }
    }

    /// The lines of what an earlier broker left of a stream. Counted once.
    pub async fn lines_left(&self, job: &Job, stream: Stream) -> Lines {
        let output = job.output(stream);
        let count = async || {
            let left = *output.left();
            let files = [job.file(&self.spool, stream), job.more(&self.spool, stream)];
            let account = self.accounts.of(job.owner.uid);
            let _turn = account.background_turn().await;
            let _place = self.background.acquire().await;
            let count = move || {
                let [file, more] = &files;
                left.count(file.as_ref(), more.as_ref())
            };
            aside(count).await.unwrap_or_default()
        };
        output.until_counted(count).await
    }

    /// SHA-256 of what is kept of a job, stdout first. Read back from the page cache.
    pub async fn digest(&self, job: &Job) -> [u8; 32] {
        let parts = BOTH.map(|stream| (job.file(&self.spool, stream), job.output(stream).kept()));
        if job.kept() <= BLOCK {
            return digest(&parts);
        }
        let account = self.accounts.of(job.owner.uid);
        let _turn = account.background_turn().await;
        let _place = self.background.acquire().await;
        aside(move || digest(&parts)).await.unwrap_or_default()
    }
}

fn digest(parts: &[(Option<File>, u64)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (file, length) in parts {
        let mut offset = 0;
        while offset < *length {
            let bytes = output::read(file.as_ref(), offset, BLOCK.min(length - offset));
            if bytes.is_empty() {
                break;
            }
            offset = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            hash.update(&bytes);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::job;
    use crate::spool::tests::Scratch;
    use crate::spool::{Limits, Spool};
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn what_one_user_has_counted_leaves_a_place_to_others() {
        let scratch = Scratch::new();
        let broker = Broker::new(Spool::open(&scratch.path, Limits::default()).unwrap());
        let [first, second, other] =
            [(1, 8), (2, 8), (3, 9)].map(|(id, uid)| job(&broker.spool, id, uid, b"a\n"));
        // The first is being counted, and that takes long.
        let account = broker.accounts.of(first.owner.uid);
        let counting = (
            account.background_turn().await,
            broker.background.acquire().await,
        );
        let soon = Duration::from_millis(100);
        assert!(timeout(soon, broker.until_counted(&second)).await.is_err());
        broker.until_counted(&other).await;
        drop(counting);
        broker.until_counted(&second).await;
        assert_eq!(second.output(Stream::Stdout).lines(), 1);
    }
}
