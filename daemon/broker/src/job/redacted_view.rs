//! Finds the spool files of a job, and redacts the secrets in its output.

use std::fs::File;
use std::ops::Range;
use std::time::Duration;

use remit_common::names::JobId;
use remit_wire::Bytes;
use remit_wire::outcome::{Captured, Stream};
use tokio::time::timeout;

use super::{BOTH, Job};
use crate::output::overflow::RecoveredStream;
use crate::output::spool::{LostRange, Spool};
use crate::output::{self, Output};
use crate::redact::{Masked, Open, RedactedFile, Redactor, Secrets};

const WITHHELD: &str = "its output is withheld: it may contain secrets of the request, which are no longer \
     known and cannot be redacted. Run it again, if that is safe";

/// Time between two looks of a follower at output that is held back.
const PAUSE: Duration = Duration::from_millis(20);

pub fn note(redactions: usize) -> Option<String> {
    match redactions {
        0 => None,
        1 => {
            Some("1 part of the shown output is replaced by *: a secret of the request".to_owned())
        }
        more => Some(format!(
            "{more} parts of the shown output are replaced by *: secrets of the request"
        )),
    }
}

impl Job {
    pub(super) fn redacted(
        &self,
        stream: Stream,
        captured: Captured,
        file: Option<&File>,
        redactor: Option<&Redactor>,
    ) -> (Captured, usize) {
        let Some(redactor) = redactor else {
            return match self.secrets.are_lost() {
                true => (nothing(captured), 0),
                false => (captured, 0),
            };
        };
        let there = self.output(stream).there(file);
        let open = !self.has_ended();
        let Captured {
            total,
            lines,
            head,
            tail,
        } = captured;
        let size = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let held = size(&head).saturating_add(size(&tail));
        let (head, tail) = match held >= total {
            true => {
                let end = head.len();
                let whole = [head.as_slice(), &tail].concat();
                let all = whole.len();
                let open = Open {
                    before: false,
                    after: open,
                };
                let (head, redactions) = shown(redactor.masked(whole.clone(), 0..end, open));
                let (tail, more) = shown(redactor.masked(whole, end..all, open));
                // A secret across the seam is counted twice, which does no harm.
                return (
                    Captured {
                        total,
                        lines,
                        head,
                        tail,
                    },
                    redactions + more,
                );
            }
            false => {
                let known = Known {
                    redactor,
                    file,
                    there,
                };
                let last = total.saturating_sub(size(&tail));
                (
                    known.masked(head.into_vec(), 0, true),
                    known.masked(tail.into_vec(), last, open),
                )
            }
        };
        let redactions = head.redactions + tail.redactions;
        let (head, tail) = (head.bytes.into(), tail.bytes.into());
        (
            Captured {
                total,
                lines,
                head,
                tail,
            },
            redactions,
        )
    }

    pub(super) fn part(
        &self,
        stream: Stream,
        file: Option<&File>,
        part: Range<u64>,
        there: u64,
        redactor: Option<&Redactor>,
    ) -> Masked {
        if self.secrets.are_lost() {
            return Masked::default();
        }
        let length = part.end.saturating_sub(part.start);
        match redactor {
            Some(redactor) => redactor.read(file, part, there, self.is_open(stream, there)),
            None => Masked {
                bytes: output::read(file, part.start, length),
                redactions: 0,
            },
        }
    }

    /// Returns how many of `there` bytes can be shown finally. A possible start of a secret at the end is held back.
    pub(super) fn showable_length(
        &self,
        stream: Stream,
        file: Option<&File>,
        there: u64,
        redactor: Option<&Redactor>,
    ) -> u64 {
        let may_grow = !self.has_ended() && !self.output(stream).has_lost();
        match redactor.filter(|_| may_grow && there > 0) {
            Some(redactor) => {
                let margin = redactor.margin().min(there);
                let bytes = output::read(file, there - margin, margin);
                let held = u64::try_from(redactor.held(&bytes)).unwrap_or(u64::MAX);
                there.saturating_sub(held)
            }
            None => there,
        }
    }

    /// Same as [`Self::showable_length`], computed once for each state of the output: all followers ask after each write.
    fn shared_length(&self, spool: &Spool, stream: Stream) -> u64 {
        let output = self.output(stream);
        let state = (output.kept(), output.has_lost());
        if let Some((known, length)) = output.showable.get()
            && known == state
        {
            return length;
        }
        let file = self.file(spool, stream);
        let there = output.there(file.as_ref());
        let redactor = file.as_ref().and_then(|_| self.secrets.redactor());
        let length = self.showable_length(stream, file.as_ref(), there, redactor.as_deref());
        // A file that could not be opened for a moment says nothing of the output.
        if there == output.kept() {
            output.showable.set(Some((state, length)));
        }
        length
    }

