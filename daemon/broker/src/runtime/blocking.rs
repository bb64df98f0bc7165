//! Counts and hashes output on other threads, because the one thread that serves must not block.

use std::fs::File;

use remit_wire::outcome::Stream;
use sha2::{Digest, Sha256};

use crate::job::{BOTH, Job};
use crate::output;
use crate::output::overflow::Lines;
use crate::runtime::threads::run_blocking;
use crate::state::Broker;

/// Number of files hashed or counted at the same time, at most one for each uid and one to free space.
pub const BACKGROUND_TASKS: usize = 2;
/// Bytes hashed at once. Outputs up to this size in total are hashed without a thread.
const BLOCK: u64 = 64 << 10;

impl Broker {
    pub async fn until_counted(&self, job: &Job) {
        for stream in BOTH {
            self.recovered_lines(job, stream).await;
        }
    }

    pub async fn recovered_lines(&self, job: &Job, stream: Stream) -> Lines {
        if let Some(lines) = job.output(stream).earlier_lines() {
            return lines;
        }
        let account = self.accounts.of(job.owner.uid);
        let _turn = account.background_turn().await;
        self.count(job, stream).await
    }

    /// Counts at no turn of the job's user: output of other users needs the space.
    pub async fn count_to_free(&self, job: &Job) {
        for stream in BOTH {
            self.count(job, stream).await;
        }
    }

    /// A turn is taken before, and never in here: the first to count must not be behind other calls of the job's user.
    async fn count(&self, job: &Job, stream: Stream) -> Lines {
        let output = job.output(stream);
        let count = async || {
            let left = *output.left();
            let files = [job.file(&self.spool, stream), job.more(&self.spool, stream)];
            let _permit = self.background.acquire().await;
            let count = move || {
                let [file, more] = &files;
                left.count(file.as_ref(), more.as_ref())
            };
            run_blocking(count).await.unwrap_or_default()
        };
        output.until_counted(count).await
    }

    /// Returns the SHA-256 of the kept output, stdout first: from `hashes` if computed while reading, otherwise read back.
    pub async fn digest(&self, job: &Job, hashes: [Option<Sha256>; 2]) -> [u8; 32] {
        let [out, err] = hashes;
        let nothing_before_err = job.output(Stream::Stdout).kept() == 0;
        let (hash, rest) = match (out, err) {
            (_, Some(err)) if nothing_before_err => (err, &BOTH[..0]),
            (Some(out), _) => (out, &BOTH[1..]),
            (None, _) => (Sha256::new(), &BOTH[..]),
        };
        let parts: Vec<_> = rest
            .iter()
            .map(|stream| (job.file(&self.spool, *stream), job.output(*stream).kept()))
            .collect();
        if parts.iter().map(|(_, kept)| kept).sum::<u64>() <= BLOCK {
            return digest(hash, &parts);
        }
        let account = self.accounts.of(job.owner.uid);
        let _turn = account.background_turn().await;
        let _permit = self.background.acquire().await;
        run_blocking(move || digest(hash, &parts))
            .await
            .unwrap_or_default()
    }
}

fn digest(mut hash: Sha256, parts: &[(Option<File>, u64)]) -> [u8; 32] {
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
    use crate::hints::notes::About;
    use crate::job::registry::tests::{job, meta};
    use crate::output::spool::tests::Scratch;
    use crate::output::spool::{Spool, SpoolLimits};
    use remit_common::names::JobId;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn busy_user_leaves_background_permit_to_others() {
        let scratch = Scratch::new();
        let broker = Broker::new(Spool::open(&scratch.path, SpoolLimits::default()).unwrap());
        let [first, second, other] =
            [(1, 8), (2, 8), (3, 9)].map(|(id, uid)| job(&broker.spool, id, uid, b"a\n"));
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

    /// Auditors hash the two files, so both ways to hash must give the same digest.
    #[tokio::test]
    async fn streamed_and_reread_digests_are_equal() {
        let scratch = Scratch::new();
        let broker = Broker::new(Spool::open(&scratch.path, SpoolLimits::default()).unwrap());
        let large = vec![b'x'; 3 * usize::try_from(BLOCK).unwrap()];
        let texts: [&[u8]; 3] = [b"", b"a\n", &large];
        for (number, (out, err)) in
            (1..).zip(texts.iter().flat_map(|out| texts.map(|err| (*out, err))))
        {
            let id = JobId([number; 16]);
            for (stream, text) in [(Stream::Stdout, out), (Stream::Stderr, err)] {
                let file = broker.spool.create(id, stream).unwrap();
                file.write_all_at(text, 0).unwrap();
            }
            let job = Job::adopted(meta(number, 9), About::default(), &broker.spool);
            let expect: [u8; 32] = Sha256::digest([out, err].concat()).into();
            for hashed in [[false, false], [true, false], [false, true], [true, true]] {
                let [of_out, of_err] = [out, err].map(|text| Sha256::new().chain_update(text));
                let [with_out, with_err] = hashed;
                let hashes = [with_out.then_some(of_out), with_err.then_some(of_err)];
                assert_eq!(
                    broker.digest(&job, hashes).await,
                    expect,
                    "{number} {hashed:?}"
                );
            }
        }
    }
}
