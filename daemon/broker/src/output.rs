//! What is known of one stream of a job: how much of it is where, and what is shown of it.
//!
//! Its first bytes are in a file, as many as are kept. Of what comes after those (the job's share is used, the
//! disk is full), [`crate::rest`] holds the last ones.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use remit_common::caps;
use remit_common::outcome::Captured;
use remit_common::wire::Bytes;
use tokio::sync::OnceCell;

use crate::left::{Left, Lines};
use crate::page;
use crate::pipe::Moved;
use crate::rest::{Reach, Rest};

/// Bytes shown of the start, and as many of the end.
pub const HALF: u64 = 12 << 10;
const INLINE: u64 = 2 * HALF;
const _: () = assert!(caps::INLINE_OUTPUT == 24 << 10);

/// A stream.
#[derive(Debug)]
pub struct Output {
    kept: Cell<u64>,
    beyond: RefCell<Option<Box<Beyond>>>,
    /// Newlines in what this broker moved.
    counted: Cell<u64>,
    /// Newlines in what an earlier broker left, once they are counted.
    earlier: OnceCell<Lines>,
    left: Left,
}

/// What was written after the file took its last byte.
#[derive(Debug)]
struct Beyond {
    reach: Reach,
    held: Held,
}

/// Where its last bytes are.
#[derive(Debug)]
enum Held {
    /// In a file of the spool.
    Spool,
    /// In memory, for the disk is full.
    Memory(Arc<File>),
    /// Head and tail of the whole stream, which has ended: no descriptor is held for them.
    Shown(Bytes, Bytes),
    /// Nowhere.
    Gone,
}

impl Output {
    /// A stream that has written nothing.
    pub fn new() -> Self {
        let output = Self::resumed(Left::default());
        // Nobody else has it yet.
        let _ = output.earlier.set(Lines::default());
        output
    }

    /// A stream as an earlier broker left it.
    pub fn resumed(left: Left) -> Self {
        let beyond = left.has_lost().then(|| {
            Box::new(Beyond {
                reach: left.reach(Lines::default()),
                held: if left.stale { Held::Gone } else { Held::Spool },
            })
        });
        Self {
            kept: Cell::new(left.kept),
            beyond: RefCell::new(beyond),
            counted: Cell::new(0),
            earlier: OnceCell::new(),
            left,
        }
    }

    /// Bytes in the file.
    pub fn kept(&self) -> u64 {
        self.kept.get()
    }