    pub async fn until_shown(&self, spool: &Spool, known: [u64; 2]) {
        let mut seen = known;
        loop {
            self.until_more(seen, 1).await;
            let more = |(stream, known): (Stream, u64)| self.shared_length(spool, stream) > known;
            let is_shown = match &self.secrets {
                Secrets::None => true,
                Secrets::Known(_) => BOTH.into_iter().zip(known).any(more),
                Secrets::Lost => false,
            };
            if is_shown || self.has_ended() {
                return;
            }
            // New bytes do not end the wait: they can be the start of a secret.
            seen = BOTH.map(|stream| self.output(stream).kept());
            // A job that writes single bytes would have each of them looked at.
            let _ = timeout(PAUSE, self.until_ended()).await;
        }
    }

    /// A search ends where a page does: a later one cannot return to a line that was masked as a possible start of a secret.
    pub fn searchable_length(&self, stream: Stream, file: Option<&File>, there: u64) -> u64 {
        let redactor = self.secrets.redactor();
        self.showable_length(stream, file, there, redactor.as_deref())
    }

    pub fn to_search(&self, stream: Stream, file: File, there: u64) -> Option<RedactedFile> {
        (!self.secrets.are_lost()).then(|| RedactedFile {
            redactor: self.secrets.redactor(),
            open: self.is_open(stream, there),
            there,
            file,
        })
    }

    pub fn search_note(&self) -> Option<String> {
        let found = "secrets of the request are replaced by * in the searched output: no pattern finds them";
        matches!(self.secrets, Secrets::Known(_)).then(|| found.to_owned())
    }

    pub(super) fn withheld(&self) -> Option<String> {
        let [out, err] = self.written();
        (self.secrets.are_lost() && out.saturating_add(err) > 0).then(|| WITHHELD.to_owned())
    }

    fn is_open(&self, stream: Stream, there: u64) -> bool {
        !self.has_ended() || there < self.output(stream).written()
    }
}

fn nothing(captured: Captured) -> Captured {
    Captured {
        head: Bytes::new(),
        tail: Bytes::new(),
        ..captured
    }
}

fn shown(masked: Masked) -> (Bytes, usize) {
    (masked.bytes.into(), masked.redactions)
}

struct Known<'a> {
    redactor: &'a Redactor,
    file: Option<&'a File>,
    there: u64,
}

impl Known<'_> {
    /// Redacts bytes that begin at `at`, with the surroundings that the file has. `open`: more can follow.
    fn masked(&self, bytes: Vec<u8>, at: u64, open: bool) -> Masked {
        let margin = self.redactor.margin();
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let start = match at <= self.there {
            true => at.saturating_sub(margin),
            false => at,
        };
        let before = output::read(self.file, start, at - start);
        let after = match end < self.there {
            true => output::read(self.file, end, margin.min(self.there - end)),
            false => Vec::new(),
        };
        let whole =
            |part: &[u8], wanted: u64| u64::try_from(part.len()).is_ok_and(|size| size >= wanted);
        let open = Open {
            before: !whole(&before, margin.min(at)),
            after: open && !whole(&after, margin),
        };
        let shown = before.len()..before.len() + bytes.len();
        self.redactor
            .masked([before, bytes, after].concat(), shown, open)
    }
}

impl Job {
    pub fn makes_files(&self) {
        self.has_files.set(true);
    }

    pub fn has_files(&self) -> bool {
        self.has_files.get()
    }

    pub fn file(&self, spool: &Spool, stream: Stream) -> Option<File> {
        if self.output(stream).kept() == 0 {
            return None;
        }
        spool.find(self.id, stream).unwrap_or_else(|error| {
            tracing::warn!(job = %self.id, "job {}: cannot open a spool file: {error}", self.id);
            None
        })
    }

    pub fn more(&self, spool: &Spool, stream: Stream) -> Option<File> {
        let more = self.output(stream).has_more();
        more.then(|| spool.find_more(self.id, stream).ok().flatten())
            .flatten()
    }

    /// Called when no more output will be written.
    pub fn finish_output(&self, spool: &Spool) {
        for stream in BOTH {
            self.output(stream)
                .finish_output(|| self.file(spool, stream));
        }
    }
}

pub(super) fn adopted(job: JobId, stream: Stream, gap: LostRange, spool: &Spool) -> Output {
    let length = |file: Option<&File>| {
        file.and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len())
    };
    let file = spool.find(job, stream).ok().flatten();
    let more = spool.find_more(job, stream).ok().flatten();
    let left = RecoveredStream::of(length(file.as_ref()), length(more.as_ref()), gap);
    spool.holds(length(file.as_ref()));
    if left.stale {
        spool.remove(job, stream);
    }
    Output::resumed(left)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::super::registry::tests::with_secret;
    use crate::output::spool::tests::Scratch;
    use crate::redact::tests::BUILT;

    #[tokio::test]
    async fn followers_of_held_output_build_one_redactor() {
        let scratch = Scratch::new();
        let job = with_secret(&scratch.spool, "hunter2", b"hunt");
        let follow = |_| Box::pin(job.until_shown(&scratch.spool, [0, 0]));
        let mut followers: Vec<_> = (0..100).map(follow).collect();
        for follower in &mut followers {
            let mut context = Context::from_waker(Waker::noop());
            assert!(follower.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(BUILT.get(), 1);
    }
}
