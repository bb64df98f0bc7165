//! What may be shown of a job's output: all of it but its secrets.

use std::fs::File;
use std::ops::Range;

use remit_common::outcome::{Captured, Stream};
use remit_common::wire::Bytes;

use super::{BOTH, Job};
use crate::output;
use crate::redact::{Masked, Open, Redactor, Secrets, Veiled};
use crate::spool::Spool;

/// Of output that nobody can take the secrets out of any more.
const WITHHELD: &str = "its output is withheld: it may hold secrets that the request was given, and what knew \
     them ended before now. Run it again, if it may be run again";

/// What is told where something was taken out.
pub fn note(places: usize) -> Option<String> {
    match places {
        0 => None,
        1 => Some(
            "1 place in the output that is shown stands as *: a secret of the request".to_owned(),
        ),
        more => Some(format!(
            "{more} places in the output that is shown stand as *: secrets of the request"
        )),
    }
}

impl Job {
    /// What a report's own part of a stream may show, and how many secrets it held.
    pub(super) fn veiled(
        &self,
        stream: Stream,
        captured: Captured,
        file: Option<&File>,
    ) -> (Captured, usize) {
        let Some(redactor) = self.secrets.redactor() else {
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
                let (head, places) = shown(redactor.masked(whole.clone(), 0..end, open));
                let (tail, more) = shown(redactor.masked(whole, end..all, open));
                // One that lies across the seam is counted twice: no harm.
                return (
                    Captured {
                        total,
                        lines,
                        head,
                        tail,
                    },
                    places + more,
                );
            }
            false => {
                let known = Known {
                    redactor: &redactor,
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
        let places = head.places + tail.places;
        let (head, tail) = (head.bytes.into(), tail.bytes.into());
        (
            Captured {
                total,
                lines,
                head,
                tail,
            },
            places,
        )
    }

    /// A part of what the file of a stream holds, of which `there` bytes are there.
    pub(super) fn part(
        &self,
        stream: Stream,
        file: Option<&File>,
        part: Range<u64>,
        there: u64,
    ) -> Masked {
        if self.secrets.are_lost() {
            return Masked::default();
        }
        let length = part.end.saturating_sub(part.start);
        match self.secrets.redactor() {
            Some(redactor) => redactor.read(file, part, there, self.is_open(stream, there)),
            None => Masked {
                bytes: output::read(file, part.start, length),
                places: 0,
            },
        }
    }

    /// How many of the `there` bytes of a stream can be shown for good: what is at the end, and may be the
    /// beginning of a secret, waits for what follows.
    pub fn settled(&self, stream: Stream, file: Option<&File>, there: u64) -> u64 {
        let may_grow = !self.has_ended() && !self.output(stream).has_lost();
        match self.secrets.redactor().filter(|_| may_grow) {
            Some(redactor) => {
                let margin = redactor.margin().min(there);
                let bytes = output::read(file, there - margin, margin);
                let held = u64::try_from(redactor.held(&bytes)).unwrap_or(u64::MAX);
                there.saturating_sub(held)
            }
            None => there,
        }
    }

    /// Waits until something can be shown behind those bytes that are `known`, or its end is recorded.
    pub async fn until_shown(&self, spool: &Spool, known: [u64; 2]) {
        let mut seen = known;
        loop {
            self.until_more(seen, 1).await;
            let more = |(stream, known): (Stream, u64)| {
                let file = self.file(spool, stream);
                let there = self.output(stream).there(file.as_ref());
                self.settled(stream, file.as_ref(), there) > known
            };
            let is_shown = match &self.secrets {
                Secrets::None => true,
                Secrets::Known(_) => BOTH.into_iter().zip(known).any(more),
                Secrets::Lost => false,
            };
            if is_shown || self.has_ended() {
                return;
            }
            // What came is no end of a wait: it may be the beginning of a secret.
            seen = BOTH.map(|stream| self.output(stream).kept());
        }
    }

    /// What a search may see of the file of a stream.
    pub fn to_search(&self, stream: Stream, file: File, there: u64) -> Option<Veiled> {
        (!self.secrets.are_lost()).then(|| Veiled {
            redactor: self.secrets.redactor(),
            open: self.is_open(stream, there),
            there,
            file,
        })
    }

    /// What is told where its output was searched.
    pub fn search_note(&self) -> Option<String> {
        let found = "secrets of the request stand as * in the output that was searched: no pattern finds them";
        matches!(self.secrets, Secrets::Known(_)).then(|| found.to_owned())
    }

    /// Why nothing of its output is shown, where something was written.
    pub(super) fn withheld(&self) -> Option<String> {
        let [out, err] = self.written();
        (self.secrets.are_lost() && out.saturating_add(err) > 0).then(|| WITHHELD.to_owned())
    }

    /// Whether more follows, or was written, behind the `there` bytes of a stream.
    fn is_open(&self, stream: Stream, there: u64) -> bool {
        !self.has_ended() || there < self.output(stream).written()
    }
}

/// The same counts, and no byte.
fn nothing(captured: Captured) -> Captured {
    Captured {
        head: Bytes::new(),
        tail: Bytes::new(),
        ..captured
    }
}

fn shown(masked: Masked) -> (Bytes, usize) {
    (masked.bytes.into(), masked.places)
}

/// A stream of which only some bytes are at hand.
struct Known<'a> {
    redactor: &'a Redactor,
    file: Option<&'a File>,
    there: u64,
}

impl Known<'_> {
    /// Some bytes of it that begin at `at`, seen with what stands around them as far as that is in the file.
    /// `open`: more may follow them.
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