    /// Those of them that are there: somebody may have cut the file short, or removed it.
    pub fn there(&self, file: Option<&File>) -> u64 {
        let length = file
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len());
        self.kept().min(length)
    }

    /// Bytes written by the job.
    pub fn written(&self) -> u64 {
        let beyond = self.beyond.borrow();
        beyond
            .as_ref()
            .map_or(self.kept.get(), |beyond| beyond.reach.written)
    }

    /// Newlines written by the job, as far as [`Self::until_counted`] has counted.
    pub fn lines(&self) -> u64 {
        let earlier = self.earlier.get().map_or(0, Lines::all);
        earlier.saturating_add(self.counted.get())
    }

    /// How far it is beyond its file. `lines` are those that an earlier broker left.
    pub fn reach(&self, lines: Lines) -> Reach {
        if self.left.has_lost() {
            self.left.reach(lines)
        } else {
            Reach::from(self.kept.get())
        }
    }

    /// Whether something is not in the file.
    pub fn has_lost(&self) -> bool {
        self.beyond.borrow().is_some()
    }

    /// What an earlier broker left.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// Waits until the lines that an earlier broker left are counted. `count` is used once.
    pub async fn until_counted(&self, count: impl AsyncFnOnce() -> Lines) -> Lines {
        *self.earlier.get_or_init(async || count().await).await
    }

    /// So much more is in the file.
    pub fn keep(&self, moved: Moved) {
        self.kept.set(self.kept.get().saturating_add(moved.bytes));
        self.counted
            .set(self.counted.get().saturating_add(moved.lines));
    }

    /// So much more was written beyond the file.
    pub fn count(&self, moved: Moved, rest: &Rest) {
        self.counted
            .set(self.counted.get().saturating_add(moved.lines));
        if moved.bytes > 0 || self.has_lost() {
            let (reach, file) = (rest.reach(), rest.memory());
            let held = file.map_or(Held::Spool, |file| Held::Memory(Arc::clone(file)));
            self.beyond.replace(Some(Box::new(Beyond { reach, held })));
        }
    }

    /// Nothing will be written any more: lets go of what is held in memory, but for what is shown.
    pub fn settle(&self, file: impl FnOnce() -> Option<File>) {
        let in_memory = |beyond: &Beyond| matches!(beyond.held, Held::Memory(_));
        if self.beyond.borrow().as_deref().is_some_and(in_memory) {
            let Captured { head, tail, .. } = self.captured(file().as_ref(), None);
            if let Some(beyond) = self.beyond.borrow_mut().as_mut() {
                beyond.held = Held::Shown(head, tail);
            }
        }
    }

    /// All its bytes were removed; the counts stay.
    pub fn remove(&self) {
        let written = self.written();
        self.kept.set(0);
        let mut reach = Reach::from(0);
        reach.written = written;
        reach.gap.from = 0;
        reach.gap.to = written;
        self.beyond.replace(Some(Box::new(Beyond {
            reach,
            held: Held::Gone,
        })));
    }

    /// Whether its last bytes are in a file of the spool that is not the first.
    pub fn has_more(&self) -> bool {
        let beyond = self.beyond.borrow();
        beyond
            .as_ref()
            .is_some_and(|beyond| matches!(beyond.held, Held::Spool))
    }

    /// Head and tail for an answer. `file` is absent when nothing is kept, or no longer is;
    /// `more` is the file of [`Self::has_more`].
    pub fn captured(&self, file: Option<&File>, more: Option<&File>) -> Captured {
        let total = self.written();
        let lines = self.lines();
        let beyond = self.beyond.borrow();
        let more = match beyond.as_ref().map(|beyond| &beyond.held) {
            Some(Held::Shown(head, tail)) => {
                let (head, tail) = (head.clone(), tail.clone());
                return Captured {
                    total,
                    lines,
                    head,
                    tail,
                };
            }
            Some(Held::Memory(file)) => Some(&**file),
            Some(Held::Spool) => more,
            Some(Held::Gone) | None => None,
        };
        let reach = beyond.as_ref().map(|beyond| beyond.reach);
        if self.kept.get() == total && total <= INLINE {
            let head = Bytes::from(read(file, 0, total));
            let tail = Bytes::new();
            return Captured {
                total,
                lines,
                head,
                tail,
            };
        }
        let mut head = self.start(file, reach, more);
        let mut tail = self.end(file, reach, more, HALF.max(total.saturating_sub(HALF)));
        if head.len() + tail.len() < usize::try_from(total).unwrap_or(usize::MAX) {
            head.truncate(page::whole_end(&head));
            tail.drain(..page::whole_start(&tail));
        }
        Captured {
            total,
            lines,
            head: head.into(),
            tail: tail.into(),
        }
    }

    /// The first bytes, as far as they are held.
    fn start(&self, file: Option<&File>, reach: Option<Reach>, more: Option<&File>) -> Vec<u8> {
        let kept = self.kept.get();
        let mut bytes = read(file, 0, kept.min(HALF));
        let whole = u64::try_from(bytes.len()).is_ok_and(|length| length == kept);
        if let Some(reach) = reach.filter(|reach| whole && reach.gap.base == kept) {
            let to = HALF.min(reach.gap.from).min(reach.written);
            bytes.extend(read(more, 0, to.saturating_sub(kept)));
        }
        bytes
    }

    /// The bytes from `at` to the end; fewer, where not all of them are held.
    fn end(
        &self,
        file: Option<&File>,
        reach: Option<Reach>,
        more: Option<&File>,
        at: u64,
    ) -> Vec<u8> {
        let kept = self.kept.get();
        let Some(Reach { written, gap, .. }) = reach else {
            return read(file, at, kept.saturating_sub(at));
        };
        let at = if gap.from == gap.to {
            at
        } else {
            at.max(gap.to)
        };
        let mut bytes = read(file, at, kept.saturating_sub(at));
        let at = at.max(gap.base);
        bytes.extend(read(more, at - gap.base, written.saturating_sub(at)));
        bytes
    }
}

/// Up to `length` bytes of a file from `offset` on; less at its end, or when it cannot be read.
pub fn read(file: Option<&File>, offset: u64, length: u64) -> Vec<u8> {
    let Some(file) = file else { return Vec::new() };
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read a spool file");
                break;
            }
        }
    }
    bytes.truncate(filled);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe;
    use crate::spool::tests::Scratch;
    use nix::errno::Errno;
    use remit_common::names::JobId;
    use remit_common::outcome::Stream;
    use std::io::{PipeWriter, Write};

    const JOB: JobId = JobId([1; 16]);

    /// Where the rest is held.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum On {
        Disk,
        Memory,
    }

    /// A stream of which the file keeps at most `room` bytes, and the spool below it.
    struct Through {
        scratch: Scratch,
        output: Output,
        rest: Option<Rest>,
        room: u64,
        on: On,
    }

    impl Through {
        fn new(room: u64, on: On) -> Self {
            let (scratch, output) = (Scratch::new(), Output::new());
            Self {
                scratch,
                output,
                rest: None,
                room,
                on,
            }
        }

        fn rest(&self, reach: Reach) -> Rest {
            let spool = &self.scratch.spool;
            let note = spool.note(JOB, Stream::Stdout).unwrap();
            match self.on {
                On::Disk => {
                    Rest::on_disk(spool.create_more(JOB, Stream::Stdout).unwrap(), note, reach)
                }
                On::Memory => {
                    spool.remove_more(JOB, Stream::Stdout);
                    Rest::in_memory(Some(note), reach).unwrap()
                }
            }
        }

        /// Moves what a pipe holds.
        fn write(&mut self, bytes: &[u8]) {
            let file = self.scratch.spool.create(JOB, Stream::Stdout).unwrap();
            for part in bytes.chunks(30_000) {
                let (reader, writer) = std::io::pipe().unwrap();
                feed(writer, part);
                while self.turn(&reader, &file) > 0 {}
            }
        }

        fn turn(&mut self, reader: &std::io::PipeReader, file: &File) -> u64 {
            let left = self.room - self.output.kept();
            if left > 0 && !self.output.has_lost() {
                let moved = pipe::splice_chunk(reader, file, self.output.kept(), left).unwrap();
                self.output.keep(moved);
                return moved.bytes;
            }
            let mut rest = match self.rest.take() {
                Some(rest) => rest,
                None => self.rest(Reach::from(self.output.kept())),
            };
            let moved = rest.turn(reader).unwrap();
            self.output.count(moved, &rest);
            self.rest = Some(rest);
            moved.bytes
        }

        fn captured(&self, output: &Output) -> Captured {
            let spool = &self.scratch.spool;
            let file = spool.find(JOB, Stream::Stdout).unwrap();
            let more = spool.find_more(JOB, Stream::Stdout).unwrap();
            output.captured(file.as_ref(), more.as_ref())
        }

        /// What a broker finds that starts now.
        fn found(&self) -> Output {
            let spool = &self.scratch.spool;
            let file = spool.find(JOB, Stream::Stdout).unwrap();
            let more = spool.find_more(JOB, Stream::Stdout).unwrap();
            let length = |file: &Option<File>| {
                file.as_ref()
                    .map_or(0, |file| file.metadata().unwrap().len())
            };
            let [gap, _] = spool.gaps(JOB).unwrap();
            let left = Left::of(length(&file), length(&more), gap);
            let output = Output::resumed(left);
            output
                .earlier
                .set(left.count(file.as_ref(), more.as_ref()))
                .unwrap();
            output
        }
    }

    fn feed(mut writer: PipeWriter, bytes: &[u8]) {
        writer.write_all(bytes).unwrap();
    }

    fn newlines(text: &[u8]) -> u64 {
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn text(length: usize) -> Vec<u8> {
        let letters = b"abcdefghijklmnop\nqrstuv";
        (0..length).map(|n| letters[n % letters.len()]).collect()
    }

    #[test]
    fn head_and_tail_for_every_length_around_the_caps() {
        let half = HALF as usize;
        let whole = text(600_000);
        for on in [On::Disk, On::Memory] {
            for length in [
                0,
                1,
                half,
                half + 1,
                2 * half,
                2 * half + 1,
                3 * half,
                200_000,
                600_000,
            ] {
                for room in [0, 1, 1000, half, half + 1, 2 * half, 2 * half + 1, 1 << 20] {
                    let text = &whole[..length];
                    let mut through = Through::new(room as u64, on);
                    through.write(text);
                    let output = &through.output;
                    let captured = through.captured(output);
                    let case = format!("{length} bytes, room for {room}, on {on:?}");
                    assert_eq!(output.written(), length as u64, "{case}");
                    assert_eq!(output.kept(), length.min(room) as u64, "{case}");
                    assert_eq!(
                        (captured.total, captured.lines),
                        (length as u64, newlines(text)),
                        "{case}"
                    );
                    assert!(
                        text.starts_with(&captured.head) && text.ends_with(&captured.tail),
                        "{case}"
                    );
                    let shown = captured.head.len() + captured.tail.len();
                    assert_eq!(shown, length.min(2 * half), "{case}");
                    // A broker that starts now knows as much, and shows what is not in memory.
                    let found = through.found();
                    assert_eq!(
                        (found.written(), found.lines()),
                        (output.written(), output.lines()),
                        "{case}"
                    );
                    if on == On::Disk {
                        assert_eq!(through.captured(&found), captured, "{case}");
                    }
                    // So does this one when the job has ended.
                    let file = through.scratch.spool.find(JOB, Stream::Stdout).unwrap();
                    output.settle(|| file);
                    assert_eq!(through.captured(output), captured, "{case}");
                }
            }
        }
    }

    #[test]
    fn brokers_that_follow_each_other_count_on() {
        let (all, step) = (text(1_000_000), 70_001);
        let mut through = Through::new(100_000, On::Disk);
        let mut written = 0;
        for (turn, part) in all.chunks(step).enumerate() {
            through.write(part);
            written += part.len();
            let found = through.found();
            assert_eq!(found.written(), written as u64);
            assert_eq!(found.lines(), newlines(&all[..written]), "after {written}");
            if found.has_lost() {
                // Every third has no disk to hold it on.
                through.on = if turn % 3 == 0 { On::Memory } else { On::Disk };
                let lines = *found.earlier.get().unwrap();
                through.rest = Some(through.rest(found.reach(lines)));
            }
            through.output = found;
        }
        through.rest.as_mut().unwrap().trim(1).unwrap();
        let captured = through.captured(&through.output);
        assert!(all.starts_with(&captured.head) && all.ends_with(&captured.tail));
        let more = through
            .scratch
            .spool
            .find_more(JOB, Stream::Stdout)
            .unwrap()
            .unwrap();
        let used = std::os::unix::fs::MetadataExt::blocks(&more.metadata().unwrap()) * 512;
        assert!(
            used < 100_000,
            "the middle is given up: {used} bytes are not"
        );
    }

    #[test]
    fn characters_are_not_cut_where_bytes_are_left_out() {
        let text = "\u{20ac}".repeat(20_000).into_bytes();
        let mut through = Through::new(1 << 20, On::Disk);
        through.write(&text);
        let captured = through.captured(&through.output);
        assert!(
            std::str::from_utf8(&captured.head).is_ok()
                && std::str::from_utf8(&captured.tail).is_ok()
        );
        assert_eq!(
            captured.omitted() as usize,
            text.len() - captured.head.len() - captured.tail.len()
        );
    }

    #[test]
    fn an_empty_pipe_is_told_from_its_end() {
        let scratch = Scratch::new();
        let file = scratch.spool.create(JOB, Stream::Stdout).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(
            pipe::splice_chunk(&reader, &file, 0, 10),
            Err(Errno::EAGAIN)
        );
        drop(writer);
        let nothing = Moved { bytes: 0, lines: 0 };
        assert_eq!(pipe::splice_chunk(&reader, &file, 0, 10), Ok(nothing));
    }
}
